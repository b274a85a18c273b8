//! Dead code: deletes what control does not reach, and folds branches on constants.
//!
//! 1. From each root, control is followed with what is known of [values](crate::bpf::values) on every way into a
//!    block; a conditional jump that they decide goes one way. A subprogram is followed once code that
//!    control reaches calls it or takes its address.
//! 2. Code that control does not reach is deleted, subprograms that nothing refers to included.
//! 3. A conditional jump that goes one way becomes a `goto`, or is deleted.
//! 4. A `goto` or `gotol` to the next instruction that is left is deleted.
//!
//! The result is a fixpoint: running the pass on its own result changes nothing. A subprogram keeps an
//! `exit` or `goto` as its last instruction, which the kernel wants (`check_subprogs`), and no loop
//! loses a way out that control could take.
//!
//! Left alone on purpose: a conditional jump to the next instruction (verifiers learn from it),
//! `may_goto`, and branches that a loader rewrites, or whose operands it does. A loop without an end
//! stays one.

use alloc::vec::Vec;
use core::ops::AddAssign;

use super::Error;
use super::unreached::{self, check_untouched};
use crate::bpf::values::{self, Facts, Values};
use crate::bpf::{Bpf, Cfg, Program};
#[cfg(feature = "elf")]
use crate::core::Handle;
use crate::core::List;

/// What [`run`] is to know.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The indexes of the subprograms that are entered, or referred to, from outside of the program.
    /// `None`: all of them are.
    pub roots: Option<Vec<u32>>,
}

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Slots that went because control does not reach them.
    pub unreached_slots: u32,
    /// Subprograms that went as a whole; their slots are counted above.
    pub unreferenced_subprogs: u32,
    /// Conditional jumps that became a `goto`, or went with the code they jumped over.
    pub always_taken: u32,
    /// Conditional jumps that went because they are never taken.
    pub never_taken: u32,
    /// Jumps to the next instruction that went, `goto`s made above included.
    pub gotos: u32,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        let Self { unreached_slots, unreferenced_subprogs, always_taken, never_taken, gotos } = other;
        self.unreached_slots += unreached_slots;
        self.unreferenced_subprogs += unreferenced_subprogs;
        self.always_taken += always_taken;
        self.never_taken += never_taken;
        self.gotos += gotos;
    }
}

/// Deletes dead code.
///
/// `list` must be over `program`, and no edit may have touched it: inserted code is not analysed.
///
/// O(slots) for most programs: the cost of [`Values`], and one sweep to delete.
///
/// # Errors
///
/// [`Error::Cfg`], [`Error::BadRoot`], [`Error::Edited`] for a list that was edited, or
/// [`Error::Edit`] if the allocator refuses.
pub fn run<T, A: Copy + Default>(
    program: &Program<T>,
    list: &mut List<'_, Bpf, A>,
    options: &Options,
) -> Result<Report, Error> {
    let cfg = Cfg::new(program)?;
    check_untouched(program, list)?;
    let facts = Facts::default();
    let options = values::Options { roots: options.roots.as_deref(), ..values::Options::default() };
    let values = Values::new(program, &cfg, &facts, &options)?;
    unreached::delete(program, &cfg, &values, list)
}

/// Deletes a program that nothing refers to.
///
/// O(slots).
///
/// # Errors
///
/// [`Error::Edit`] if the allocator refuses.
#[cfg(feature = "elf")]
pub(crate) fn delete_all<T, A: Copy + Default>(
    program: &Program<T>,
    list: &mut List<'_, Bpf, A>,
) -> Result<Report, Error> {
    let handles: Vec<Handle> = list.iter().collect();
    for handle in handles {
        list.delete(handle)?;
    }
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    Ok(Report {
        unreached_slots: count(program.insns.len()),
        unreferenced_subprogs: count(program.subprogs.len()),
        ..Report::default()
    })
}
