//! `edit_log`: edits are appended to a log, which is sorted and merged with the program at the end,
//! as register allocators do. It has no handles: a second pass works on the merged result of the first.

#![expect(clippy::cast_possible_truncation, reason = "programs fit in 32 bits, patches in 16")]

use relinear::bpf::Insn;

use super::{Output, Peer};
use crate::branch;
use crate::tables::{move_lines, move_starts};
use crate::work::{Edit, Kind, Pass, Work};

/// One edit: `removed` units at `pos` make way for `len` units of the pool.
#[derive(Clone, Copy)]
struct Entry {
    pos: u32,
    removed: u16,
    len: u16,
    start: u32,
    /// The unit of the patch that branches where the replaced instruction did, or `NONE`.
    keep: u16,
}

const NONE: u16 = u16::MAX;

#[derive(Default)]
pub(super) struct EditLog {
    log: Vec<Entry>,
    pool: Vec<Insn>,
    /// Where each position went.
    new: Vec<u32>,
    /// Branches of the merged program, and the position in the program before that they lead to.
    branches: Vec<(u32, u32)>,
    /// The program between two passes.
    between: Output,
    output: Output,
}

impl Peer for EditLog {
    fn run(&mut self, work: &Work) {
        for (number, pass) in work.passes.iter().enumerate() {
            if number == 0 {
                self.pass(work, pass, &work.program);
                self.output.move_tables(work, |old| self.new[old as usize]);
            } else {
                core::mem::swap(&mut self.between, &mut self.output);
                let before = core::mem::take(&mut self.between);
                self.pass(work, pass, &before.units);
                move_lines(&before.lines, &mut self.output.lines, |old| self.new[old as usize]);
                move_starts(&before.subprogs, &mut self.output.subprogs, |old| self.new[old as usize]);
                self.between = before;
            }
        }
    }

    fn output(&self) -> &Output {
        &self.output
    }
}

impl EditLog {
    fn pass(&mut self, work: &Work, pass: &Pass, program: &[Insn]) {
        self.log.clear();
        self.pool.clear();
        for edit in &pass.edits {
            self.note(work, edit);
        }
        if !work.ordered {
            // No two have the same position.
            self.log.sort_unstable_by_key(|entry| entry.pos);
        }
        self.merge(program);
        for &(at, to) in &self.branches {
            branch::aim(&mut self.output.units[at as usize], at, self.new[to as usize]);
        }
    }

    #[inline]
    fn note(&mut self, work: &Work, edit: &Edit) {
        let start = position(&self.pool);
        let mut entry = Entry { pos: edit.pos, removed: edit.len, len: 0, start, keep: NONE };
        if edit.kind != Kind::Delete {
            let patch = work.patch(edit);
            self.pool.extend_from_slice(&patch.units);
            entry.len = patch.units.len() as u16;
            entry.keep = patch.keep.map_or(NONE, u16::from);
            if edit.kind == Kind::Prepend {
                entry.removed = 0;
            }
        }
        self.log.push(entry);
    }

    fn merge(&mut self, program: &[Insn]) {
        let Self { log, pool, new, branches, output, .. } = self;
        let units = &mut output.units;
        units.clear();
        units.reserve(program.len() + pool.len());
        new.clear();
        new.reserve(program.len() + 1);
        branches.clear();
        let mut at = 0;
        for entry in &*log {
            if at < entry.pos {
                copy(program, at..entry.pos, units, new, branches);
            }
            let here = position(units);
            units.extend_from_slice(&pool[entry.start as usize..][..usize::from(entry.len)]);
            if entry.keep != NONE {
                let replaced = program[entry.pos as usize];
                let from = here + u32::from(entry.keep);
                branches.push((from, branch::target(entry.pos, &replaced)));
            }
            if entry.removed == 0 {
                // The instruction itself: a branch to it runs what is before it.
                copy(program, entry.pos..entry.pos + 1, units, new, branches);
                new[entry.pos as usize] = here;
                at = entry.pos + 1;
            } else {
                at = entry.pos + u32::from(entry.removed);
                new.resize(at as usize, here);
            }
        }
        copy(program, at..program.len() as u32, units, new, branches);
        new.push(position(units));
    }
}

fn position(units: &[Insn]) -> u32 {
    units.len() as u32
}

/// Copies a run that no edit touches.
#[inline]
fn copy(
    program: &[Insn],
    range: core::ops::Range<u32>,
    units: &mut Vec<Insn>,
    new: &mut Vec<u32>,
    branches: &mut Vec<(u32, u32)>,
) {
    let here = position(units);
    let run = &program[range.start as usize..range.end as usize];
    units.extend_from_slice(run);
    new.extend(here..here + (range.end - range.start));
    for (insn, offset) in run.iter().zip(0..) {
        if branch::is_branch(insn) {
            branches.push((here + offset, branch::target(range.start + offset, insn)));
        }
    }
}
