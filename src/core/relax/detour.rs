//! Detours: makes a [`Plan`] of trampolines true.

use alloc::vec::Vec;

use super::edges::{Edges, Reach};
use super::memory::{collect, extend, filled, push};
use super::plan::{Bounce, NoPlan, Plan};
use super::{Relax, Relaxed};
use crate::core::handle::to_u32;
use crate::core::{Branch, Error, Handle, Isa, List, Patch, Target};

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    /// Leads the branches that do not reach through trampolines, and those that would not reach because
    /// of these.
    pub(super) fn detour(
        &mut self,
        relax: &impl Relax<I>,
        edges: &Edges,
        done: &mut Relaxed,
    ) -> Result<(), Error> {
        let Some((trampoline, &(_, error))) = relax.trampoline().zip(edges.overlong.first()) else {
            return Ok(());
        };
        let bounce =
            Bounce { len: i64::from(to_u32(trampoline.len())), reach: Reach::of(&self.isa, trampoline, 0) };
        let insns = self.iter().map(|handle| (handle, self.insn(handle).map_or(0, <[_]>::len)));
        let plan = Plan::new(edges, bounce, insns).map_err(|fault| match fault {
            NoPlan::Unreached(target) => {
                let to_target = |&&(edge, _): &&(u32, Error)| edges.all[edge as usize].target == target;
                edges.overlong.iter().find(to_target).map_or(error, |&(_, error)| error)
            }
            NoPlan::Refused => Error::OutOfMemory,
        })?;
        let handles = self.insert_islands(trampoline, &plan, done)?;
        self.lead_to_trampolines(&plan, &handles, done)
    }

    /// Inserts the trampolines that are on the way of a branch, and returns their handles.
    fn insert_islands(
        &mut self,
        trampoline: &[I::Unit],
        plan: &Plan,
        done: &mut Relaxed,
    ) -> Result<Vec<Option<Handle>>, Error> {
        let mut handles: Vec<Option<Handle>> = filled(plan.trampolines.len(), None)?;
        let mut late = Vec::new();
        let (mut code, mut branches) = (Vec::new(), Vec::new());
        for island in &plan.islands {
            let used = || island.trampolines.clone().filter(|&at| plan.trampolines[at].is_used);
            if used().next().is_none() {
                continue;
            }
            code.clear();
            branches.clear();
            if island.is_made {
                push(&mut branches, Branch::new(0, Target::End))?;
                extend(&mut code, trampoline.iter().copied())?;
                done.islands += 1;
            }
            for at in used() {
                let next = plan.trampolines[at].next;
                // One that is ahead does not exist yet.
                let known = next.and_then(|next| handles[next as usize]);
                if known.is_none() {
                    extend(&mut late, next.map(|next| (at, next)))?;
                }
                let target = known.unwrap_or_else(|| plan.target(at));
                push(&mut branches, Branch::new(to_u32(code.len()), Target::Handle(target)))?;
                extend(&mut code, trampoline.iter().copied())?;
            }
            let inserted = self.append(island.after, Patch::new(&code).branches(&branches))?;
            for (at, unit) in used().zip((0..).step_by(trampoline.len()).skip(usize::from(island.is_made))) {
                handles[at] = Some(inserted.at(unit));
                done.trampolines += 1;
            }
        }
        for (at, next) in late {
            if let Some((at, next)) = handles[at].zip(handles[next as usize]) {
                self.lead(at, |_| Some(next))?;
            }
        }
        Ok(handles)
    }

    fn lead_to_trampolines(
        &mut self,
        plan: &Plan,
        handles: &[Option<Handle>],
        done: &mut Relaxed,
    ) -> Result<(), Error> {
        for departures in plan.departures.chunk_by(|one, next| one.branch == next.branch) {
            let way = |field| {
                let departure = departures.iter().find(|departure| departure.field == field)?;
                handles[departure.to as usize]
            };
            self.lead(departures[0].branch, way)?;
            done.detoured += 1;
        }
        Ok(())
    }

    /// Leads fields of a branch elsewhere.
    fn lead(&mut self, branch: Handle, way: impl Fn(u32) -> Option<Handle>) -> Result<(), Error> {
        let Some(insn) = self.insn(branch) else { return Ok(()) };
        let insn = collect(insn.iter().copied())?;
        let fields = 0..to_u32(self.isa.fields(&insn));
        let branches = collect(fields.filter_map(|field| {
            let target = way(field).or_else(|| self.target(branch, field))?;
            Some(Branch::new(0, Target::Handle(target)).field(field))
        }))?;
        self.replace(branch, Patch::new(&insn).branches(&branches)).map(drop)
    }
}
