//! Dead code: deletes what control does not reach, and folds branches on constants.
//!
//! 1. From each root, control is followed with the constants that registers hold on every way into a
//!    block; a conditional jump on constants goes one way. A subprogram is followed once code that
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

use alloc::vec;
use alloc::vec::Vec;
use core::ops::AddAssign;

use super::Error;
use super::constants::{Search, Ways};
use crate::bpf::{Bpf, Cfg, Insn, Program};
use crate::core::{Branch, Handle, List, Patch, Target};

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
/// O(slots): a block is gone through at most eleven times to find constants, and once to delete.
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
    let mut search = Search::new(program, &cfg);
    let unreferenced_subprogs = follow(program, &cfg, &mut search, options)?;
    let mut report = Report { unreferenced_subprogs, ..Report::default() };
    let plan = plan(program, &cfg, search.ways(), &mut report);
    for (block, fate) in cfg.blocks().iter().zip(plan) {
        let tail = Handle::new(block.last(program));
        match fate {
            Fate::Whole => {}
            Fate::Goto(target) => {
                let branch = [Branch::new(0, Target::Original(target))];
                list.replace(tail, Patch::new(&[Insn::ja(0)]).branches(&branch))?;
            }
            Fate::WithoutLast => list.delete(tail)?,
            Fate::Gone => {
                for at in block.insns(program) {
                    list.delete(Handle::new(at))?;
                }
            }
        }
    }
    Ok(report)
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

/// Follows control through all that is referred to. How many subprograms nothing refers to.
fn follow<T>(
    program: &Program<T>,
    cfg: &Cfg,
    search: &mut Search<'_, T>,
    options: &Options,
) -> Result<u32, Error> {
    let subprogs = cfg.subprogs();
    let mut work = match &options.roots {
        Some(roots) => roots.clone(),
        None => (0..subprogs).collect(),
    };
    let unknown = work.iter().copied().find(|&root| root >= subprogs);
    if work.is_empty() || unknown.is_some() {
        return Err(Error::BadRoot { root: unknown, subprogs });
    }
    let mut unreferenced = subprogs;
    let mut followed = vec![false; subprogs as usize];
    while let Some(subprog) = work.pop() {
        if core::mem::replace(&mut followed[subprog as usize], true) {
            continue;
        }
        unreferenced -= 1;
        search.run(subprog);
        for number in cfg.blocks_of(subprog) {
            if search.ways()[number as usize].reached {
                let block = &cfg.blocks()[number as usize];
                work.extend(block.insns(program).filter_map(|at| cfg.referenced(program, at)));
            }
        }
    }
    Ok(unreferenced)
}

/// What becomes of a block.
#[derive(Clone, Copy)]
enum Fate {
    /// It stays.
    Whole,
    /// Its last instruction becomes a `goto` to this slot.
    Goto(u32),
    /// Its last instruction goes.
    WithoutLast,
    /// It goes.
    Gone,
}

/// Decides what becomes of each block, from the last to the first: whether a jump leads to the next
/// instruction depends on later code only, as one that leads backwards never does.
fn plan<T>(program: &Program<T>, cfg: &Cfg, ways: &[Ways], report: &mut Report) -> Vec<Fate> {
    let blocks = cfg.blocks();
    let mut plan = vec![Fate::Whole; blocks.len()];
    // For each block the first slot from its start on that stays.
    let mut next_kept = vec![u32::MAX; blocks.len() + 1];
    for (number, block) in blocks.iter().enumerate().rev() {
        let last = block.last(program);
        let insn = program.insns[last as usize];
        let leads_on =
            |target: u32| target as usize > number && next_kept[target as usize] == next_kept[number + 1];
        let folds = insn.is_cond() && ways[number].taken != ways[number].falls;
        let fate = match block.taken {
            _ if !ways[number].reached => {
                report.unreached_slots += block.end - block.start;
                Fate::Gone
            }
            _ if folds && ways[number].falls => {
                report.never_taken += 1;
                Fate::WithoutLast
            }
            Some(target) if insn.is_goto() || folds => {
                report.always_taken += u32::from(folds);
                if leads_on(target) {
                    report.gotos += 1;
                    Fate::WithoutLast
                } else if folds {
                    Fate::Goto(blocks[target as usize].start)
                } else {
                    Fate::Whole
                }
            }
            _ => Fate::Whole,
        };
        let kept = match fate {
            Fate::Whole | Fate::Goto(_) => true,
            Fate::WithoutLast => block.start < last,
            Fate::Gone => false,
        };
        next_kept[number] = if kept { block.start } else { next_kept[number + 1] };
        plan[number] = fate;
    }
    plan
}

/// Checks that a list holds the program and nothing else.
fn check_untouched<T, A: Copy + Default>(program: &Program<T>, list: &List<'_, Bpf, A>) -> Result<(), Error> {
    let mut at = 0;
    for handle in list.iter() {
        let insn = list.insn(handle).unwrap_or_default();
        if handle.index() as usize != at
            || !program.insns.get(at..).is_some_and(|rest| rest.starts_with(insn))
        {
            return Err(Error::Edited { at });
        }
        at += insn.len();
    }
    if at == program.insns.len() { Ok(()) } else { Err(Error::Edited { at }) }
}
