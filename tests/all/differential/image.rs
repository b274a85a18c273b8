//! A program as bytes and records: what goes into the kernel, and what comes out of it and of us.

use std::fmt::{self, Display, Formatter};

use relinear::Isa;
use relinear::bpf::dis::dis;
use relinear::bpf::opcode::{AX, CALL_HELPER, CALL_KFUNC, CALL_LOCAL, LD_FUNC, LD_MAP_FD, LSH, MOV, XOR};
use relinear::bpf::{Bpf, FuncInfo, Insn, LineInfo, Program};

use crate::random::slot;

/// Instructions, with the tables that the kernel shows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Image {
    pub(crate) insns: Vec<Insn>,
    pub(crate) lines: Vec<LineInfo>,
    pub(crate) funcs: Vec<FuncInfo>,
}

impl From<Program> for Image {
    fn from(program: Program) -> Self {
        Self { insns: program.insns, lines: program.line_info, funcs: program.func_info }
    }
}

impl Image {
    /// What a dump of a program shows that was loaded as this one: functions have numbers, the map
    /// its own (`bpf_insn_prepare_dump`, `jit_subprogs`).
    pub(crate) fn dumped(mut self, map_id: i32) -> Self {
        for at in 0..self.insns.len() {
            let insn = self.insns[at];
            if insn.is_call() && insn.src() == CALL_LOCAL {
                let (off, function) = (low_half(insn.imm), self.function_behind(at));
                self.insns[at] = insn.with_off(off).with_imm(function);
            } else if insn.is_wide() && insn.src() == LD_FUNC {
                self.insns[at + 1].imm = self.function_behind(at);
            } else if insn.is_wide() && insn.src() == LD_MAP_FD {
                self.insns[at].imm = map_id;
            }
        }
        self
    }

    /// The number of the function that an instruction refers to.
    fn function_behind(&self, at: usize) -> i32 {
        let start = i64::from(slot(at)) + 1 + Bpf.read(&self.insns[at..], 0);
        let number = self.funcs.iter().position(|func| i64::from(func.insn_off) == start);
        number.and_then(|number| i32::try_from(number).ok()).unwrap_or(-1)
    }

    /// The same without what no one can foresee: addresses of helpers and kernel functions, and random numbers.
    pub(crate) fn masked(mut self) -> Self {
        for at in 0..self.insns.len() {
            let insn = self.insns[at];
            let loads_ax =
                |insn: Insn| insn.is_alu() && insn.op() == MOV && insn.dst() == AX && !insn.is_reg();
            if insn.is_call() && matches!(insn.src(), CALL_HELPER | CALL_KFUNC) {
                self.insns[at].imm = 0;
            } else if at > 0 && loads_ax(self.insns[at - 1]) && !insn.is_reg() && insn.dst() == AX {
                // The halves of a constant: only what they join to is known.
                if insn.is_alu() && insn.op() == XOR {
                    self.insns[at - 1].imm ^= insn.imm;
                    self.insns[at].imm = 0;
                }
                // Noise for the upper half of a register.
                if insn.is_alu() && insn.op() == LSH && insn.imm == 32 {
                    self.insns[at - 1].imm = 0;
                }
            }
        }
        self
    }
}

/// The kernel keeps the displacement of a call in 16 bits, whatever it was.
fn low_half(imm: i32) -> i16 {
    let [b0, b1, ..] = imm.to_le_bytes();
    i16::from_le_bytes([b0, b1])
}

/// A line a slot: position, bytes, text, and the records that stand there.
impl Display for Image {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut texts = vec![String::new(); self.insns.len()];
        let mut at = 0;
        while at < self.insns.len() {
            let text = dis(&self.insns[at..]);
            texts[at] = text.to_string();
            at += text.slots();
        }
        for (at, (insn, text)) in self.insns.iter().zip(texts).enumerate() {
            let Insn { code, off, imm, .. } = *insn;
            let regs = format_args!("{} {}", insn.dst(), insn.src()).to_string();
            write!(f, "{at:5}  {code:02x} {regs:5} {off:6} {imm:#010x}  {text:40}")?;
            for func in self.funcs.iter().filter(|func| func.insn_off as usize == at) {
                write!(f, " function of type {}", func.type_id)?;
            }
            for line in self.lines.iter().filter(|line| line.insn_off as usize == at) {
                write!(f, " line {}:{}:{}", line.file_name_off, line.line_off, line.line_col >> 10)?;
            }
            writeln!(f)?;
        }
        let beyond = |insn: u32| insn as usize >= self.insns.len();
        let lines = self.lines.iter().filter(|line| beyond(line.insn_off)).count();
        let funcs = self.funcs.iter().filter(|func| beyond(func.insn_off)).count();
        if lines + funcs > 0 {
            writeln!(f, "beyond the end: {lines} lines, {funcs} functions")
        } else {
            Ok(())
        }
    }
}
