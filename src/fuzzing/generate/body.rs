//! Subprograms: how they begin and end, and calls of them.

use arbitrary::Result;

use super::{Callee, Writer, memory};
use crate::bpf::Insn;
use crate::bpf::opcode::{ADD, AND, CALL_CODE, CALL_LOCAL, DW, FRAME_POINTER, LD_FUNC, MUL, RSH, W, XOR};

/// The data words of a frame.
pub(super) const WORDS: i16 = 8;
/// Where the entry function keeps its context, from the frame pointer.
pub(super) const KEPT_CONTEXT: i16 = -8 * (WORDS + 1);

const BPF_LOOP: i32 = 181;

impl Writer<'_, '_> {
    pub(super) fn body(&mut self) -> Result<()> {
        self.calls = 3;
        self.in_loop = false;
        let callee = self.subprog.checked_sub(1).map(|at| self.callees[at]);
        match callee {
            None => {
                self.push([
                    Insn::stx(DW, FRAME_POINTER, 1, KEPT_CONTEXT),
                    Insn::mov64_imm(0, 7),
                    Insn::mov64_imm(6, 11),
                ]);
            }
            Some(Callee { pointer: Some(reg), .. }) => {
                // The word of the caller changes: what a call does is seen outside.
                self.push([
                    Insn::mov64_reg(7, 3 - reg),
                    Insn::ldx(DW, 0, reg, 0),
                    Insn::alu64_reg(ADD, 0, 7),
                    Insn::stx(DW, reg, 0, 0),
                    Insn::mov64_imm(6, 5),
                ]);
            }
            Some(Callee { is_callback, pointer: None }) => {
                let second = if is_callback { 1 } else { 2 };
                self.push([Insn::mov64_reg(0, 1), Insn::mov64_reg(6, second)]);
            }
        }
        for reg in [1, 2, 3, 4, 5, 7, 8] {
            self.set(reg)?;
        }
        self.push([Insn::mov64_imm(9, 0)]);
        for word in 1..=WORDS {
            let value = self.constant()?;
            self.push([Insn::st(DW, FRAME_POINTER, -8 * word, value)]);
        }
        if self.style.for_kernel && self.subprog == 0 {
            // A verifier wants all of them called.
            for subprog in 1..=self.callees.len() {
                self.call_of(subprog)?;
            }
        }
        let statements = self.u.int_in_range(1..=24)?;
        self.block(statements, 3)?;
        self.fold();
        if callee.is_some_and(|callee| callee.is_callback) {
            // All that a callback may return.
            self.push([Insn::alu64_imm(AND, 0, 1)]);
        }
        self.push([Insn::exit()]);
        Ok(())
    }

    /// Joins all that there is into `r0`.
    fn fold(&mut self) {
        let join = |reg| [Insn::alu64_reg(XOR, 0, reg), Insn::alu64_imm(MUL, 0, 31)];
        for reg in 1..=9 {
            self.push(join(reg));
        }
        for word in 1..=WORDS {
            self.push([Insn::ldx(DW, 2, FRAME_POINTER, -8 * word)]);
            self.push(join(2));
        }
        if self.subprog == 0 {
            self.push([Insn::ldx(DW, 3, FRAME_POINTER, KEPT_CONTEXT)]);
            for field in memory::fields() {
                self.push([Insn::ldx(W, 2, 3, field)]);
                self.push(join(2));
            }
        }
        self.push([Insn::mov64_reg(2, 0), Insn::alu64_imm(RSH, 2, 32), Insn::alu64_reg(XOR, 0, 2)]);
    }

    /// A call of a later subprogram, or of `bpf_loop` with a later callback, if there is one.
    pub(super) fn call(&mut self) -> Result<()> {
        if self.calls == 0 || self.subprog == self.callees.len() {
            return Ok(());
        }
        self.calls -= 1;
        let subprog = self.u.int_in_range(self.subprog + 1..=self.callees.len())?;
        self.call_of(subprog)
    }

    fn call_of(&mut self, subprog: usize) -> Result<()> {
        let Callee { is_callback, pointer } = self.callees[subprog - 1];
        if is_callback {
            let function = Insn::ld_imm64_kind(2, LD_FUNC, 0, 0);
            self.references.push((self.insns.len(), subprog));
            self.push(function);
            self.call_loop(pointer.is_some())?;
        } else {
            if pointer.is_some() {
                self.word_address(1)?;
            }
            self.references.push((self.insns.len(), subprog));
            self.push([Insn::new(CALL_CODE, 0, CALL_LOCAL, 0, 0)]);
        }
        self.after_call()
    }

    fn call_loop(&mut self, passes_pointer: bool) -> Result<()> {
        let turns = self.u.int_in_range(0..=3)?;
        if passes_pointer {
            self.word_address(3)?;
        } else {
            self.push([Insn::mov64_imm(3, 0)]);
        }
        self.push([Insn::mov64_imm(1, turns), Insn::mov64_imm(4, 0), Insn::call(BPF_LOOP)]);
        Ok(())
    }

    /// Gives a register the address of a word of the frame.
    fn word_address(&mut self, reg: u8) -> Result<()> {
        let word = self.u.int_in_range(1..=i32::from(WORDS))?;
        self.push([Insn::mov64_reg(reg, FRAME_POINTER), Insn::alu64_imm(ADD, reg, -8 * word)]);
        Ok(())
    }

    /// Gives numbers to the registers that a call leaves nothing in.
    pub(super) fn after_call(&mut self) -> Result<()> {
        for reg in 1..=5 {
            self.set(reg)?;
        }
        Ok(())
    }

    /// Gives a register a number that depends on what came before.
    pub(super) fn set(&mut self, reg: u8) -> Result<()> {
        let value = self.constant()?;
        self.push([Insn::mov64_imm(reg, value)]);
        if self.u.ratio(1, 3)? {
            self.push([Insn::alu64_reg(ADD, reg, 6)]);
        }
        Ok(())
    }
}
