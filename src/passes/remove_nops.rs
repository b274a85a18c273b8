//! Deletes jumps to the next instruction, as `opt_remove_nops` of the Linux kernel does it.
//!
//! It is one pass forward. A `goto +1` over a `goto +0` is looked at first and left, and when the other one is
//! deleted it has become a `goto +0` behind the cursor, which stays in the program. Since 6.18 `may_goto +0` goes
//! as well, and there the cursor steps back to see what is before it again.
//!
//! What else jumps nowhere stays: `gotol +0`, conditional jumps, and a jump to what was prepended to an instruction,
//! which the kernel never has at that time.

use alloc::vec::Vec;

use super::Error;
use super::kernel::{Kernel, landing};
use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{Handle, List};

/// What [`run`] is to know.
#[derive(Clone, Copy, Default, Debug)]
pub struct Options {
    /// The kernel to do as.
    pub version: Kernel,
}

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Each `goto +0` that went.
    pub gotos: u32,
    /// Each `may_goto +0` that went.
    pub may_gotos: u32,
}

/// Deletes the jumps of the list that lead to the next instruction.
///
/// O(instructions).
///
/// # Errors
///
/// [`Error::Edit`] if the list refuses.
pub fn run<T: Copy + Default>(list: &mut List<'_, Bpf, Aux<T>>, options: &Options) -> Result<Report, Error> {
    let mut report = Report::default();
    // The jumps right before the cursor, to which it may step back.
    let mut before: Vec<Handle> = Vec::new();
    let mut cursor = list.first();
    while let Some(here) = cursor {
        let next = list.next(here);
        cursor = next;
        let Some(jump) = plain_jump(list, here) else {
            before.clear();
            continue;
        };
        let leads_on =
            next.is_some() && list.target(here, 0).and_then(|target| landing(list, target)) == next;
        match jump {
            Jump::Goto if leads_on => {
                list.delete(here)?;
                report.gotos += 1;
            }
            Jump::MayGoto if leads_on && options.version >= Kernel::V6_18 => {
                list.delete(here)?;
                report.may_gotos += 1;
                cursor = before.pop().or(next);
            }
            _ => before.push(here),
        }
    }
    Ok(report)
}

#[derive(Clone, Copy)]
enum Jump {
    Goto,
    MayGoto,
}

/// The jump that an instruction is, with nothing in its other fields.
fn plain_jump<T: Copy + Default>(list: &List<'_, Bpf, Aux<T>>, at: Handle) -> Option<Jump> {
    let insn = list.insn(at)?[0].with_off(0);
    [(Insn::ja(0), Jump::Goto), (Insn::may_goto(0), Jump::MayGoto)]
        .into_iter()
        .find_map(|(plain, jump)| (insn == plain).then_some(jump))
}
