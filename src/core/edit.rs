//! The five edits: replace, prepend (on every way in, or on the way from above), append, delete.

use super::list::{Chain, Run, RunId, Site, to_u32};
use super::{Error, Fact, Handle, Inserted, Isa, List, Patch, Target};

/// A patch whose units are in the inserted column, but hang nowhere yet.
struct Placed {
    start: u32,
    /// Length of its first instruction.
    first_len: u32,
    len: u32,
    /// A label for the first instruction, without what was prepended to the replaced one before.
    own_start: Option<Handle>,
    /// A label for what follows the patch.
    end: Option<Handle>,
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
        let patch = patch.into();
        self.check_live(handle)?;
        let placed = self.place(handle, &patch, Some(handle))?;
        let rest = placed.start + placed.first_len;
        self.dead.fill(placed.start as usize..rest as usize);
        let main = (placed.first_len < placed.len)
            .then(|| self.push_run(rest, placed.start + placed.len, handle, Chain::Post));
        let mut push =
            |label: Option<Handle>, chain| label.map(|label| self.push_label(label, handle, chain));
        // The patch asked for its labels in any order, but runs ascend.
        let (own_start, end) = if placed.own_start < placed.end {
            let own_start = push(placed.own_start, Chain::Pre);
            (own_start, push(placed.end, Chain::Post))
        } else {
            let end = push(placed.end, Chain::Post);
            (push(placed.own_start, Chain::Pre), end)
        };
        self.hang_back(own_start);
        self.hang_front(end);
        self.hang_front(main);
        self.site_mut(handle).body = Some(Handle::new(placed.start));
        Ok(self.settle_fact(handle, &patch, handle, &placed))
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
        self.dead.fill(handle.at()..handle.at() + self.len_at(handle));
        self.aux[handle.at()] = A::default();
        Ok(())
    }

    fn insert(
        &mut self,
        handle: Handle,
        patch: &Patch<'_, I::Unit>,
        chain: Chain,
    ) -> Result<Inserted, Error> {
        if chain == Chain::Post || handle != self.end() {
            self.check_live(handle)?;
        }
        let placed = self.place(handle, patch, None)?;
        let main = Some(self.push_run(placed.start, placed.start + placed.len, handle, chain));
        let end = placed.end.map(|label| self.push_label(label, handle, chain));
        if chain == Chain::Post {
            self.hang_front(end);
            self.hang_front(main);
        } else {
            self.hang_back(main);
            self.hang_back(end);
        }
        Ok(self.settle_fact(handle, patch, Handle::new(placed.start), &placed))
    }

    fn check_live(&self, handle: Handle) -> Result<(), Error> {
        if self.is_live(handle) {
            Ok(())
        } else if self.is_insn(handle) && handle != self.end() {
            Err(Error::Deleted(handle))
        } else {
            Err(Error::NoSuchInsn(handle))
        }
    }

    /// Copies a patch into the inserted column, or leaves everything as it was. After it, hanging the
    /// patch into the site of `anchor` cannot fail.
    fn place(
        &mut self,
        anchor: Handle,
        patch: &Patch<'_, I::Unit>,
        replaced: Option<Handle>,
    ) -> Result<Placed, Error> {
        if patch.units.is_empty() {
            return Err(Error::EmptyPatch);
        }
        let labels = 2;
        let units = self.base as usize + self.inserted.len() + patch.units.len() + labels;
        if units > Handle::MAX as usize {
            return Err(Error::TooLong { units });
        }
        let grown = patch.units.len() + labels;
        self.try_reserve(grown)?;
        self.inserted.try_reserve(grown)?;
        self.runs.try_reserve(1 + labels)?;
        self.sites.try_reserve(1)?;
        if anchor.at() >= self.slots.len() {
            self.slots.try_reserve(units - self.slots.len())?;
        }
        let before = (self.inserted.len(), self.targets.len());
        let placed = self.fill(patch, replaced);
        if placed.is_err() {
            self.take_back(before);
        }
        placed
    }

    fn take_back(&mut self, (inserted, targets): (usize, usize)) {
        self.inserted.truncate(inserted);
        self.targets.truncate(targets);
        let len = self.base as usize + inserted;
        self.branch.truncate(len, targets / I::MAX_FIELDS.max(1));
        self.resize_columns(len);
    }

    fn fill(&mut self, patch: &Patch<'_, I::Unit>, replaced: Option<Handle>) -> Result<Placed, Error> {
        let start = self.base + to_u32(self.inserted.len());
        let len = to_u32(patch.units.len());
        self.inserted.extend_from_slice(patch.units);
        self.resize_columns((start + len) as usize);
        let mut unit = 0;
        while unit < len {
            let insn = I::len(&patch.units[unit as usize..]).ok_or(Error::BadPatchInsn { unit })?;
            for inner in start as usize + unit as usize + 1..start as usize + unit as usize + insn {
                self.inner.set(inner);
            }
            unit += to_u32(insn);
        }
        if let Fact::MoveTo(unit) = patch.fact
            && !self.is_unit_start(start, len, unit)
        {
            return Err(Error::BadPatchInsn { unit });
        }
        let first_len = to_u32(self.len_at(Handle::new(start)));
        let mut placed = Placed { start, first_len, len, own_start: None, end: None };
        self.fill_targets(patch, replaced, &mut placed)?;
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
                Ok(*placed.own_start.get_or_insert_with(|| self.new_label()))
            }
            Target::Local(to) if self.is_unit_start(placed.start, placed.len, to) => {
                Ok(Handle::new(placed.start + to))
            }
            Target::Local(_) => Err(Error::LeavesPatch { unit, field }),
            Target::End => Ok(*placed.end.get_or_insert_with(|| self.new_label())),
            Target::Handle(handle) if self.is_insn(handle) => Ok(handle),
            Target::Handle(handle) => Err(Error::NoSuchInsn(handle)),
            Target::Original(at) if at <= self.original_len() && !self.inner.get(at as usize) => {
                Ok(Handle::new(at))
            }
            Target::Original(_) => Err(Error::BadTarget { unit, field }),
        }
    }

    /// A unit that is dead from birth: a branch to it lands on what follows.
    fn new_label(&mut self) -> Handle {
        let at = self.base as usize + self.inserted.len();
        self.inserted.push(I::Unit::default());
        self.resize_columns(at + 1);
        self.dead.set(at);
        Handle::new(to_u32(at))
    }

    fn push_label(&mut self, label: Handle, anchor: Handle, chain: Chain) -> RunId {
        self.push_run(label.index(), label.index() + 1, anchor, chain)
    }

    fn push_run(&mut self, start: u32, end: u32, anchor: Handle, chain: Chain) -> RunId {
        let id = RunId(Handle::new(to_u32(self.runs.len())));
        self.heads.push(start as usize);
        self.runs.push(Run { start: Handle::new(start), end, next: id, anchor, chain });
        id
    }

    /// Makes a run the last of its chain.
    fn hang_back(&mut self, id: Option<RunId>) {
        if let Some(id) = id {
            self.hang_front(Some(id));
            *self.chain_mut(id) = Some(id);
        }
    }

    /// Makes a run the first of its chain.
    fn hang_front(&mut self, id: Option<RunId>) {
        let Some(id) = id else { return };
        let last = *self.chain_mut(id).get_or_insert(id);
        self.runs[id.0.at()].next = self.runs[last.0.at()].next;
        self.runs[last.0.at()].next = id;
    }

    /// The chain that a run belongs to.
    fn chain_mut(&mut self, id: RunId) -> &mut Option<RunId> {
        let Run { anchor, chain, .. } = *self.run(id);
        let site = self.site_mut(anchor);
        match chain {
            Chain::Fall => &mut site.fall,
            Chain::Pre => &mut site.pre,
            Chain::Post => &mut site.post,
        }
    }

    fn site_mut(&mut self, handle: Handle) -> &mut Site {
        let at = handle.at();
        if !self.edited.get(at) {
            if at >= self.slots.len() {
                self.slots.resize(self.base as usize + self.inserted.len(), 0);
            }
            self.slots[at] = to_u32(self.sites.len());
            self.sites.push(Site::default());
            self.edited.set(at);
        }
        &mut self.sites[self.slots[at] as usize]
    }

    /// Does with the fact of the edited instruction what the patch says.
    fn settle_fact(
        &mut self,
        handle: Handle,
        patch: &Patch<'_, I::Unit>,
        first: Handle,
        placed: &Placed,
    ) -> Inserted {
        let inserted = Inserted { first, base: placed.start, units: placed.len };
        if patch.fact != Fact::Keep {
            let fact = core::mem::take(&mut self.aux[handle.at()]);
            if let Fact::MoveTo(unit) = patch.fact {
                self.aux[inserted.at(unit).at()] = fact;
            }
        }
        inserted
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
