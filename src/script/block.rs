//! The code of a statement: what it names, and how it is made to fit a place.

use alloc::string::String;
use alloc::vec::Vec;

use super::parse::plain;
use super::{Code, ScriptReason};
use crate::bpf::opcode::{CALL_CODE, CALL_KFUNC, CALL_LOCAL, LD_NUMBER};
use crate::bpf::scratch::{Claim, Request};
use crate::bpf::{Bpf, Effects, Insn, RegSet, helper};
use crate::core::Isa;
use crate::elf::{ObjectEditor, Reference};

/// The label that stands for what follows the code.
const NEXT: &str = "next";

/// Code with a meaning for each name.
#[derive(Clone, Debug)]
pub(super) struct Block {
    code: Code,
    /// What the instruction at a slot refers to.
    references: Vec<(usize, Reference)>,
}

impl Block {
    /// Finds out what the code names. The error has the line of the script.
    pub(super) fn new(code: &Code, edit: &ObjectEditor<'_, '_>) -> Result<Self, (usize, ScriptReason)> {
        let mut block = Self { code: code.clone(), references: Vec::new() };
        for name in &code.template.names {
            let fail = |reason| (code.line + name.line, reason);
            let unknown = || fail(ScriptReason::NoName(name.name.clone()));
            let insns = &mut block.code.template.insns;
            let insn = insns[name.slot];
            if insn.is_call() {
                let wanted = plain(&name.name);
                insns[name.slot] = match (helper::number(wanted), edit.symbol(wanted)) {
                    (_, Some(symbol)) => {
                        block.references.push((name.slot, Reference::call(symbol)));
                        Insn::new(CALL_CODE, 0, CALL_KFUNC, 0, 0)
                    }
                    (Some(helper), None) => Insn::call(helper),
                    (None, None) => return Err(unknown()),
                };
            } else if insn.is_wide() {
                let symbol = edit.symbol(&name.name).ok_or_else(unknown)?;
                block.references.push((name.slot, Reference::address(symbol, insn.imm)));
                insns[name.slot] = insn.with_src(LD_NUMBER);
            } else if name.name == NEXT {
                let to = i64::try_from(insns.len() - name.slot - 1).unwrap_or(i64::MAX);
                let is_near = Bpf.range(&insns[name.slot..], 0).contains(&to);
                if !is_near {
                    return Err(fail(ScriptReason::Expected("gotol next, as the end is far")));
                }
                Bpf.write(&mut insns[name.slot..], 0, to);
            } else {
                return Err(fail(ScriptReason::NoName(name.name.clone())));
            }
        }
        block.check()?;
        Ok(block)
    }

    /// Checks that jumps stay within the code.
    fn check(&self) -> Result<(), (usize, ScriptReason)> {
        let insns = &self.code.template.insns;
        for (at, insn) in insns.iter().enumerate() {
            let is_call = insn.is_call() && insn.src() == CALL_LOCAL;
            if Bpf.fields(&insns[at..]) == 0 {
                continue;
            }
            let to = i64::try_from(at).unwrap_or(i64::MAX) + 1 + Bpf.read(&insns[at..], 0);
            let inside = usize::try_from(to).is_ok_and(|to| to <= insns.len());
            if is_call || !inside {
                let reason = ScriptReason::Expected(
                    "a label of the code, or next, for each jump, and a name for each call",
                );
                return Err((self.code.line + 1, reason));
            }
        }
        Ok(())
    }

    /// The slots with their effects; the second slot of an `ld_imm64` has none.
    fn effects(&self) -> impl Iterator<Item = (Insn, Effects)> + '_ {
        self.code.template.insns.iter().map(|insn| (*insn, Effects::of(*insn)))
    }

    /// The registers that the code names: those that it reads before it writes them, as they stand, and all.
    pub(super) fn named(&self) -> (RegSet, RegSet) {
        let (mut reads, mut all) = (RegSet::EMPTY, RegSet::EMPTY);
        for (insn, effects) in self.effects() {
            if !insn.is_call() && !insn.is_exit() {
                reads = reads.union(effects.reads.minus(all));
                all = all.union(effects.reads).union(effects.writes);
            }
        }
        (reads.intersection(RegSet::GENERAL), all.intersection(RegSet::GENERAL))
    }

    /// What the code needs to get a place.
    pub(super) fn request(&self) -> Request {
        let (_, named) = self.named();
        let calls = self.effects().any(|(insn, _)| insn.is_call());
        let result = if named.contains(0) { RegSet::EMPTY } else { RegSet::of(0) };
        let clobbers = if calls { RegSet::ARGS.union(result) } else { RegSet::EMPTY };
        let avoid = if calls { named.union(RegSet::of(0)) } else { named };
        Request { registers: self.code.template.scratch.len(), avoid, clobbers, ..Request::default() }
    }

    /// The slots to insert with the registers of a claim, and what instructions refer to, by their slots.
    pub(super) fn units(&self, claim: &Claim) -> (Vec<Insn>, Vec<(u32, Reference)>) {
        let code = self.code.template.with_registers(&claim.registers);
        let units = [&claim.before[..], &code, &claim.after].concat();
        let moved = |(slot, reference): &(usize, Reference)| {
            (u32::try_from(claim.before.len() + slot).unwrap_or(u32::MAX), reference.clone())
        };
        (units, self.references.iter().map(moved).collect())
    }

    /// The names in braces.
    pub(super) fn scratch(&self) -> &[String] {
        &self.code.template.scratch
    }
}
