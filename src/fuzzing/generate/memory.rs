//! Statements that access memory: the stack, the context, the packet, map values.

use arbitrary::Result;

use super::body::{KEPT_CONTEXT, WORDS};
use super::{MAP, MAPS, PACKET, Writer};
use crate::bpf::Insn;
use crate::bpf::opcode::{
    ABS, ADD, AND, ATOMIC, B, CMPXCHG, DW, FETCH, FRAME_POINTER, H, IND, JEQ, JGT, LD, LD_MAP_IDX,
    LD_MAP_IDX_VALUE, LD_NUMBER, LDX, LOAD_ACQ, MEMSX, OR, STORE_REL, STX, W, XCHG, XOR,
};
use crate::fuzzing::interp::Machine;

/// The fields of `struct __sk_buff` with the addresses of the packet.
pub(in crate::fuzzing) const DATA: i16 = 76;
pub(in crate::fuzzing) const DATA_END: i16 = 80;
/// Its field `cb`, of bytes that a program may use as it likes.
const OWN: i16 = 48;
const OWN_END: i16 = 68;

const LOOK_UP: i32 = 1;

/// The fields of the context that programs write.
pub(super) fn fields() -> impl Iterator<Item = i16> {
    (OWN..OWN_END).step_by(4)
}

fn bytes(size: u8) -> i16 {
    match size {
        B => 1,
        H => 2,
        W => 4,
        _ => 8,
    }
}

impl Writer<'_, '_> {
    fn size(&mut self) -> Result<u8> {
        self.u.choose(&[B, H, W, DW]).copied()
    }

    /// An offset of an aligned access to bytes from `low` up to `high`.
    fn offset(&mut self, low: i16, high: i16, size: u8) -> Result<i16> {
        let bytes = bytes(size);
        let first = low.next_multiple_of_signed(bytes);
        let count = (high - first) / bytes;
        Ok(first + bytes * self.u.int_in_range(0..=count - 1)?)
    }

    /// An access through a register whose memory has the bytes from `low` up to `high`.
    fn access(&mut self, base: u8, low: i16, high: i16) -> Result<Insn> {
        let (size, reg) = (self.size()?, self.reg()?);
        let off = self.offset(low, high, size)?;
        Ok(match self.u.int_in_range(0..=3)? {
            0 => Insn::st(size, base, off, self.constant()?),
            1 => Insn::stx(size, base, if reg == base { 6 } else { reg }, off),
            _ => Insn::ldx(size, reg, base, off),
        })
    }

    pub(super) fn stack(&mut self) -> Result<()> {
        let insn = self.access(FRAME_POINTER, -8 * WORDS, 0)?;
        match self.u.int_in_range(0..=4)? {
            0 => {
                // Through a pointer, which is arithmetic with a constant that matters.
                let (dst, src) = (self.reg()?, self.reg()?);
                let off = insn.off & !7;
                self.push([Insn::mov64_reg(dst, FRAME_POINTER), Insn::alu64_imm(ADD, dst, off.into())]);
                if src != dst {
                    self.push([Insn::stx(DW, dst, src, 0)]);
                }
                self.push([Insn::ldx(DW, dst, dst, 0)]);
            }
            1 => {
                let (dst, size) = (self.reg()?, *self.u.choose(&[B, H, W])?);
                let off = self.offset(-8 * WORDS, 0, size)?;
                self.push([Insn::new(LDX | size | MEMSX, dst, FRAME_POINTER, off, 0)]);
            }
            _ => self.push([insn]),
        }
        Ok(())
    }

    pub(super) fn atomic(&mut self) -> Result<()> {
        let insn = self.atomic_at(FRAME_POINTER, -8 * WORDS, 0)?;
        self.push([insn]);
        Ok(())
    }

    fn atomic_at(&mut self, base: u8, low: i16, high: i16) -> Result<Insn> {
        let ops = [ADD, OR, AND, XOR].map(i32::from);
        let reg = match self.reg()? {
            reg if reg == base => 6,
            reg => reg,
        };
        let (op, imm) = (self.u.int_in_range(0..=5)?, *self.u.choose(&ops)?);
        let imm = match op {
            0 | 1 => imm,
            2 => imm | FETCH,
            3 => XCHG,
            4 => CMPXCHG,
            _ => *self.u.choose(&[LOAD_ACQ, STORE_REL])?,
        };
        let ordered = matches!(imm, LOAD_ACQ | STORE_REL);
        let size = if ordered { self.size()? } else { *self.u.choose(&[W, DW])? };
        let off = self.offset(low, high, size)?;
        let (dst, src) = if imm == LOAD_ACQ { (reg, base) } else { (base, reg) };
        Ok(Insn::new(STX | ATOMIC | size, dst, src, off, imm))
    }

    pub(super) fn context(&mut self) -> Result<()> {
        self.push([Insn::ldx(DW, 2, FRAME_POINTER, KEPT_CONTEXT)]);
        let insn = self.access(2, OWN, OWN_END)?;
        self.push([insn]);
        self.set(2)
    }

    /// An access to the packet, after a look at where it ends.
    pub(super) fn packet(&mut self) -> Result<()> {
        let room = i16::try_from(PACKET + 8).expect("packets are short");
        let end = self.u.int_in_range(8..=room)?;
        self.push([
            Insn::ldx(DW, 4, FRAME_POINTER, KEPT_CONTEXT),
            Insn::ldx(W, 2, 4, DATA),
            Insn::ldx(W, 3, 4, DATA_END),
            Insn::mov64_reg(4, 2),
            Insn::alu64_imm(ADD, 4, end.into()),
        ]);
        let jump = self.insns.len();
        self.push([Insn::jmp_reg(JGT, 4, 3, 0)]);
        for reg in [3, 4] {
            self.set(reg)?;
        }
        let insn = self.access(2, 0, end)?;
        self.push([insn]);
        self.land(jump);
        for reg in [2, 3, 4] {
            self.set(reg)?;
        }
        Ok(())
    }

    /// A load of the old kind, sometimes past the end of the packet.
    pub(super) fn load_packet(&mut self) -> Result<()> {
        let size = *self.u.choose(&[B, H, W])?;
        let room = i32::try_from(PACKET).expect("packets are short");
        let imm = self.u.int_in_range(0..=room)?;
        self.push([Insn::ldx(DW, 6, FRAME_POINTER, KEPT_CONTEXT)]);
        if self.u.arbitrary()? {
            let reg = self.u.int_in_range(0..=5)?;
            let offset = self.u.int_in_range(-imm..=room - imm)?;
            self.push([Insn::mov64_imm(reg, offset), Insn::new(LD | IND | size, 0, reg, 0, imm)]);
        } else {
            self.push([Insn::new(LD | ABS | size, 0, 0, 0, imm)]);
        }
        self.push([Insn::mov64_reg(6, 0)]);
        self.after_call()
    }

    /// Gives a register the address of the values of a map.
    pub(super) fn map_value(&mut self) -> Result<()> {
        let (map, base) = (self.u.int_in_range(0..=MAPS - 1)?, self.reg()?);
        let size = i16::try_from(MAP).expect("maps are small");
        if self.style.resolved {
            self.push(Insn::ld_imm64(base, Machine::value_address(map)));
        } else {
            self.push(Insn::ld_imm64_kind(base, LD_MAP_IDX_VALUE, map.cast_signed(), 0));
        }
        let insn =
            if self.u.ratio(1, 3)? { self.atomic_at(base, 0, size)? } else { self.access(base, 0, size)? };
        self.push([insn]);
        self.set(base)
    }

    /// Looks up a value that may not be there, which is a jump on a null pointer.
    pub(super) fn look_up(&mut self) -> Result<()> {
        let map = self.u.int_in_range(0..=MAPS - 1)?;
        let key = self.u.int_in_range(0..=5)?;
        self.push([
            Insn::st(W, FRAME_POINTER, -8, key),
            Insn::mov64_reg(2, FRAME_POINTER),
            Insn::alu64_imm(ADD, 2, -8),
        ]);
        let (kind, low, high) = if self.style.resolved {
            let [low, high] = Insn::ld_imm64(1, Machine::map_address(map)).map(|slot| slot.imm);
            (LD_NUMBER, low, high)
        } else {
            (LD_MAP_IDX, map.cast_signed(), 0)
        };
        self.push(Insn::ld_imm64_kind(1, kind, low, high));
        self.push([Insn::call(LOOK_UP)]);
        self.after_call()?;
        let jump = self.insns.len();
        self.push([Insn::jmp_imm(JEQ, 0, 0, 0)]);
        let insn = self.access(0, 0, 16)?;
        self.push([insn]);
        self.land(jump);
        self.set(0)
    }
}

trait NextMultiple {
    fn next_multiple_of_signed(self, of: Self) -> Self;
}

impl NextMultiple for i16 {
    fn next_multiple_of_signed(self, of: Self) -> Self {
        (self + of - 1).div_euclid(of) * of
    }
}
