//! Deletes what the verifier did not see, as `opt_remove_dead_code` of the Linux kernel does it.
//!
//! Every instruction whose [`Aux::seen`] is unset goes, with whole subprograms where all of it is. The kernel runs
//! it after [`hard_wire_dead_branches`](super::hard_wire_dead_branches), which leaves no jump into dead code, and
//! before [`remove_nops`](super::remove_nops).
//!
//! A callback may be taken that no verified path calls: then it is dead, and what takes its address is not.
//! The kernel lets that lead to the next subprogram, or refuses the program if it was the last one. Here it is
//! an error of the [`Editor`](crate::bpf::Editor), which is where subprograms are known.

use super::Error;
use crate::bpf::{Aux, Bpf};
use crate::core::List;

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Slots that went.
    pub slots: u32,
}

/// Deletes the dead instructions of the list.
///
/// O(instructions). Inserted code counts too: what [`patch`](super::kernel::patch) inserts is as dead as what it
/// edits, and other edits have to say in its facts that it was seen.
///
/// # Errors
///
/// [`Error::Edit`] if the list refuses.
pub fn run<T: Copy + Default>(list: &mut List<'_, Bpf, Aux<T>>) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut next = list.first();
    while let Some(here) = next {
        next = list.next(here);
        if list.aux(here).is_some_and(|aux| !aux.seen) {
            report.slots += list.insn(here).map_or(0, |insn| if insn[0].is_wide() { 2 } else { 1 });
            list.delete(here)?;
        }
    }
    Ok(report)
}
