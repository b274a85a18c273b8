//! Every other edit: patches of any length, with branches, labels and facts.

use super::handle::to_u32;
use super::list::{MAX_LABELS, RUNS_OF_EDIT, Window};
use super::site::{Chain, MAX_RUNS, Run, RunId};
use super::words::WORD;
use super::{Error, Fact, Handle, Inserted, Isa, List, Marks, Patch, Target};

/// The first growth makes room for this many runs.
const LEAST_RUNS: usize = 16;

/// The units, dead from birth, that branches of a patch asked for to lead to.
#[derive(Clone, Copy, Default)]
struct Labels {
    /// What follows the patch: the last unit of its run.
    end: bool,
    /// The first instruction, without what was prepended to the replaced one before: a run of its own.
    own_start: bool,
}

/// A patch whose units are in the inserted column, but hang nowhere yet.
#[derive(Clone, Copy)]
struct Placed {
    start: u32,
    len: u32,
    replaced: Option<Handle>,
}

impl Placed {
    /// The unit of its label for what follows, if it has one.
    const fn end_label(self) -> Handle {
        Handle::new(self.start + self.len)
    }

    /// The unit of its label for its first instruction, if it has one.
    const fn own_start_label(self) -> Handle {
        Handle::new(self.start + self.len + 1)
    }
}

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    pub(super) fn insert_any(
        &mut self,
        handle: Handle,
        patch: &Patch<'_, I::Unit>,
        chain: Chain,
    ) -> Result<Inserted, Error> {
        self.window = Window::CLOSED;
        let takes_end = matches!(chain, Chain::Fall | Chain::Pre);
        if !(takes_end && handle == self.end()) {
            self.check_live(handle)?;
        }
        self.reserve(handle, patch.units.len())?;
        let replaced = (chain == Chain::Body).then_some(handle);
        let placed = Placed { start: self.fresh(), len: to_u32(patch.units.len()), replaced };
        let plain = self.copy_in(patch.units)?;
        let mut labels = Labels::default();
        if !plain || !patch.branches.is_empty() || patch.fact != Fact::Keep {
            labels = self.finish(placed, patch)?;
        }
        if replaced.is_some() {
            self.live -= to_u32(self.len_at(self.body(handle)));
        }
        self.live += placed.len;
        let main = self.push_run(placed.start, self.fresh() - u32::from(labels.own_start), handle, chain);
        if labels.end || labels.own_start {
            self.runs[main.0.at()].label();
            self.hang_labels(main, labels);
        }
        self.hang(main, handle);
        let first = replaced.unwrap_or(Handle::new(placed.start));
        let inserted = Inserted::new(first, placed.start, placed.len);
        if patch.fact != Fact::Keep {
            self.settle_fact(handle, patch.fact, inserted);
        }
        Ok(inserted)
    }

    /// Makes room for an edit of `handle` by a patch of this many units. After it, only the patch itself
    /// can be refused.
    #[inline]
    fn reserve(&mut self, handle: Handle, units: usize) -> Result<(), Error> {
        if self.inserted.len() + units + MAX_LABELS > self.room {
            self.reserve_units(units)?;
        }
        if self.runs.capacity() - self.runs.len() < RUNS_OF_EDIT {
            self.reserve_runs()?;
        }
        let (index, bit) = (handle.at() / WORD, handle.at() % WORD);
        let word = &self.words[index];
        if word.edited >> bit & 1 != 0 {
            self.sites.try_reserve(1)?;
        }
        if word.block == 0 && word.next_in_order(to_u32(self.runs.len())) >> bit & 1 == 0 {
            self.add_block(index)?;
        }
        Ok(())
    }

    #[cold]
    fn reserve_units(&mut self, units: usize) -> Result<(), Error> {
        let needed = self.inserted.len() + units + MAX_LABELS;
        let most = self.most_inserted();
        if needed > most {
            return Err(Error::TooLong { units: self.original.len() + needed });
        }
        let roomy = needed.max(self.room.saturating_mul(2)).max(WORD).min(most);
        self.grow(roomy)?;
        Ok(())
    }

    #[cold]
    fn reserve_runs(&mut self) -> Result<(), Error> {
        let (runs, limit) = (self.runs.len(), MAX_RUNS.min(self.arena.limits().edits as usize));
        if runs + RUNS_OF_EDIT > limit {
            return Err(Error::TooManyEdits { limit });
        }
        let roomy = (runs * 2).max(LEAST_RUNS).min(limit);
        self.runs.try_reserve_exact(roomy - runs)?;
        Ok(())
    }

    /// Copies the units of a patch into the inserted column, or leaves everything as it was. Says whether
    /// they are instructions of one unit without displacement fields.
    #[inline]
    fn copy_in(&mut self, units: &[I::Unit]) -> Result<bool, Error> {
        let start = self.fresh() as usize;
        if units.len() > WORD || units.is_empty() {
            return self.copy_long(units);
        }
        let marks = I::scan(units, 0).map_err(|unit| Error::BadPatchInsn { unit: to_u32(unit) })?;
        let run = to_u32(self.runs.len());
        self.words.append(start, units.len(), &marks, run, self.inserted_branches());
        self.inserted.extend_from_slice_copy(units);
        self.aux.resize(start + units.len());
        Ok(marks.is_plain())
    }

    #[cold]
    fn copy_long(&mut self, units: &[I::Unit]) -> Result<bool, Error> {
        if units.is_empty() {
            return Err(Error::EmptyPatch);
        }
        let start = self.fresh() as usize;
        let (run, mut over, mut branches, mut plain) =
            (to_u32(self.runs.len()), 0, self.inserted_branches(), true);
        for at in (0..units.len()).step_by(WORD) {
            let marks = I::scan(&units[at..], over).map_err(|unit| {
                self.words.truncate(start);
                Error::BadPatchInsn { unit: to_u32(at + unit) }
            })?;
            self.words.append(start + at, WORD.min(units.len() - at), &marks, run, branches);
            plain &= marks.is_plain();
            branches += marks.branch.count_ones();
            over = marks.over;
        }
        self.inserted.extend_from_slice_copy(units);
        self.aux.resize(start + units.len());
        Ok(plain)
    }

    /// How many branches were inserted.
    #[inline]
    pub(super) fn inserted_branches(&self) -> u32 {
        to_u32(self.targets.len() / I::MAX_FIELDS.max(1))
    }

    /// Looks at what not every patch has: facts that move, branches, labels. Takes the units back if the patch
    /// is refused.
    fn finish(&mut self, placed: Placed, patch: &Patch<'_, I::Unit>) -> Result<Labels, Error> {
        let targets = self.targets.len();
        let finished = self.fill_targets(placed, patch);
        if finished.is_err() {
            let start = placed.start as usize;
            self.words.truncate(start);
            self.inserted.truncate(start - self.base as usize);
            self.aux.resize(start);
            self.targets.truncate(targets);
        }
        finished
    }

    /// Notes the branches of a patch and where each of them leads.
    fn fill_targets(&mut self, placed: Placed, patch: &Patch<'_, I::Unit>) -> Result<Labels, Error> {
        if let Fact::MoveTo(unit) = patch.fact
            && !self.is_unit_start(placed, unit)
        {
            return Err(Error::BadPatchInsn { unit });
        }
        let mut labels = Labels::default();
        let mut listed = patch.branches;
        let (mut at, end) = (placed.start as usize, (placed.start + placed.len) as usize);
        loop {
            at = self.words.find(at..end, |word| word.branch);
            if at == end {
                break;
            }
            let unit = to_u32(at) - placed.start;
            let insn = &patch.units[unit as usize..][..self.words.len_at(at)];
            let fields = I::fields(insn);
            self.reserve_targets()?;
            for field in 0..fields {
                let here = (unit, to_u32(field));
                let target = match listed {
                    [branch, rest @ ..] if (branch.unit, branch.field) == here => {
                        listed = rest;
                        branch.target
                    }
                    _ => local_target::<I>(insn, here, placed.len)?,
                };
                let target = self.resolve(target, here, placed, &mut labels)?;
                self.targets.push(Some(target));
            }
            for _ in fields..I::MAX_FIELDS {
                self.targets.push(None);
            }
            at += insn.len();
        }
        if let Some(branch) = listed.first() {
            return Err(Error::BadTarget { unit: branch.unit, field: branch.field });
        }
        let run = to_u32(self.runs.len());
        if labels.end || labels.own_start {
            self.push_label(run);
        }
        if labels.own_start {
            self.push_label(run + 1);
        }
        Ok(labels)
    }

    #[inline]
    pub(super) fn reserve_targets(&mut self) -> Result<(), Error> {
        if self.targets.capacity() - self.targets.len() < I::MAX_FIELDS {
            self.targets.try_reserve(I::MAX_FIELDS)?;
        }
        Ok(())
    }

    /// Whether unit `unit` of a patch begins an instruction.
    #[inline]
    fn is_unit_start(&self, placed: Placed, unit: u32) -> bool {
        unit < placed.len && !self.words.is_inner((placed.start + unit) as usize)
    }

    /// The handle that a target stands for, asking for the label it needs.
    #[inline]
    fn resolve(
        &self,
        target: Target,
        (unit, field): (u32, u32),
        placed: Placed,
        labels: &mut Labels,
    ) -> Result<Handle, Error> {
        match target {
            Target::Local(0) => {
                let Some(replaced) = placed.replaced else { return Ok(Handle::new(placed.start)) };
                if self.site(replaced).is_none_or(|site| site.pre.is_none()) {
                    return Ok(replaced);
                }
                labels.own_start = true;
                Ok(placed.own_start_label())
            }
            Target::Local(to) if self.is_unit_start(placed, to) => Ok(Handle::new(placed.start + to)),
            Target::Local(_) => Err(Error::LeavesPatch { unit, field }),
            Target::End => {
                labels.end = true;
                Ok(placed.end_label())
            }
            Target::Handle(handle) if self.is_insn(handle) => Ok(handle),
            Target::Handle(handle) => Err(Error::NoSuchInsn(handle)),
            Target::Original(at) if at <= self.original_len() && !self.words.is_inner(at as usize) => {
                Ok(Handle::new(at))
            }
            Target::Original(_) => Err(Error::BadTarget { unit, field }),
        }
    }

    /// Appends a unit that is dead from birth, and will be one of run `run`.
    pub(super) fn push_label(&mut self, run: u32) {
        let at = self.fresh() as usize;
        self.words.append(at, 1, &Marks::default(), run, self.inserted_branches());
        self.words[at / WORD].dead |= 1 << (at % WORD);
        self.inserted.push(I::Unit::default());
        self.aux.resize(at + 1);
    }

    /// Hangs the label before a patch, if it has one.
    #[inline]
    fn hang_labels(&mut self, main: RunId, labels: Labels) {
        if labels.own_start {
            let Run { anchor, end, .. } = *self.run(main);
            let label = self.push_run(end, end + 1, anchor, Chain::Pre);
            self.runs[label.0.at()].label();
            self.hang(label, anchor);
        }
    }

    /// Does with the fact of the edited instruction what the patch says.
    pub(super) fn settle_fact(&mut self, handle: Handle, fact: Fact, inserted: Inserted) {
        let moved = core::mem::take(&mut self.aux[handle.at()]);
        if let Fact::MoveTo(unit) = fact {
            self.aux[inserted.at(unit).at()] = moved;
        }
    }
}

/// Where a branch of the patch that was given no target leads, by its displacement.
pub(super) fn local_target<I: Isa>(
    insn: &[I::Unit],
    (unit, field): (u32, u32),
    len: u32,
) -> Result<Target, Error> {
    let to = i64::from(unit) + I::base(insn, field as usize) + I::read(insn, field as usize);
    match u32::try_from(to) {
        Ok(to) if to < len => Ok(Target::Local(to)),
        Ok(to) if to == len => Ok(Target::End),
        _ => Err(Error::LeavesPatch { unit, field }),
    }
}

#[cfg(all(test, feature = "fuzzing"))]
mod tests;
