//! `kernel_array`: patch one, adjust every branch and every table, repeat, as the kernel does in
//! `bpf_patch_insn_single` and `bpf_remove_insns`. Quadratic.

use relinear::bpf::Insn;

use super::{Output, Peer};
use crate::branch;
use crate::work::{Edit, Kind, Pass, Work};

#[derive(Default)]
pub(super) struct KernelArray {
    output: Output,
    /// Where each instruction is now, if edits come in no order.
    now: Vec<u32>,
    units: Vec<Insn>,
}

impl Peer for KernelArray {
    fn run(&mut self, work: &Work) {
        let Output { units, lines, subprogs } = &mut self.output;
        units.clear();
        units.extend_from_slice(&work.program);
        lines.clear();
        lines.extend_from_slice(&work.lines);
        subprogs.clear();
        subprogs.extend_from_slice(&work.subprogs);
        self.now.clear();
        if !work.ordered {
            self.now.extend(0..u32::try_from(units.len()).expect("a program fits in 32 bits"));
        }
        for pass in &work.passes {
            self.pass(work, pass);
        }
    }

    fn output(&self) -> &Output {
        &self.output
    }
}

impl KernelArray {
    fn pass(&mut self, work: &Work, pass: &Pass) {
        let before = self.output.units.len();
        for edit in &pass.edits {
            let pos = if work.ordered {
                // Edits so far were all above this one, so it has moved by what they added.
                edit.pos as usize + self.output.units.len() - before
            } else {
                self.now[edit.pos as usize] as usize
            };
            self.make(work, edit, pos);
        }
    }

    fn make(&mut self, work: &Work, edit: &Edit, pos: usize) {
        let at = u32::try_from(pos).expect("a program fits in 32 bits");
        let own = self.output.units[pos];
        let mut units = core::mem::take(&mut self.units);
        units.clear();
        let (len, keep) = match edit.kind {
            Kind::Delete => (u32::from(edit.len), None),
            Kind::Replace => {
                let patch = work.patch(edit);
                units.extend_from_slice(&patch.units);
                (u32::from(edit.len), patch.keep.map(u32::from))
            }
            Kind::Prepend => {
                units.extend_from_slice(&work.patch(edit).units);
                units.push(own);
                let last = u32::try_from(units.len() - 1).expect("a patch is short");
                (1, branch::is_branch(&own).then_some(last))
            }
        };
        if let Some(keep) = keep {
            // Nothing adjusts the branches of the patch, so it has to know how far all will move.
            let to = branch::target(at, &own);
            let grown = u32::try_from(units.len()).expect("a patch is short") - len;
            let to = if to > at { to + grown } else { to };
            branch::aim(&mut units[keep as usize], at + keep, to);
        }
        self.patch(at, len, &units);
        self.units = units;
    }

    /// Puts `patch` in the place of the `len` units at `at`.
    fn patch(&mut self, at: u32, len: u32, patch: &[Insn]) {
        let new_len = u32::try_from(patch.len()).expect("a patch is short");
        let range = at as usize..(at + len) as usize;
        if new_len == len {
            self.output.units[range].copy_from_slice(patch);
            return;
        }
        self.output.units.splice(range, patch.iter().copied());
        // Where what was at `old` before is now; what was inside is where the patch is.
        let moved = |old: u32| match old {
            _ if old <= at => old,
            _ if old < at + len => at,
            _ => old - len + new_len,
        };
        let after = at + new_len;
        for (insn, now) in self.output.units.iter_mut().zip(0..) {
            if branch::is_branch(insn) && !(at..after).contains(&now) {
                let old = if now < at { now } else { now - new_len + len };
                let target = branch::target(old, insn);
                let to = moved(target);
                if to.wrapping_sub(target) != now - old {
                    branch::aim(insn, now, to);
                }
            }
        }
        for now in &mut self.now {
            *now = moved(*now);
        }
        self.move_tables(at, len, new_len);
    }

    fn move_tables(&mut self, at: u32, len: u32, new_len: u32) {
        let (hole, grown) = (at..at + len, new_len.wrapping_sub(len));
        let Output { lines, subprogs, .. } = &mut self.output;
        let from = lines.partition_point(|line| line.off < hole.start);
        let to = lines.partition_point(|line| line.off < hole.end);
        for line in &mut lines[to..] {
            line.off = line.off.wrapping_add(grown);
        }
        if from < to {
            // Of the records of what goes, the last one stays, unless what follows has its own.
            let own = new_len == 0 && lines.get(to).is_some_and(|line| line.off == at);
            lines[to - 1].off = at;
            lines.drain(from..if own { to } else { to - 1 });
        }
        let from = subprogs.partition_point(|&start| start < hole.start);
        let to = subprogs.partition_point(|&start| start < hole.end);
        for start in &mut subprogs[to..] {
            *start = start.wrapping_add(grown);
        }
        if from < to {
            let own = new_len == 0 && subprogs.get(to) == Some(&at);
            subprogs[to - 1] = at;
            subprogs.drain(from..if own { to } else { to - 1 });
        }
    }
}
