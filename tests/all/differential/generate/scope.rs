//! [`Scope`]: the block that is being written, and what its registers hold.

use relinear::Isa;
use relinear::bpf::opcode::{
    ALU, ALU64, ATOMIC, CMPXCHG, DW, END, FETCH, IND, JMP, JMP32, LD, LDX, LOAD_ACQ, MEMSX, MOV, NEG, STX,
};
use relinear::bpf::{Aux, Bpf, Insn};

use super::{Config, Op, Role, To, branch_nowhere};
use crate::random::Rng;

/// What a register holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    /// Nothing that may be read.
    None,
    /// A number, all of which was written.
    Wide,
    /// A number whose low half was written by the instruction with this index.
    Narrow(usize),
    /// The context, or the stack.
    Pointer,
}

/// Writes a block. Registers keep no values over its ends, but `r6` to `r10`.
pub(crate) struct Scope<'a> {
    /// What all choices come from.
    pub(crate) rng: &'a mut Rng,
    pub(crate) config: &'a Config,
    pub(super) role: Role,
    /// What `r8` holds.
    pub(super) constant: i32,
    seen: bool,
    ops: Vec<Op>,
    values: [Value; 11],
}

impl<'a> Scope<'a> {
    pub(super) fn new(rng: &'a mut Rng, config: &'a Config, role: Role, seen: bool, constant: i32) -> Self {
        let mut values = [Value::None; 11];
        values[6] = if has_context(role) { Value::Pointer } else { Value::None };
        values[7..10].fill(Value::Wide);
        values[10] = Value::Pointer;
        Self { rng, config, role, constant, seen, ops: Vec::new(), values }
    }

    /// Gives the registers that all blocks rely on their values.
    pub(super) fn prologue(&mut self) {
        self.values = [Value::None; 11];
        self.values[10] = Value::Pointer;
        match self.role {
            Role::Main => {
                self.values[1] = Value::Pointer;
                self.push(Insn::mov64_reg(6, 1));
                self.values[6] = Value::Pointer;
                self.push_call(Insn::call(7), 0);
                self.push(Insn::mov64_reg(7, 0));
            }
            Role::Local => {
                self.values[1..=2].copy_from_slice(&[Value::Wide, Value::Pointer]);
                self.push(Insn::mov64_reg(6, 2));
                self.values[6] = Value::Pointer;
                self.push(Insn::mov64_reg(7, 1));
            }
            Role::Global => {
                self.values[1] = Value::Wide;
                self.push(Insn::mov64_reg(7, 1));
            }
            Role::Callback => {
                self.push_call(Insn::call(7), 0);
                self.push(Insn::mov64_reg(7, 0));
            }
        }
        self.push(Insn::mov64_imm(8, self.constant));
        self.push(Insn::mov64_imm(9, 0));
    }

    /// The register that holds the context, if one does.
    pub(crate) fn context(&self) -> Option<u8> {
        (self.values[6] == Value::Pointer).then_some(6)
    }

    /// A register that holds a number.
    pub(crate) fn number(&mut self) -> u8 {
        let is_number = |reg: &u8| matches!(self.values[usize::from(*reg)], Value::Wide | Value::Narrow(_));
        let all: Vec<u8> = (0..9).filter(is_number).collect();
        all[self.rng.below(all.len())]
    }

    /// A register that may be written: `r0` to `r5`, whatever it holds.
    pub(crate) fn scratch(&mut self) -> u8 {
        u8::try_from(self.rng.below(6)).expect("a register")
    }

    /// A register that may be written and holds a number.
    pub(crate) fn variable(&mut self) -> u8 {
        let holds = |value: Value| matches!(value, Value::Wide | Value::Narrow(_));
        if let Some(reg) =
            (0..6).filter(|reg| holds(self.values[usize::from(*reg)])).max_by_key(|_| self.rng.next())
        {
            return reg;
        }
        let reg = self.scratch();
        self.push(Insn::mov64_reg(reg, 7));
        reg
    }

    /// A slot of the stack, of 8 bytes, that any instruction may use: the offset from `r10`.
    pub(crate) fn stack(&mut self) -> i16 {
        -8 - 8 * i16::try_from(self.rng.below(6)).expect("a small number")
    }

    /// Writes an instruction of one slot that neither jumps nor calls.
    pub(crate) fn push(&mut self, insn: Insn) {
        self.add(vec![insn], None);
        self.note(insn);
    }

    /// Writes instructions that stay next to one another, which jumps among them rely on.
    #[cfg(feature = "elf")]
    pub(crate) fn push_together(&mut self, insns: &[Insn]) {
        self.add(insns.to_vec(), None);
        for insn in insns {
            self.note(*insn);
        }
    }

    /// Writes an `ld_imm64`, of a number or of a map.
    pub(crate) fn push_wide(&mut self, insn: [Insn; 2]) {
        self.add(insn.to_vec(), None);
        self.values[usize::from(insn[0].dst())] = Value::Wide;
    }

    /// Writes a call of a helper that takes so many arguments.
    pub(crate) fn push_call(&mut self, insn: Insn, arguments: u8) {
        self.add(vec![insn], None);
        self.note_call(arguments);
    }

    /// Says that a register holds nothing that other statements may use: a pointer, say.
    pub(crate) fn forget(&mut self, reg: u8) {
        self.values[usize::from(reg)] = Value::None;
    }

    /// Writes a call of a function, or takes its address, which leads there.
    pub(super) fn push_to(&mut self, slots: Vec<Insn>, function: usize) {
        let first = slots[0];
        self.add(slots, Some(To::Function(function)));
        if first.is_call() {
            self.note_call(0);
        } else {
            self.values[usize::from(first.dst())] = Value::None;
        }
    }

    /// Writes a jump.
    pub(super) fn jump(&mut self, insn: Insn, to: To) {
        self.add(vec![insn], Some(to));
        self.note(insn);
    }

    /// What follows is not walked.
    pub(super) fn die(&mut self) {
        self.seen = false;
    }

    pub(super) fn finish(self) -> Vec<Op> {
        self.ops
    }

    fn add(&mut self, slots: Vec<Insn>, to: Option<To>) {
        if self.config.nops && self.rng.one_in(12) {
            let nops = 1 + self.rng.below(2);
            for _ in 0..nops {
                self.ops.push(self.op(vec![Insn::ja(0)], None));
            }
        }
        if self.config.may_goto && self.rng.one_in(30) {
            let nops = 1 + self.rng.below(3);
            for _ in 0..nops {
                self.ops.push(self.op(vec![Insn::may_goto(0)], None));
            }
        }
        if self.config.nops && self.rng.one_in(60) && self.values[7] == Value::Wide {
            let insn =
                if self.config.gotol && self.rng.one_in(2) { Insn::gotol(0) } else { branch_nowhere(7) };
            self.ops.push(self.op(vec![insn], None));
        }
        let op = self.op(slots, to);
        self.ops.push(op);
    }

    fn op(&self, slots: Vec<Insn>, to: Option<To>) -> Op {
        Op { slots, to, fact: Aux { seen: self.seen, zext_dst: false, user: () } }
    }

    fn read(&mut self, reg: u8, is_wide: bool) {
        if let Value::Narrow(by) = self.values[usize::from(reg)]
            && is_wide
        {
            self.ops[by].fact.zext_dst = self.seen;
            self.values[usize::from(reg)] = Value::Wide;
        }
    }

    fn write(&mut self, reg: u8, is_wide: bool) {
        self.values[usize::from(reg)] = if is_wide { Value::Wide } else { Value::Narrow(self.ops.len() - 1) };
    }

    fn note_call(&mut self, arguments: u8) {
        for reg in 1..=arguments {
            self.read(reg, true);
        }
        self.values[1..6].fill(Value::None);
        self.values[0] = Value::Wide;
    }

    /// The rules of `is_reg64` in `kernel/bpf/verifier.c`: which halves of registers an instruction
    /// reads and writes.
    fn note(&mut self, insn: Insn) {
        let (dst, src) = (insn.dst(), insn.src());
        let wide_access = insn.size() == DW;
        match insn.class() {
            ALU | ALU64 if insn.op() == END => {
                let is_wide = insn.imm == 64;
                self.read(dst, is_wide);
                self.write(dst, is_wide);
            }
            ALU | ALU64 => {
                let is_wide = insn.class() == ALU64;
                if insn.is_reg() {
                    self.read(src, is_wide);
                }
                if insn.op() != MOV || insn.op() == NEG {
                    self.read(dst, is_wide);
                }
                self.write(dst, is_wide);
            }
            JMP | JMP32 if Bpf.fields(&[insn]) > 0 => {
                let is_wide = insn.class() == JMP;
                if insn.is_reg() {
                    self.read(src, is_wide);
                }
                self.read(dst, is_wide);
            }
            JMP => self.read(0, true),
            // A packet load.
            LD => {
                if insn.mode() == IND {
                    self.read(src, true);
                }
                self.values[1..6].fill(Value::None);
                self.write(0, false);
            }
            LDX => self.write(dst, wide_access || insn.mode() == MEMSX),
            STX if insn.mode() == ATOMIC => {
                if insn.imm == LOAD_ACQ {
                    self.write(dst, wide_access);
                    return;
                }
                self.read(src, wide_access);
                if insn.imm == CMPXCHG {
                    self.read(0, wide_access);
                    self.write(0, wide_access);
                } else if insn.imm & FETCH != 0 {
                    self.write(src, wide_access);
                }
            }
            STX => self.read(src, wide_access),
            _ => {}
        }
    }
}

fn has_context(role: Role) -> bool {
    matches!(role, Role::Main | Role::Local)
}
