//! [`template`]: code with names that somebody else gives a meaning.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::cursor::in_braces;
use super::error::{AsmError, AsmReason, Fault};
use super::lex::Tok;
use super::{Use, assemble};
use crate::bpf::Insn;
use crate::bpf::opcode::LD_IMM64;

/// The register that stands for the first name in braces; the others follow.
pub const FIRST_SCRATCH: u8 = 11;

/// How many names in braces there may be: registers have four bits.
const MOST: usize = 5;

/// Code with names that somebody else gives a meaning: see [`template`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Template {
    /// The slots. Register [`FIRST_SCRATCH`] + i is what is to be chosen for the name `scratch[i]`.
    pub insns: Vec<Insn>,
    /// The names in braces, in the order in which they first stand there.
    pub scratch: Vec<String>,
    /// What instructions name beyond labels of the text.
    pub names: Vec<NameUse>,
}

/// A name that is no label of the text, and the instruction that refers to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameUse {
    /// The slot of the instruction: a jump, a call, or an `ld_imm64` whose first immediate is added to the address.
    pub slot: usize,
    /// The name.
    pub name: String,
    /// The line it is on, from 1.
    pub line: usize,
    /// The first character of it, from 1.
    pub column: usize,
}

impl NameUse {
    fn new(label: &Use<'_>) -> Self {
        let AsmError { line, column, .. } = label.fault(AsmReason::Undefined(String::new()));
        Self { slot: label.insn, name: label.name.to_string(), line, column }
    }
}

impl Template {
    /// The slots, with registers for the names in braces.
    ///
    /// O(slots).
    ///
    /// # Panics
    ///
    /// If there are fewer registers than names.
    #[must_use]
    pub fn with_registers(&self, registers: &[u8]) -> Vec<Insn> {
        assert!(registers.len() >= self.scratch.len(), "a register for each name");
        let given = |reg: u8| reg.checked_sub(FIRST_SCRATCH).map_or(reg, |name| registers[usize::from(name)]);
        let with = |insn: &Insn| {
            let insn = insn.with_dst(given(insn.dst()));
            // The source of these is a kind.
            if insn.is_call() || insn.code == LD_IMM64 { insn } else { insn.with_src(given(insn.src())) }
        };
        self.insns.iter().map(with).collect()
    }
}

/// Assembles code that is yet to get a place.
///
/// Beyond the syntax of [`parse`](super::parse):
///
/// - `{a}`, and any name in braces, is a register to be chosen later, and `w{a}` its low half; up to 5 names.
///   The registers `r11` and `r12` have no name here.
/// - `r1 = &name ll` and `r1 = &name + 8 ll` load the address of a symbol, and so many bytes more.
/// - `call name`, `goto name` and what else takes a label may have a name that is none of the text.
///
/// ```
/// use relinear::bpf::{Insn, asm};
///
/// let template = asm::template("
///     {a} = &hits + 8 ll
///     if {a} == 0 goto next
///     call bpf_ktime_get_ns
/// ")?;
/// assert_eq!(template.scratch, ["a"]);
/// assert_eq!(template.names.iter().map(|name| &name.name[..]).collect::<Vec<_>>(), ["hits", "next", "bpf_ktime_get_ns"]);
/// assert_eq!(template.with_registers(&[3])[..2], Insn::ld_imm64(3, 8));
/// # Ok::<(), asm::AsmError>(())
/// ```
///
/// # Errors
///
/// As [`parse`](super::parse), but for names that are not defined.
pub fn template(text: &str) -> Result<Template, AsmError> {
    let assembled = assemble(text, MOST)?;
    Ok(Template {
        names: assembled.names.iter().map(NameUse::new).collect(),
        scratch: assembled.scratch.iter().map(ToString::to_string).collect(),
        insns: assembled.insns,
    })
}

/// Adds the names in braces of a line to `scratch`, which may have `most`.
pub(super) fn collect<'a>(
    tokens: &[(Tok<'a>, usize)],
    scratch: &mut Vec<&'a str>,
    most: usize,
) -> Result<(), Fault> {
    for &(token, at) in tokens {
        let Tok::Word(word) = token else { continue };
        if most > 0 && matches!(word, "r11" | "r12" | "w11" | "w12") {
            return Err(Fault::expected(at, "a register: r0 to r10, or a name in braces"));
        }
        let Some((name, _)) = in_braces(word).filter(|(name, _)| !scratch.contains(name)) else { continue };
        if most == 0 {
            return Err(Fault::expected(at, "a register, which has no braces"));
        }
        if scratch.len() == most {
            return Err(Fault::expected(at, "one of the 5 names in braces before it"));
        }
        scratch.push(name);
    }
    Ok(())
}
