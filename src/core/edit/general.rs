//! Every other edit: patches of any length, with branches, labels and facts.

use core::ops::Range;

use super::super::columns::{
    Columns, Kind, MAX_LABELS, MAX_LEN, MAX_RECORDS, Meta, RECORDS_OF_EDIT, WORD, Window, Words,
    out_of_memory,
};
use super::super::handle::to_u32;
use super::super::list::reached;
use super::super::{Error, Fact, Handle, Inserted, Isa, List, Patch, Target};

/// The units, dead from birth, that branches of a patch asked for to lead to.
#[derive(Clone, Copy, Default)]
struct Labels {
    /// What follows the patch: the last unit of its record.
    end: bool,
    /// The first instruction, without what was prepended to the replaced one before: a record of its own.
    own_start: bool,
}

/// A patch whose units are in the tail, but are anchored nowhere yet.
#[derive(Clone, Copy)]
struct Placed {
    start: usize,
    len: usize,
    replaced: Option<Handle>,
}

impl Placed {
    /// The unit of its label for what follows, if it has one.
    fn end_label(self) -> Handle {
        Handle::new(to_u32(self.start + self.len))
    }

    /// The unit of its label for its first instruction, if it has one.
    fn own_start_label(self) -> Handle {
        Handle::new(to_u32(self.start + self.len + 1))
    }
}

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    #[inline(never)]
    pub(super) fn insert_any(
        &mut self,
        handle: Handle,
        patch: &Patch<'_, I::Unit>,
        kind: Kind,
    ) -> Result<Inserted, Error> {
        self.columns.window = Window::CLOSED;
        let takes_end = matches!(kind, Kind::Fall | Kind::Pre);
        if !(takes_end && handle == self.end()) {
            self.check_live(handle)?;
        }
        self.reserve(handle.at(), patch.units.len())?;
        let replaced = (kind == Kind::Body).then_some(handle);
        let placed = Placed { start: self.columns.fresh(), len: patch.units.len(), replaced };
        let plain = self.copy_in(patch.units)?;
        let targets = self.columns.targets.len();
        let mut labels = Labels::default();
        if !plain || !patch.branches.is_empty() || patch.fact != Fact::Keep {
            labels = self.fill_targets(placed, patch).inspect_err(|_| self.columns.undo(placed, targets))?;
        }
        let columns = &mut self.columns;
        if replaced.is_some() {
            columns.live -= to_u32(columns.len_at(columns.body(handle.at())));
        }
        columns.live += to_u32(placed.len);
        columns.commit(placed, handle.at(), kind, labels);
        let first = replaced.unwrap_or(Handle::new(to_u32(placed.start)));
        let inserted = Inserted::new(first, to_u32(placed.start), to_u32(placed.len));
        self.settle_fact(handle, patch.fact, inserted);
        self.check_edit();
        Ok(inserted)
    }

    /// Makes room for an edit of the instruction at `at` by a patch of so many units. After it, only the patch itself
    /// can be refused, or the targets of its branches if there is no memory for them.
    fn reserve(&mut self, at: usize, units: usize) -> Result<(), Error> {
        if units > MAX_LEN {
            return Err(Error::TooLong { units });
        }
        if self.columns.tail.room() < units + MAX_LABELS {
            self.columns.grow(units + MAX_LABELS, self.most_inserted())?;
        }
        if self.columns.records.room() < RECORDS_OF_EDIT {
            self.reserve_records()?;
        }
        let (id, bump) = (to_u32(self.columns.records.len()), self.columns.bump);
        let (words, local) = self.columns.words_at_mut(at);
        let (word, bit) = (local / WORD, local % WORD);
        let edited = words.edited[word] >> bit & 1 != 0;
        if words.blocks[word].is_none() && words.next_in_order(word, id) >> bit & 1 == 0 {
            words.add_block(bump, word)?;
        }
        if edited {
            self.columns.sites.try_reserve(1).map_err(out_of_memory)?;
            self.columns.records.reserve_links(RECORDS_OF_EDIT)?;
        }
        Ok(())
    }

    #[cold]
    fn reserve_records(&mut self) -> Result<(), Error> {
        let columns = &mut self.columns;
        let (len, limit) = (columns.records.len(), MAX_RECORDS.min(self.arena.limits().edits as usize));
        if len + RECORDS_OF_EDIT > limit {
            return Err(Error::TooManyEdits { limit });
        }
        columns.records.grow(columns.bump, RECORDS_OF_EDIT, len.min(limit - len))
    }

    /// Copies the units of a patch into the tail and marks them, or leaves everything as it was. Says whether
    /// they are instructions of one unit without displacement fields.
    #[inline]
    fn copy_in(&mut self, units: &[I::Unit]) -> Result<bool, Error> {
        if units.is_empty() {
            return Err(Error::EmptyPatch);
        }
        let columns = &mut self.columns;
        let start = columns.tail.units.len();
        let (mut over, mut plain) = (0, true);
        for at in (0..units.len()).step_by(WORD) {
            match self.isa.scan(&units[at..], over) {
                Ok(marks) => {
                    columns.tail.words.mark(start + at, WORD.min(units.len() - at), &marks);
                    plain &= marks.is_plain();
                    columns.several |= marks.several;
                    over = marks.over;
                }
                Err(unit) => {
                    columns.tail.words.clear(start, start + at + WORD);
                    return Err(Error::BadPatchInsn { unit: to_u32(at + unit) });
                }
            }
        }
        if over > 0 {
            // An instruction set that says so breaks its contract.
            columns.tail.words.clear(start, start + units.len() + WORD);
            return Err(Error::BadPatchInsn { unit: to_u32(units.len()) });
        }
        columns.push_long(units);
        let (records, targets) = (columns.records.len() + 1, columns.targets.len());
        columns.note_words(start, start + units.len(), records, targets);
        Ok(plain)
    }

    /// Notes the branches of a patch and where each of them leads, and makes the labels that they ask for.
    fn fill_targets(&mut self, placed: Placed, patch: &Patch<'_, I::Unit>) -> Result<Labels, Error> {
        if let Fact::MoveTo(unit) = patch.fact
            && !self.columns.is_unit_start(placed, unit)
        {
            return Err(Error::BadPatchInsn { unit });
        }
        let mut labels = Labels::default();
        let mut listed = patch.branches;
        let records = self.columns.records.len() + 1;
        let local = placed.start - self.columns.tail.start;
        let (mut noted, mut at, end) = (local, local, local + placed.len);
        loop {
            at = find(self.columns.tail.words.branch, at..end);
            if at == end {
                break;
            }
            self.columns.note_words(noted, at, records, self.columns.targets.len());
            noted = at;
            let unit = to_u32(at - local);
            let insn = &patch.units[unit as usize..][..self.columns.tail.words.len_at(at)];
            for field in 0..self.isa.fields(insn) {
                let here = (unit, to_u32(field));
                let target = match listed {
                    [branch, rest @ ..] if (branch.unit, branch.field) == here => {
                        listed = rest;
                        branch.target
                    }
                    _ => local_target(&self.isa, insn, here, placed.len)?,
                };
                let target = self.columns.resolve(target, here, placed, &mut labels)?;
                self.columns.targets.try_reserve(1).map_err(out_of_memory)?;
                self.columns.targets.push(target);
            }
            at += insn.len();
        }
        if let Some(branch) = listed.first() {
            return Err(Error::BadTarget { unit: branch.unit, field: branch.field });
        }
        self.columns.note_words(noted, end, records, self.columns.targets.len());
        for _ in 0..u8::from(labels.end || labels.own_start) + u8::from(labels.own_start) {
            let at = self.columns.tail.units.len();
            self.columns.push_long(&[I::Unit::default()]);
            Words::set(self.columns.tail.words.dead, at, 1);
        }
        Ok(labels)
    }

    /// Does with the fact of the edited instruction what the patch says.
    fn settle_fact(&mut self, handle: Handle, fact: Fact, inserted: Inserted) {
        if fact == Fact::Keep {
            return;
        }
        let moved = core::mem::take(self.columns.fact_mut(handle.at()));
        if let Fact::MoveTo(unit) = fact {
            *self.columns.fact_mut(inserted.at(unit).at()) = moved;
        }
    }
}

impl<U: Copy, A: Copy + Default> Columns<'_, U, A> {
    /// Takes the units of a patch back that was refused, and their targets. Keeps all invariants.
    #[cold]
    fn undo(&mut self, placed: Placed, targets: usize) {
        let local = placed.start - self.tail.start;
        self.tail.words.clear(local, self.tail.units.len() + 1);
        self.inserted -= self.tail.units.len() - local;
        self.tail.units.truncate(local);
        self.tail.facts.resize(local);
        self.targets.truncate(targets);
    }

    /// Makes a record of units that are in the tail, another one of the label before them, and anchors them. Keeps all
    /// invariants.
    fn commit(&mut self, placed: Placed, anchor: usize, kind: Kind, labels: Labels) {
        let Placed { start, len, .. } = placed;
        let labeled = labels.end || labels.own_start;
        let (id, local) = (self.records.len(), start - self.tail.start);
        let (main, label) = (Meta::new(to_u32(len), kind, labeled), Meta::new(0, Kind::Pre, true));
        let end = local + len + usize::from(labeled);
        let pushed = self.records.push(anchor, start, main)
            && (!labels.own_start || self.records.push(anchor, self.tail.start + end, label));
        debug_assert!(pushed, "there is room");
        self.tail.words.starts[local / WORD] |= 1 << (local % WORD);
        self.note_words(local + len, end, id + 1, self.targets.len());
        if labels.own_start {
            self.tail.words.starts[end / WORD] |= 1 << (end % WORD);
            self.note_words(end, end + 1, id + 2, self.targets.len());
            self.anchor(id + 1, anchor, Kind::Pre);
        }
        self.anchor(id, anchor, kind);
    }

    /// Whether unit `unit` of a patch begins an instruction.
    #[inline]
    fn is_unit_start(&self, placed: Placed, unit: u32) -> bool {
        (unit as usize) < placed.len && !self.is_inner(placed.start + unit as usize)
    }

    /// The handle that a target stands for, asking for the label it needs.
    fn resolve(
        &self,
        target: Target,
        (unit, field): (u32, u32),
        placed: Placed,
        labels: &mut Labels,
    ) -> Result<Handle, Error> {
        match target {
            Target::Local(0) => {
                let Some(replaced) = placed.replaced else { return Ok(Handle::new(to_u32(placed.start))) };
                if self.site(replaced.at()).is_none_or(|site| site.pre.is_none()) {
                    return Ok(replaced);
                }
                labels.own_start = true;
                Ok(placed.own_start_label())
            }
            Target::Local(to) if self.is_unit_start(placed, to) => {
                Ok(Handle::new(to_u32(placed.start + to as usize)))
            }
            Target::Local(_) => Err(Error::LeavesPatch { unit, field }),
            Target::End => {
                labels.end = true;
                Ok(placed.end_label())
            }
            Target::Handle(handle) if self.is_insn(handle) => Ok(handle),
            Target::Handle(handle) => Err(Error::NoSuchInsn(handle)),
            Target::Original(at) if at as usize <= self.original.len() && !self.is_inner(at as usize) => {
                Ok(Handle::new(at))
            }
            Target::Original(_) => Err(Error::BadTarget { unit, field }),
        }
    }
}

/// The first unit of `range` whose bit is set in a column, or its end.
fn find(column: &[u64], range: Range<usize>) -> usize {
    let mut from = range.start;
    while from < range.end {
        let bits = column[from / WORD] >> (from % WORD);
        if bits != 0 {
            return range.end.min(from + bits.trailing_zeros() as usize);
        }
        from = (from / WORD + 1) * WORD;
    }
    range.end
}

/// Where a branch of the patch that was given no target leads, by its displacement.
fn local_target<I: Isa>(
    isa: &I,
    insn: &[I::Unit],
    (unit, field): (u32, u32),
    len: usize,
) -> Result<Target, Error> {
    let to = reached(unit, isa.base(insn, field as usize), isa.read(insn, field as usize));
    match u32::try_from(to) {
        Ok(to) if (to as usize) < len => Ok(Target::Local(to)),
        Ok(to) if to as usize == len => Ok(Target::End),
        _ => Err(Error::LeavesPatch { unit, field }),
    }
}

#[cfg(all(test, feature = "bpf"))]
mod tests;
