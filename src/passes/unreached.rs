//! Deletes code that control does not reach, and hard-wires jumps that go one way, by an analysis of values.

use alloc::vec;
use alloc::vec::Vec;

use super::Error;
use super::dce::Report;
use crate::bpf::values::Values;
use crate::bpf::{Bpf, Cfg, Insn, Program};
use crate::core::{Branch, Handle, List, Patch, Target};

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

/// Deletes the code that control does not reach, and hard-wires the jumps that go one way.
pub(super) fn delete<T, A: Copy + Default>(
    program: &Program<T>,
    cfg: &Cfg,
    values: &Values<'_, T>,
    list: &mut List<'_, Bpf, A>,
) -> Result<Report, Error> {
    let gone = (0..cfg.subprogs()).filter(|&subprog| !values.is_entered(subprog));
    let unreferenced_subprogs = gone.fold(0, |count, _| count + 1);
    let mut report = Report { unreferenced_subprogs, ..Report::default() };
    let plan = plan(program, cfg, values, &mut report);
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

/// Decides what becomes of each block, from the last to the first: whether a jump leads to the next
/// instruction depends on later code only, as one that leads backwards never does.
fn plan<T>(program: &Program<T>, cfg: &Cfg, values: &Values<'_, T>, report: &mut Report) -> Vec<Fate> {
    let blocks = cfg.blocks();
    let mut plan = vec![Fate::Whole; blocks.len()];
    // For each block the first slot from its start on that stays.
    let mut next_kept = vec![u32::MAX; blocks.len() + 1];
    for (number, block) in blocks.iter().enumerate().rev() {
        let ways = values.ways(cfg.block_at(block.start));
        let last = block.last(program);
        let insn = program.insns[last as usize];
        let leads_on =
            |target: u32| target as usize > number && next_kept[target as usize] == next_kept[number + 1];
        let folds = insn.is_cond() && ways.taken != ways.falls;
        let fate = match block.taken {
            _ if !ways.reached => {
                report.unreached_slots += block.end - block.start;
                Fate::Gone
            }
            _ if folds && ways.falls => {
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
pub(super) fn check_untouched<T, A: Copy + Default>(
    program: &Program<T>,
    list: &List<'_, Bpf, A>,
) -> Result<(), Error> {
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
