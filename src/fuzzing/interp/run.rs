//! [`Run`]: the state of a run, and its steps.

use std::vec::Vec;

use super::alu::alu;
use super::branch::is_taken;
use super::call::Frame;
use super::fault::{Fault, Reason};
use super::machine::{HelperCall, HighHalf, Machine, Outcome};
use super::memory::{APART, CONTEXT, FRAMES, FUNCTIONS, MAPS, Memory, PACKET, VALUES, len_of};
use crate::bpf::opcode::{
    ALU, ALU64, ATOMIC, END, FRAME_POINTER, GOTOL, LD, LD_FUNC, LD_MAP_FD, LD_MAP_IDX, LD_MAP_IDX_VALUE,
    LD_MAP_VALUE, LD_NUMBER, LDX, MAY_GOTO, MEMSX, MOV, ST, SUB, X, XOR,
};
use crate::bpf::{Insn, check_insn};

/// A program that runs.
pub(super) struct Run<'m> {
    pub(super) machine: &'m Machine,
    program: &'m [Insn],
    /// `None`: nothing was written to it.
    regs: [Option<u64>; 16],
    pub(super) memory: Memory,
    pub(super) frames: Vec<Frame>,
    pub(super) trace: Vec<HelperCall>,
    /// The slot of the instruction that runs.
    pub(super) at: usize,
    /// For each slot whether an instruction that starts there ran.
    pub(super) seen: Vec<bool>,
}

/// Where control goes after an instruction.
pub(super) enum Flow {
    Next,
    /// So many slots on from the next one.
    By(i64),
    /// To a slot.
    To(i64),
    /// Out of the entry function.
    Out,
}

/// What a run looks like before an instruction.
pub struct Sight<'r> {
    /// The slot of the instruction.
    pub slot: usize,
    /// What registers hold; `None`: nothing was written to them.
    pub regs: &'r [Option<u64>; 16],
    memory: &'r Memory,
}

impl Sight<'_> {
    /// The eight bytes at an address, as a number, if there is memory.
    #[must_use]
    pub fn load(&self, address: u64) -> Option<u64> {
        self.memory.load(address, 8).ok()
    }
}

/// What the upper half of a register holds where it may hold anything.
const GARBAGE: u64 = 0xbad0_bad0 << 32;

impl<'m> Run<'m> {
    pub(super) fn new(machine: &'m Machine, program: &'m [Insn]) -> Self {
        let mut memory = Memory::new(machine.endian);
        memory.push(CONTEXT, machine.context.clone());
        memory.push(PACKET, machine.packet.clone());
        for (address, map) in (VALUES..).step_by(1 << 32).zip(&machine.maps) {
            memory.push(address, map.bytes.clone());
        }
        let mut run = Self {
            machine,
            program,
            regs: [None; 16],
            memory,
            frames: Vec::new(),
            trace: Vec::new(),
            at: 0,
            seen: std::vec![false; program.len()],
        };
        run.regs[1] = Some(CONTEXT);
        run.enter(0, None);
        run
    }

    /// Runs to the end. `watch` is called before each instruction.
    pub(super) fn finish(&mut self, watch: &mut dyn FnMut(&Sight<'_>)) -> Result<Outcome, Fault> {
        for _ in 0..self.machine.steps {
            let fault = |reason| Fault { at: self.at, reason };
            let len = check(self.program, self.at, self.machine.highest).map_err(fault)?;
            self.seen[self.at] = true;
            watch(&Sight { slot: self.at, regs: &self.regs, memory: &self.memory });
            let flow = self.step(len);
            let fault = |reason| Fault { at: self.at, reason };
            let at = i64::try_from(self.at).unwrap_or(i64::MAX);
            let to = match flow.map_err(fault)? {
                Flow::Next => self.at.saturating_add(len).try_into().unwrap_or(i64::MAX),
                Flow::By(displacement) => at.saturating_add(1).saturating_add(displacement),
                Flow::To(to) => to,
                Flow::Out => return self.outcome().map_err(fault),
            };
            let next = usize::try_from(to).ok().filter(|next| *next < self.program.len());
            self.at = next.ok_or(fault(Reason::Outside(to)))?;
        }
        Err(Fault { at: self.at, reason: Reason::Steps })
    }

    fn outcome(&self) -> Result<Outcome, Reason> {
        let maps = (0..self.machine.maps.len() as u64).map(|map| self.memory.range(VALUES + map * APART));
        Ok(Outcome {
            value: self.read(0)?,
            context: self.memory.range(CONTEXT),
            packet: self.memory.range(PACKET),
            maps: maps.collect(),
            trace: self.trace.clone(),
        })
    }

    fn step(&mut self, len: usize) -> Result<Flow, Reason> {
        let insn = self.program[self.at];
        match insn.class() {
            ALU | ALU64 => self.arithmetic(insn)?,
            LD if insn.is_wide() => self.load_wide(insn, self.program[self.at + len - 1].imm)?,
            LD => return self.load_packet(insn),
            LDX => self.load(insn)?,
            ST => {
                let address = self.address(insn.dst(), insn.off)?;
                self.memory.store(address, len_of(insn.size()), i64::from(insn.imm).cast_unsigned())?;
            }
            _ if insn.is_call() => return self.call(insn),
            _ if insn.is_exit() => return self.exit(),
            _ if insn.code == GOTOL => return Ok(Flow::By(insn.imm.into())),
            _ if insn.is_goto() => return Ok(Flow::By(insn.off.into())),
            _ if insn.is_gotox() => {
                // What jump tables hold, and the register, is an offset in bytes from the first slot.
                let offset = i64::try_from(self.read(insn.dst())?).unwrap_or(i64::MAX);
                return Ok(Flow::To(if offset % 8 == 0 { offset / 8 } else { i64::MAX }));
            }
            _ if insn.code == MAY_GOTO => {
                let stays = self.frames.last_mut().is_some_and(Frame::spend);
                return Ok(if stays { Flow::Next } else { Flow::By(insn.off.into()) });
            }
            _ if insn.is_cond() => {
                let (dst, src) = (self.read(insn.dst())?, self.operand(insn)?);
                let taken = is_taken(insn, dst, src).ok_or(Reason::Unsupported)?;
                return Ok(if taken { Flow::By(insn.off.into()) } else { Flow::Next });
            }
            _ if insn.mode() == ATOMIC => self.atomic(insn)?,
            _ => {
                let (address, value) = (self.address(insn.dst(), insn.off)?, self.read(insn.src())?);
                self.memory.store(address, len_of(insn.size()), value)?;
            }
        }
        Ok(Flow::Next)
    }

    fn arithmetic(&mut self, insn: Insn) -> Result<(), Reason> {
        // What there is does not count: the kernel zeroes registers so, whatever they hold.
        let zeroes = insn.is_reg() && insn.dst() == insn.src() && matches!(insn.op(), XOR | SUB);
        if zeroes {
            return self.write(insn.dst(), 0);
        }
        let dst = if insn.op() == MOV { 0 } else { self.read(insn.dst())? };
        let src = if insn.op() == END { 0 } else { self.operand(insn)? };
        if is_zero_extension(insn) {
            return self.write(insn.dst(), src & u64::from(u32::MAX));
        }
        let value = alu(insn, dst, src, self.machine.endian).ok_or(Reason::Unsupported)?;
        let is_wide = insn.class() == ALU64 || (insn.op() == END && insn.imm == 64);
        self.write_sized(insn.dst(), value, if is_wide { 8 } else { 4 })
    }

    fn load_wide(&mut self, insn: Insn, high: i32) -> Result<(), Reason> {
        let (low, high) = (u64::from(insn.imm.cast_unsigned()), u64::from(high.cast_unsigned()));
        let map = || {
            let exists = usize::try_from(insn.imm).is_ok_and(|map| map < self.machine.maps.len());
            if exists { Ok(low) } else { Err(Reason::Map(insn.imm)) }
        };
        let value = match insn.src() {
            LD_NUMBER => high << 32 | low,
            LD_MAP_FD | LD_MAP_IDX => MAPS + map()?,
            LD_MAP_VALUE | LD_MAP_IDX_VALUE => VALUES + map()? * APART + high,
            LD_FUNC => {
                let at = u64::try_from(self.at).map_err(|_| Reason::Unsupported)? + 1;
                let to = at.wrapping_add_signed(insn.imm.into());
                self.function(to)
            }
            _ => return Err(Reason::Unsupported),
        };
        self.write(insn.dst(), value)
    }

    fn load(&mut self, insn: Insn) -> Result<(), Reason> {
        let (address, len) = (self.address(insn.src(), insn.off)?, len_of(insn.size()));
        let value = self.memory.load(address, len)?;
        if insn.mode() == MEMSX {
            let unused = 64 - 8 * u32::try_from(len).unwrap_or(8);
            return self.write(insn.dst(), ((value << unused).cast_signed() >> unused).cast_unsigned());
        }
        let is_field = |fields: &[u64]| len == 4 && fields.iter().any(|field| CONTEXT + field == address);
        if is_field(&self.machine.packet_starts) {
            return self.write(insn.dst(), PACKET);
        }
        if is_field(&self.machine.packet_ends) {
            return self.write(insn.dst(), PACKET + self.machine.packet.len() as u64);
        }
        self.write_sized(insn.dst(), value, len)
    }

    /// The second operand of an arithmetic instruction or a jump.
    fn operand(&self, insn: Insn) -> Result<u64, Reason> {
        if insn.is_reg() { self.read(insn.src()) } else { Ok(i64::from(insn.imm).cast_unsigned()) }
    }

    /// The address that is `off` bytes from what a register holds.
    pub(super) fn address(&self, reg: u8, off: i16) -> Result<u64, Reason> {
        Ok(self.read(reg)?.wrapping_add_signed(off.into()))
    }

    pub(super) fn read(&self, reg: u8) -> Result<u64, Reason> {
        self.regs[usize::from(reg & 15)].ok_or(Reason::Unwritten(reg))
    }

    pub(super) fn write(&mut self, reg: u8, value: u64) -> Result<(), Reason> {
        if reg == FRAME_POINTER {
            return Err(Reason::FramePointer);
        }
        self.regs[usize::from(reg & 15)] = Some(value);
        Ok(())
    }

    /// Writes a value of `len` bytes that an operation on so many gave.
    pub(super) fn write_sized(&mut self, reg: u8, value: u64, len: usize) -> Result<(), Reason> {
        let garbage = if len < 8 && self.machine.high_half == HighHalf::Anything { GARBAGE } else { 0 };
        self.write(reg, value | garbage)
    }

    /// Leaves nothing in the registers that a call may use: `r0` to `r5`, and those that no program has.
    pub(super) fn scratch_caller_saved(&mut self) {
        self.regs[..6].fill(None);
        self.regs[11..].fill(None);
    }

    /// Takes `r6` to `r9` from the registers.
    pub(super) fn take_callee_saved(&mut self) -> [Option<u64>; 4] {
        core::array::from_fn(|at| self.regs[6 + at].take())
    }

    /// Puts `r6` to `r9` and the frame pointer of a call so deep back.
    pub(super) fn put_callee_saved(&mut self, saved: [Option<u64>; 4], depth: u64) {
        self.regs[6..10].copy_from_slice(&saved);
        self.regs[usize::from(FRAME_POINTER)] = Some(self.frame_pointer(depth));
    }

    /// The frame pointer of a call so deep.
    pub(super) fn frame_pointer(&self, depth: u64) -> u64 {
        FRAMES + self.machine.base - depth * APART
    }

    /// The address of the function at a slot.
    pub(super) fn function(&self, at: u64) -> u64 {
        FUNCTIONS.wrapping_add(self.machine.base).wrapping_add(at)
    }

    /// Leaves nothing in a register.
    pub(super) fn forget(&mut self, reg: u8) {
        self.regs[usize::from(reg & 15)] = None;
    }
}

/// The length of a valid instruction.
fn check(program: &[Insn], at: usize, highest: u8) -> Result<usize, Reason> {
    match program.get(at) {
        Some(insn) if is_zero_extension(*insn) => Ok(1),
        _ => check_insn(program, at, highest).map_err(|error| Reason::Insn(error.reason)),
    }
}

/// Whether this is what the kernel zeroes an upper half with (`BPF_ZEXT_REG`): a 32-bit move with
/// `imm` 1, which no program may have.
fn is_zero_extension(insn: Insn) -> bool {
    insn.code == ALU | MOV | X && insn.imm == 1 && insn.off == 0 && insn.dst() == insn.src()
}
