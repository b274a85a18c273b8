//! The five edits: replace, prepend (on every way in, or on the way from above), append, delete.

use super::bits::WORD;
use super::handle::to_u32;
use super::list::{Chain, MAX_LABELS, MAX_RUNS, Run, RunId, Site};
use super::slots::Slot;
use super::{Error, Fact, Handle, Inserted, Isa, List, Patch, Target};

/// A unit, dead from birth, that branches of a patch lead to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Label {
    /// The first instruction, without what was prepended to the replaced one before.
    OwnStart,
    /// What follows the patch.
    End,
}

/// The labels of a patch, in the order of their units, which follow those of the patch.
type Labels = [Option<Label>; MAX_LABELS];

/// A patch whose units are in the inserted column, but hang nowhere yet.
#[derive(Clone, Copy)]
struct Placed {
    start: u32,
    len: u32,
    labels: Labels,
}

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    /// Puts `patch` in the place of an instruction.
    ///
    /// A branch to the instruction lands on the first of the patch, which takes over its handle.
    ///
    /// O(units of the patch), amortized.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInsn`] or [`Error::Deleted`] for the instruction; [`Error::EmptyPatch`],
    /// [`Error::BadPatchInsn`], [`Error::LeavesPatch`], [`Error::BadTarget`] for the patch;
    /// [`Error::TooLong`] and [`Error::OutOfMemory`]. The list is then as it was.
    pub fn replace<'p>(
        &mut self,
        handle: Handle,
        patch: impl Into<Patch<'p, I::Unit>>,
    ) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.insert(handle, &patch.into(), Chain::Body)
    }

    /// Inserts `patch` before an instruction, on every way in: a branch to the instruction lands on
    /// the first of what was prepended. Later prepends stand nearer to the instruction.
    ///
    /// O(units of the patch), amortized. The [end](List::end) can be prepended to.
    ///
    /// # Errors
    ///
    /// As [`replace`](List::replace).
    pub fn prepend<'p>(
        &mut self,
        handle: Handle,
        patch: impl Into<Patch<'p, I::Unit>>,
    ) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.insert(handle, &patch.into(), Chain::Pre)
    }

    /// Inserts `patch` before an instruction, only for control that falls in from above: a branch to
    /// the instruction does not run it.
    ///
    /// It stands before all that was prepended on every way in. O(units of the patch), amortized.
    /// The [end](List::end) can be prepended to.
    ///
    /// # Errors
    ///
    /// As [`replace`](List::replace).
    pub fn prepend_fallthrough<'p>(
        &mut self,
        handle: Handle,
        patch: impl Into<Patch<'p, I::Unit>>,
    ) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.insert(handle, &patch.into(), Chain::Fall)
    }

    /// Inserts `patch` after an instruction, for control that leaves it downwards: a branch to what
    /// follows does not run it. Later appends stand nearer to the instruction.
    ///
    /// O(units of the patch), amortized.
    ///
    /// # Errors
    ///
    /// As [`replace`](List::replace).
    pub fn append<'p>(
        &mut self,
        handle: Handle,
        patch: impl Into<Patch<'p, I::Unit>>,
    ) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.insert(handle, &patch.into(), Chain::Post)
    }

    /// Deletes an instruction: a branch to it lands on the next live one. Its fact is lost; what was
    /// inserted around it stays.
    ///
    /// O(units of the instruction).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInsn`] or [`Error::Deleted`].
    pub fn delete(&mut self, handle: Handle) -> Result<(), Error> {
        self.check_live(handle)?;
        for at in handle.at()..handle.at() + self.len_at(handle) {
            self.dead.set(at);
        }
        self.aux[handle.at()] = A::default();
        self.nested |= handle.index() >= self.base;
        Ok(())
    }

    fn insert(
        &mut self,
        handle: Handle,
        patch: &Patch<'_, I::Unit>,
        chain: Chain,
    ) -> Result<Inserted, Error> {
        if handle != self.end() || matches!(chain, Chain::Post | Chain::Body) {
            self.check_live(handle)?;
        }
        let replaced = (chain == Chain::Body).then_some(handle);
        let placed = self.place(patch, replaced)?;
        let main = self.push_run(placed.start, placed.start + placed.len, handle, chain);
        if placed.labels[0].is_some() {
            self.hang_with_labels(main, &placed);
        } else {
            self.hang(main);
        }
        let first = replaced.unwrap_or(Handle::new(placed.start));
        let inserted = Inserted { first, base: placed.start, units: placed.len };
        self.settle_fact(handle, patch.fact, inserted);
        Ok(inserted)
    }

    fn check_live(&self, handle: Handle) -> Result<(), Error> {
        if !self.is_insn(handle) || handle == self.end() {
            return Err(Error::NoSuchInsn(handle));
        }
        if self.dead.get(handle.at()) {
            return Err(Error::Deleted(handle));
        }
        Ok(())
    }

    /// Copies a patch into the inserted column, or leaves everything as it was. After it, hanging the
    /// patch somewhere cannot fail.
    fn place(&mut self, patch: &Patch<'_, I::Unit>, replaced: Option<Handle>) -> Result<Placed, Error> {
        if patch.units.is_empty() {
            return Err(Error::EmptyPatch);
        }
        self.reserve(patch.units.len())?;
        let before = (self.inserted.len(), self.targets.len());
        let placed = self.fill(patch, replaced);
        if placed.is_err() {
            self.take_back(before);
        }
        placed
    }

    /// Makes room for a patch and the labels it may ask for.
    #[inline]
    fn reserve(&mut self, units: usize) -> Result<(), Error> {
        let needed = self.inserted.len() + units + MAX_LABELS;
        if needed > self.room {
            self.reserve_units(needed)?;
        }
        if self.runs.len() + MAX_LABELS >= MAX_RUNS {
            return Err(Error::TooLong { units: self.base as usize + needed });
        }
        if self.runs.capacity() - self.runs.len() < 1 + MAX_LABELS {
            self.runs.try_reserve(1 + MAX_LABELS)?;
        }
        if self.sites.capacity() == self.sites.len() {
            self.sites.try_reserve(1)?;
        }
        self.slots.try_reserve_block()?;
        Ok(())
    }

    #[cold]
    fn reserve_units(&mut self, needed: usize) -> Result<(), Error> {
        let most = (Handle::MAX - self.base) as usize;
        if needed > most {
            return Err(Error::TooLong { units: self.base as usize + needed });
        }
        let roomy = needed.max(self.room.saturating_mul(2)).max(64).min(most);
        self.grow(roomy)?;
        Ok(())
    }

    fn take_back(&mut self, (inserted, targets): (usize, usize)) {
        let range = self.base as usize + inserted..self.base as usize + self.inserted.len();
        self.inserted.truncate(inserted);
        self.aux.truncate(range.start);
        self.targets.truncate(targets);
        self.inner.fill(range.clone(), false);
        self.dead.fill(range.clone(), false);
        self.branch.take_back(range, targets / I::MAX_FIELDS.max(1));
    }

    #[inline]
    fn fill(&mut self, patch: &Patch<'_, I::Unit>, replaced: Option<Handle>) -> Result<Placed, Error> {
        let start = self.base as usize + self.inserted.len();
        let len = patch.units.len();
        self.inserted.extend_from_slice_copy(patch.units);
        self.aux.resize(start + len, A::default());
        let (mut at, mut over, mut branches) = (0, 0, false);
        while at < len {
            let marks = I::scan(&patch.units[at..], over)
                .map_err(|unit| Error::BadPatchInsn { unit: to_u32(at + unit) })?;
            self.inner.set_word(start + at, marks.inner);
            branches |= marks.branch != 0;
            over = marks.over;
            at += WORD;
        }
        let mut placed = Placed { start: to_u32(start), len: to_u32(len), labels: Labels::default() };
        if let Fact::MoveTo(unit) = patch.fact
            && !self.is_unit_start(placed.start, placed.len, unit)
        {
            return Err(Error::BadPatchInsn { unit });
        }
        if branches || !patch.branches.is_empty() {
            self.fill_targets(patch, replaced, &mut placed)?;
        }
        Ok(placed)
    }

    /// Whether unit `unit` of the patch of `len` units at `start` begins an instruction.
    fn is_unit_start(&self, start: u32, len: u32, unit: u32) -> bool {
        unit < len && !self.inner.get((start + unit) as usize)
    }

    /// Notes the branches of a patch and where each of them leads.
    fn fill_targets(
        &mut self,
        patch: &Patch<'_, I::Unit>,
        replaced: Option<Handle>,
        placed: &mut Placed,
    ) -> Result<(), Error> {
        let mut listed = patch.branches.iter().peekable();
        let mut unit = 0;
        while unit < placed.len {
            let at = Handle::new(placed.start + unit);
            let len = to_u32(self.len_at(at));
            let insn = &patch.units[unit as usize..(unit + len) as usize];
            let fields = I::fields(insn);
            if fields != 0 {
                self.targets.try_reserve(I::MAX_FIELDS)?;
                self.branch.push(at.at());
            }
            for field in 0..fields {
                let here = (unit, to_u32(field));
                let target = match listed.next_if(|branch| (branch.unit, branch.field) == here) {
                    Some(branch) => branch.target,
                    None => local_target::<I>(insn, here, placed.len)?,
                };
                let target = self.resolve(target, here, replaced, placed)?;
                self.targets.push(Some(target));
            }
            if fields != 0 {
                self.targets.resize(self.targets.len() + I::MAX_FIELDS - fields, None);
            }
            unit += len;
        }
        match listed.next() {
            Some(&branch) => Err(Error::BadTarget { unit: branch.unit, field: branch.field }),
            None => Ok(()),
        }
    }

    /// The handle that a target stands for, making the label it needs.
    fn resolve(
        &mut self,
        target: Target,
        (unit, field): (u32, u32),
        replaced: Option<Handle>,
        placed: &mut Placed,
    ) -> Result<Handle, Error> {
        match target {
            Target::Local(0) => {
                let Some(replaced) = replaced else { return Ok(Handle::new(placed.start)) };
                if self.site(replaced).is_none_or(|site| site.pre.is_none()) {
                    return Ok(replaced);
                }
                Ok(self.label(placed, Label::OwnStart))
            }
            Target::Local(to) if self.is_unit_start(placed.start, placed.len, to) => {
                Ok(Handle::new(placed.start + to))
            }
            Target::Local(_) => Err(Error::LeavesPatch { unit, field }),
            Target::End => Ok(self.label(placed, Label::End)),
            Target::Handle(handle) if self.is_insn(handle) => Ok(handle),
            Target::Handle(handle) => Err(Error::NoSuchInsn(handle)),
            Target::Original(at) if at <= self.original_len() && !self.inner.get(at as usize) => {
                Ok(Handle::new(at))
            }
            Target::Original(_) => Err(Error::BadTarget { unit, field }),
        }
    }

    /// A label of a patch, made when the first branch asks for it.
    fn label(&mut self, placed: &mut Placed, label: Label) -> Handle {
        let known = placed.labels.iter().position(|&known| known == Some(label));
        let nth = known.unwrap_or_else(|| {
            self.dead.set(self.base as usize + self.inserted.len());
            self.inserted.push(I::Unit::default());
            self.aux.push(A::default());
            let nth = usize::from(placed.labels[0].is_some());
            placed.labels[nth] = Some(label);
            nth
        });
        Handle::new(placed.start + placed.len + to_u32(nth))
    }

    /// Hangs the run of a patch, with one for each of its labels.
    fn hang_with_labels(&mut self, main: RunId, placed: &Placed) {
        let Run { anchor, .. } = *self.run(main);
        let after = match self.run(main).chain() {
            Chain::Body => Chain::Post,
            chain => chain,
        };
        let mut at = placed.start + placed.len;
        let labels = placed.labels.map(|label| {
            let label = label?;
            let chain = if label == Label::OwnStart { Chain::Pre } else { after };
            at += 1;
            Some((label, self.push_run(at - 1, at, anchor, chain)))
        });
        let run_of = |wanted| labels.iter().flatten().find(|(label, _)| *label == wanted);
        let (own_start, end) = (run_of(Label::OwnStart), run_of(Label::End));
        // What is hung later stands nearer to the instruction.
        let (before, behind) = if after == Chain::Post { (end, None) } else { (None, end) };
        for &(_, run) in own_start.into_iter().chain(before) {
            self.hang(run);
        }
        self.hang(main);
        if let Some(&(_, run)) = behind {
            self.hang(run);
        }
    }

    #[inline]
    fn push_run(&mut self, start: u32, end: u32, anchor: Handle, chain: Chain) -> RunId {
        let id = RunId(Handle::new(to_u32(self.runs.len())));
        self.heads.push(start as usize);
        self.runs.push(Run::new(start, end, anchor, chain, id));
        id
    }

    /// Hangs a run into the site of its anchor, nearest to the instruction.
    #[inline]
    fn hang(&mut self, id: RunId) {
        let run = self.runs[id.0.at()];
        let at = run.anchor.at();
        if self.edited.get(at) {
            self.hang_into_site(id, &run);
            return;
        }
        self.slots.set(at, Slot::Lone(id.0.index()));
        self.edited.set(at);
        self.nested |= run.anchor.index() >= self.base;
    }

    fn hang_into_site(&mut self, id: RunId, run: &Run) {
        let at = run.anchor.at();
        let index = match self.slots.get(at) {
            Slot::Site(index) => index,
            Slot::Lone(lone) => {
                let lone = RunId(Handle::new(lone));
                let index = to_u32(self.sites.len());
                self.sites.push(Site::lone(lone, self.run(lone)));
                self.slots.set(at, Slot::Site(index));
                index
            }
        };
        let site = &mut self.sites[index as usize];
        let last = site.chain_mut(run.chain());
        let before = *last.get_or_insert(id);
        if matches!(run.chain(), Chain::Fall | Chain::Pre) {
            *last = Some(id);
        }
        if run.chain() == Chain::Body {
            site.body = Some(run.start);
        }
        let first = self.run(before).next();
        self.runs[id.0.at()].set_next(first);
        self.runs[before.0.at()].set_next(id);
    }

    /// Does with the fact of the edited instruction what the patch says.
    #[inline]
    fn settle_fact(&mut self, handle: Handle, fact: Fact, inserted: Inserted) {
        if fact == Fact::Keep {
            return;
        }
        let moved = core::mem::take(&mut self.aux[handle.at()]);
        if let Fact::MoveTo(unit) = fact {
            self.aux[inserted.at(unit).at()] = moved;
        }
    }
}

/// Where a branch of the patch that was given no target leads, by its displacement.
fn local_target<I: Isa>(insn: &[I::Unit], (unit, field): (u32, u32), len: u32) -> Result<Target, Error> {
    let to = i64::from(unit) + I::base(insn, field as usize) + I::read(insn, field as usize);
    match u32::try_from(to) {
        Ok(to) if to < len => Ok(Target::Local(to)),
        Ok(to) if to == len => Ok(Target::End),
        _ => Err(Error::LeavesPatch { unit, field }),
    }
}
