//! Conditional jumps that go one way become a `goto`, as `opt_hard_wire_dead_code_branches` of the Linux kernel
//! does it.
//!
//! Whether code is dead is for the verifier to say, in [`Aux::seen`]. A conditional jump, `may_goto` included, whose
//! next instruction is dead becomes a `goto` to where it leads; one that leads to dead code becomes a `goto`
//! to the next instruction. The kernel runs it for programs that may be loaded with privileges, before
//! [`remove_dead_code`](super::remove_dead_code).

use super::Error;
use super::kernel::landing;
use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{Branch, Handle, List, Patch, Target};

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Jumps that are always taken now.
    pub always_taken: u32,
    /// Jumps that lead to the next instruction now.
    pub never_taken: u32,
}

/// Hard-wires the conditional jumps of the list, dead ones included.
///
/// O(instructions). The facts of a jump stay with it.
///
/// # Errors
///
/// [`Error::Edit`] if the list is full or the allocator refuses.
pub fn run<T: Copy + Default>(list: &mut List<'_, Bpf, Aux<T>>) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut next = list.first();
    while let Some(here) = next {
        next = list.next(here);
        if !list.insn(here).is_some_and(|insn| insn[0].is_cond()) {
            continue;
        }
        let Some(target) = list.target(here, 0) else { continue };
        let dead =
            |handle: Option<Handle>| handle.and_then(|handle| list.aux(handle)).is_some_and(|aux| !aux.seen);
        if dead(next) {
            let branch = [Branch::new(0, Target::Handle(target))];
            list.replace(here, Patch::new(&[Insn::ja(0)]).branches(&branch))?;
            report.always_taken += 1;
        } else if dead(landing(list, target)) {
            list.replace(here, Patch::new(&[Insn::ja(0)]))?;
            report.never_taken += 1;
        }
    }
    Ok(report)
}
