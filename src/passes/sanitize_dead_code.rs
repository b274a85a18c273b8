//! Puts traps in the place of what the verifier did not see, as `sanitize_dead_code` of the Linux kernel does it for
//! programs that are loaded without privileges.
//!
//! A trap is a `goto -1`, a loop that never ends. Nothing moves: every slot stays one, every jump and table
//! as it was.

use super::Error;
use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{List, Patch};

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Slots that are traps now.
    pub slots: u32,
}

/// Puts traps in the place of the dead instructions of the list, those whose [`Aux::seen`] is unset.
///
/// O(instructions). Their `zext_dst` is unset, other facts stay.
///
/// # Errors
///
/// [`Error::Edit`] if the list is full or the allocator refuses.
pub fn run<T: Copy + Default>(list: &mut List<'_, Bpf, Aux<T>>) -> Result<Report, Error> {
    const TRAPS: [Insn; 2] = [Insn::ja(-1); 2];
    let mut report = Report::default();
    let mut next = list.first();
    while let Some(here) = next {
        next = list.next(here);
        let Some(aux) = list.aux_mut(here).filter(|aux| !aux.seen) else { continue };
        aux.zext_dst = false;
        let wide = list.insn(here).is_some_and(|insn| insn[0].is_wide());
        list.replace(here, Patch::new(if wide { &TRAPS } else { &TRAPS[..1] }))?;
        report.slots += 1 + u32::from(wide);
    }
    Ok(report)
}
