//! Statements with statements in them: branches, loops, early exits, dead code; and calls of helpers.

use arbitrary::Result;

use super::Writer;
use crate::Isa;
use crate::bpf::opcode::{AND, JNE, SUB};
use crate::bpf::{Bpf, Insn};

const KTIME_GET_NS: i32 = 5;
const TRACE_PRINTK: i32 = 6;
const GET_PRANDOM_U32: i32 = 7;

impl Writer<'_, '_> {
    pub(super) fn block(&mut self, statements: usize, nest: usize) -> Result<()> {
        for _ in 0..statements {
            if self.u.is_empty() {
                return Ok(());
            }
            self.statement(nest)?;
        }
        Ok(())
    }

    /// A block inside another one.
    fn inner(&mut self, nest: usize) -> Result<()> {
        let statements = self.u.int_in_range(0..=5)?;
        self.block(statements, nest - 1)
    }

    pub(super) fn control(&mut self, nest: usize) -> Result<()> {
        match self.u.int_in_range(0..=7)? {
            0..=2 => self.branch(nest, false),
            3 => self.branch(nest, true),
            4 if !self.in_loop => self.turns(nest),
            5 => {
                let jump = self.insns.len();
                self.push([Insn::may_goto(0)]);
                self.inner(nest)?;
                self.land(jump);
                Ok(())
            }
            6 => self.early_exit(),
            _ if self.style.for_kernel => self.branch(nest, false),
            _ => {
                let jump = self.goto()?;
                self.inner(nest)?;
                self.land(jump);
                Ok(())
            }
        }
    }

    fn branch(&mut self, nest: usize, has_else: bool) -> Result<()> {
        let condition = self.condition()?;
        let jump = self.insns.len();
        self.push([condition]);
        self.inner(nest)?;
        if has_else {
            let over = self.goto()?;
            self.land(jump);
            self.inner(nest)?;
            self.land(over);
        } else {
            self.land(jump);
        }
        Ok(())
    }

    /// A `goto` or `gotol`, which is to [`land`](Writer::land) later.
    fn goto(&mut self) -> Result<usize> {
        let insn = if self.u.arbitrary()? { Insn::ja(0) } else { Insn::gotol(0) };
        self.push([insn]);
        Ok(self.insns.len() - 1)
    }

    /// Makes the jump at `from` lead to what is written next.
    pub(super) fn land(&mut self, from: usize) {
        self.lead(from, self.insns.len());
    }

    fn lead(&mut self, from: usize, to: usize) {
        let signed = |at: usize| i64::try_from(at).expect("programs are small");
        Bpf.write(&mut self.insns[from..], 0, signed(to) - signed(from) - 1);
    }

    fn turns(&mut self, nest: usize) -> Result<()> {
        let turns = self.u.int_in_range(1..=4)?;
        self.in_loop = true;
        self.push([Insn::mov64_imm(9, turns)]);
        let start = self.insns.len();
        let leaves = self.u.arbitrary()?;
        if leaves {
            self.push([Insn::may_goto(0)]);
        }
        self.inner(nest)?;
        self.push([Insn::alu64_imm(SUB, 9, 1)]);
        if self.u.arbitrary()? {
            self.push([Insn::jmp_imm(JNE, 9, 0, 0)]);
            self.lead(self.insns.len() - 1, start);
        } else {
            self.push([Insn::jmp_imm(JNE, 9, 0, 1), Insn::ja(1)]);
            let back = self.goto()?;
            self.lead(back, start);
        }
        if leaves {
            self.land(start);
        }
        self.in_loop = false;
        Ok(())
    }

    /// An exit, sometimes behind a condition. What follows the other kind is dead.
    fn early_exit(&mut self) -> Result<()> {
        let condition = self.condition()?;
        let jump = self.insns.len();
        let always = !self.style.for_kernel && self.u.ratio(1, 4)?;
        if !always {
            self.push([condition]);
        }
        if self.subprog.checked_sub(1).is_some_and(|at| self.callees[at].is_callback) {
            self.push([Insn::alu64_imm(AND, 0, 1)]);
        }
        self.push([Insn::exit()]);
        if !always {
            self.land(jump);
        }
        Ok(())
    }

    pub(super) fn helper(&mut self) -> Result<()> {
        if self.style.for_kernel {
            // What it gives depends on the world.
            self.push([Insn::call(GET_PRANDOM_U32)]);
            self.set(0)?;
        } else {
            let helper = *self.u.choose(&[KTIME_GET_NS, TRACE_PRINTK, GET_PRANDOM_U32])?;
            self.push([Insn::call(helper)]);
        }
        self.after_call()
    }
}
