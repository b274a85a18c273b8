//! What the passes that do as the kernel does share: its versions, and how it patches an instruction.

use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{Error, Fact, Handle, Inserted, List, Patch};

/// A version of the Linux kernel, whose rewriting a pass repeats.
///
/// Others rewrite as the latest of these that is not later than they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[non_exhaustive]
pub enum Kernel {
    /// 6.1.
    V6_1,
    /// 6.12.
    V6_12,
    /// 6.18.
    #[default]
    V6_18,
}

/// Puts `patch` in the place of an instruction, with the facts that the kernel would give to it.
///
/// The facts of the instruction go to the last one of the patch. The others are as `seen` as it was. For
/// all of them, `zext_dst` says whether they define the low half of a register, which is all that the kernel
/// asks about patched code (`adjust_insn_aux_data`). What the patch says about facts does not count.
///
/// O(units of the patch), amortized.
///
/// # Errors
///
/// As [`List::replace`].
pub fn patch<T: Copy + Default>(
    list: &mut List<'_, Bpf, Aux<T>>,
    at: Handle,
    patch: Patch<'_, Insn>,
) -> Result<Inserted, Error> {
    let after = list.next(at);
    let old = list.aux(at).copied().unwrap_or_default();
    let inserted = list.replace(at, patch)?;
    settle(list, inserted.first(), after, old);
    Ok(inserted)
}

/// Puts `patch` before the first instruction of a subprogram, with the facts that the kernel would give to it
/// as a [`patch`] that ends with that instruction.
///
/// Calls run it. A jump to the instruction does not, since 6.12 (`adjust_jmp_off`); before, it did.
///
/// A prologue that was there before is behind this one if `first` names its first instruction, and in front of it
/// if `first` names the same instruction as then.
///
/// O(units of the patch), amortized.
///
/// # Errors
///
/// As [`List::prepend`].
pub fn prologue<T: Copy + Default>(
    list: &mut List<'_, Bpf, Aux<T>>,
    first: Handle,
    patch: Patch<'_, Insn>,
    version: Kernel,
) -> Result<Inserted, Error> {
    let patch = patch.fact(Fact::Keep);
    let inserted = if version >= Kernel::V6_12 {
        list.prepend_fallthrough(first, patch)?
    } else {
        list.prepend(first, patch)?
    };
    // Handles ascend as they are given, so what is not new has a lower one.
    let fresh = inserted.first();
    let is_old = |handle: &Handle| *handle < fresh;
    let old = core::iter::successors(Some(fresh), |&here| list.next(here)).find(is_old).unwrap_or(first);
    let facts = list.aux(old).copied().unwrap_or_default();
    let after = list.next(old);
    settle(list, fresh, after, facts);
    Ok(inserted)
}

/// Gives the instructions from `here` up to `after` the facts of a patch whose last one had those of `old`.
fn settle<T: Copy + Default>(
    list: &mut List<'_, Bpf, Aux<T>>,
    mut here: Handle,
    after: Option<Handle>,
    old: Aux<T>,
) {
    loop {
        let next = list.next(here);
        let zext_dst = list.insn(here).is_some_and(|insn| insn[0].defined_half().is_some());
        let user = if next == after { old.user } else { T::default() };
        if let Some(aux) = list.aux_mut(here) {
            *aux = Aux { seen: old.seen, zext_dst, user };
        }
        match next {
            Some(next) if Some(next) != after => here = next,
            _ => return,
        }
    }
}

/// The live instruction that a jump to `target` lands on.
pub(super) fn landing<T>(list: &List<'_, Bpf, Aux<T>>, target: Handle) -> Option<Handle> {
    if list.is_live(target) { Some(target) } else { list.next(target) }
}
