//! Text to instructions: the inverse of [`dis`](super::dis), with labels.
//!
//! One instruction a line, in the syntax that [`dis`](super::dis) describes. Beyond what that prints:
//!
//! - `//` starts a comment, and so does `;` at the start of a line, where `llvm-objdump -S` has lines of the source.
//!   Empty lines are skipped.
//! - `;` after an instruction ends it, and another one may follow on the same line: `r0 = 1; exit`.
//! - `name:` at the start of a line is a label, and stands for the next instruction. `goto name`,
//!   `if … goto name`, `gotol name`, `may_goto name`, `call name` and `r1 = subprog[name] ll` refer to it.
//!   A name is of letters, digits, `_`, `.` and `$`, begins with no digit, and is not that of a register.
//! - Numbers are decimal or, after `0x`, hexadecimal. Without a label, a jump has a displacement in
//!   slots from the next slot, which always begins with `+` or `-`.
//! - A load or store of less than 64 bits also takes `r` registers: `r0 = *(u8 *)(r1 + 0)`.
//!
//! ```
//! use relinear::bpf::{Insn, asm, opcode};
//!
//! let insns = asm::parse("
//!     r0 = 10
//! again:
//!     r0 -= 1
//!     if r0 != 0 goto again  // nine times
//!     exit
//! ")?;
//! assert_eq!(insns[2], Insn::jmp_imm(opcode::JNE, 0, 0, -2));
//! # Ok::<(), asm::AsmError>(())
//! ```

mod assign;
mod cursor;
mod error;
mod grammar;
mod lex;
mod memory;
mod template;

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;

pub use error::{AsmError, AsmReason};
pub use template::{FIRST_SCRATCH, NameUse, Template, template};

use super::{Bpf, Insn};
use crate::core::Isa;
use cursor::Cursor;
use error::Fault;
use lex::{SEPARATOR, Tok};

/// The slots of the program that `text` spells. O(text log labels).
///
/// Only a line with `.insn` can give a slot that [`check_insn`](super::check_insn) refuses. A label after the last
/// instruction stands for the end of the program.
///
/// # Errors
///
/// If a line is not of the syntax, a number does not fit its field, a label is missing or is defined twice, or
/// the displacement to one does not fit the instruction.
pub fn parse(text: &str) -> Result<Vec<Insn>, AsmError> {
    let Assembled { insns, names, .. } = assemble(text, 0)?;
    match names.first() {
        Some(name) => Err(name.fault(AsmReason::Undefined(name.name.to_string()))),
        None => Ok(insns),
    }
}

/// What a text spells.
struct Assembled<'a> {
    insns: Vec<Insn>,
    /// The names in braces, in the order in which they first stand there.
    scratch: Vec<&'a str>,
    /// Names that are no labels of the text.
    names: Vec<Use<'a>>,
}

/// Reads a text with up to `most` names in braces. O(text log labels).
fn assemble(text: &str, most: usize) -> Result<Assembled<'_>, AsmError> {
    let mut insns = Vec::new();
    let mut scratch = Vec::new();
    let mut labels = BTreeMap::new();
    let mut uses = Vec::new();
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = |fault: Fault| fault.on(number, line);
        lex::line(line, &mut tokens).map_err(place)?;
        template::collect(&tokens, &mut scratch, most).map_err(place)?;
        let mut cursor = Cursor::new(&tokens, &scratch);
        loop {
            while let Some((name, at)) = grammar::label(&mut cursor).map_err(place)? {
                if labels.insert(name, insns.len()).is_some() {
                    return Err(place(Fault { at, reason: AsmReason::Redefined(name.to_string()) }));
                }
            }
            let at = insns.len();
            if !grammar::at_end(&cursor)
                && let Some((name, column)) = grammar::insn(&mut cursor, &mut insns).map_err(place)?
            {
                uses.push(Use { insn: at, name, number, line, column });
            }
            if !cursor.eat(Tok::Op(SEPARATOR)) {
                break;
            }
        }
    }
    let mut names = Vec::new();
    for label in uses {
        // An address has no displacement that a label could give.
        match labels.get(label.name).filter(|_| Bpf.fields(&insns[label.insn..]) != 0) {
            Some(&to) => resolve(&label, to, &mut insns).map_err(|reason| label.fault(reason))?,
            None => names.push(label),
        }
    }
    Ok(Assembled { insns, scratch, names })
}

/// An instruction whose displacement is that to a label, and where in the text it says so.
struct Use<'a> {
    insn: usize,
    name: &'a str,
    number: usize,
    line: &'a str,
    column: usize,
}

impl Use<'_> {
    fn fault(&self, reason: AsmReason) -> AsmError {
        Fault { at: self.column, reason }.on(self.number, self.line)
    }
}

fn resolve(label: &Use<'_>, to: usize, insns: &mut [Insn]) -> Result<(), AsmReason> {
    let insn = &mut insns[label.insn..];
    let range = Bpf.range(insn, 0);
    let next = label.insn + 1;
    let distance = i64::try_from(to.abs_diff(next)).unwrap_or(i64::MAX);
    let displacement = if to < next { -distance } else { distance };
    if !range.contains(&displacement) {
        let (min, max) = (i128::from(*range.start()), i128::from(*range.end()));
        return Err(AsmReason::Range { value: displacement.into(), min, max });
    }
    Bpf.write(insn, 0, displacement);
    Ok(())
}
