//! [`Effects`]: which registers an instruction reads and writes.

use super::Insn;
use super::opcode::{
    ABS, ALU, ALU64, ATOMIC, CMPXCHG, DW, END, FETCH, IND, JMP, JMP32, LD, LDX, LOAD_ACQ, MAY_GOTO, MOV, NEG,
    ST, STORE_REL, STX,
};

/// A set of registers, `r0` to `r15`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RegSet(u16);

impl RegSet {
    /// No register.
    pub const EMPTY: Self = Self(0);
    /// The registers a call takes arguments in, `r1` to `r5`.
    pub const ARGS: Self = Self(0b11_1110);
    /// The registers a call leaves undefined or its result in, `r0` to `r5`.
    pub const CALLER_SAVED: Self = Self(0b11_1111);
    /// The registers a program may write, `r0` to `r9`.
    pub const GENERAL: Self = Self(0b11_1111_1111);

    /// The set of one register. Its number is taken modulo 16.
    #[inline]
    #[must_use]
    pub const fn of(reg: u8) -> Self {
        Self(1 << (reg & 15))
    }

    /// Whether a register is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, reg: u8) -> bool {
        self.0 & Self::of(reg).0 != 0
    }

    /// The registers of either set.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The registers of both sets.
    #[inline]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The registers of this set that are not in the other.
    #[inline]
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The numbers of the registers, ascending.
    pub fn iter(self) -> impl Iterator<Item = u8> + Clone {
        (0..16).filter(move |&reg| self.contains(reg))
    }
}

/// What an instruction does to registers.
///
/// It goes by the encoding alone: `r1 ^= r1` reads `r1`. A call is taken to read all of its argument
/// registers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Effects {
    /// Registers whose low 32 bits it reads.
    pub reads: RegSet,
    /// Registers whose high 32 bits it reads too.
    pub reads_high: RegSet,
    /// Registers whose 64 bits it writes. A 32-bit operation writes zeroes above (RFC 9669), and a
    /// call leaves nothing in the registers its callee may use.
    pub writes: RegSet,
}

impl Effects {
    const NONE: Self = Self { reads: RegSet::EMPTY, reads_high: RegSet::EMPTY, writes: RegSet::EMPTY };

    /// The effects of the instruction that starts with the slot `insn`.
    #[must_use]
    pub const fn of(insn: Insn) -> Self {
        let (dst, src) = (insn.dst(), insn.src());
        match insn.class() {
            LD if insn.is_wide() => Self::NONE.write(dst),
            LD if matches!(insn.mode(), ABS | IND) => {
                // The packet comes from the context in r6, and the access is a call in disguise.
                let context = Self { writes: RegSet::CALLER_SAVED, ..Self::NONE }.read(6, true);
                if insn.mode() == IND { context.read(src, true) } else { context }
            }
            LDX => Self::NONE.read(src, true).write(dst),
            ST => Self::NONE.read(dst, true),
            STX if insn.mode() == ATOMIC => Self::of_atomic(insn),
            STX => Self::NONE.read(dst, true).read(src, insn.size() == DW),
            ALU | ALU64 => Self::of_alu(insn),
            JMP | JMP32 => Self::of_jump(insn),
            _ => Self::NONE,
        }
    }

    const fn of_atomic(insn: Insn) -> Self {
        let (dst, src, wide) = (insn.dst(), insn.src(), insn.size() == DW);
        if insn.imm == LOAD_ACQ {
            return Self::NONE.read(src, true).write(dst);
        }
        let operands = Self::NONE.read(dst, true).read(src, wide);
        match insn.imm {
            STORE_REL => operands,
            CMPXCHG => operands.read(0, wide).write(0),
            op if op & FETCH != 0 => operands.write(src),
            _ => operands,
        }
    }

    const fn of_alu(insn: Insn) -> Self {
        let (dst, src, wide) = (insn.dst(), insn.src(), insn.class() == ALU64);
        let written = Self::NONE.write(dst);
        match insn.op() {
            // A sign-extending move reads no more than the bits it extends.
            MOV if insn.is_reg() => written.read(src, wide && !matches!(insn.off, 8 | 16 | 32)),
            MOV => written,
            NEG => written.read(dst, wide),
            END => written.read(dst, insn.imm == 64),
            _ if insn.is_reg() => written.read(dst, wide).read(src, wide),
            _ => written.read(dst, wide),
        }
    }

    const fn of_jump(insn: Insn) -> Self {
        let wide = insn.class() == JMP;
        if insn.is_call() {
            Self { reads: RegSet::ARGS, reads_high: RegSet::ARGS, writes: RegSet::CALLER_SAVED }
        } else if insn.is_exit() {
            Self::NONE.read(0, true)
        } else if insn.is_gotox() {
            Self::NONE.read(insn.dst(), true)
        } else if !insn.is_cond() || insn.code == MAY_GOTO {
            Self::NONE
        } else if insn.is_reg() {
            Self::NONE.read(insn.dst(), wide).read(insn.src(), wide)
        } else {
            Self::NONE.read(insn.dst(), wide)
        }
    }

    const fn read(mut self, reg: u8, high: bool) -> Self {
        let reg = RegSet::of(reg);
        self.reads = self.reads.union(reg);
        if high {
            self.reads_high = self.reads_high.union(reg);
        }
        self
    }

    const fn write(mut self, reg: u8) -> Self {
        self.writes = self.writes.union(RegSet::of(reg));
        self
    }
}
