//! [`List::linearize`]: lays the list out in one sweep, then fixes every branch with two look-ups.

use alloc::vec::Vec;
use core::ops::Range;

use super::bits::{Ones, WORD, ones, window};
use super::handle::to_u32;
use super::list::{Chain, Run, RunId};
use super::map::{Map, NOWHERE};
use super::slots::Slot;
use super::walk::Place;
use super::{Error, Handle, Isa, List};

/// A linearized program.
#[derive(Clone, Debug)]
pub struct Linear<U, A = ()> {
    /// The units.
    pub units: Vec<U>,
    /// The fact of each unit; that of an instruction is at its first unit.
    pub aux: Vec<A>,
    /// Where everything went.
    pub map: Map,
    /// Branches that do not stand at the label of their original position: where their units were in
    /// the list, and where they are now.
    branches: Vec<(Handle, u32)>,
    /// A label, and the label inside its prepended code that it coincides with.
    aliases: Vec<(Handle, Handle)>,
}

impl<U, A> Default for Linear<U, A> {
    fn default() -> Self {
        Self {
            units: Vec::new(),
            aux: Vec::new(),
            map: Map::default(),
            branches: Vec::new(),
            aliases: Vec::new(),
        }
    }
}

impl<U, A> Linear<U, A> {
    fn clear(&mut self) {
        let Self { units, aux, map, branches, aliases } = self;
        units.clear();
        aux.clear();
        branches.clear();
        aliases.clear();
        map.clear();
    }
}

impl<I: Isa, A: Copy + Default> List<'_, I, A> {
    /// Lays the list out as one program, with every branch leading where it should.
    ///
    /// O(units + inserted units), whatever the number of edits.
    ///
    /// # Errors
    ///
    /// As [`linearize_into`](List::linearize_into).
    pub fn linearize(&self) -> Result<Linear<I::Unit, A>, Error> {
        let mut out = Linear::default();
        self.linearize_into(&mut out)?;
        Ok(out)
    }

    /// As [`linearize`](List::linearize), into memory that is there already. What `out` held before is
    /// lost.
    ///
    /// # Errors
    ///
    /// [`Error::BranchOutside`], [`Error::BranchIntoInsn`], [`Error::DeletedTail`],
    /// [`Error::OutOfRange`] for the first live branch that has no place to go; [`Error::NoSuchInsn`] for
    /// one with a target that is a handle of another list; [`Error::OutOfMemory`]. `out` is empty then.
    pub fn linearize_into(&self, out: &mut Linear<I::Unit, A>) -> Result<(), Error> {
        let mut overlong = Vec::new();
        let fault = self.linearize_reachable(out, &mut overlong).err();
        let unreached = overlong.first().map(|branch| (branch.from, branch.error));
        match unreached.into_iter().chain(fault).min_by_key(|&(from, _)| from) {
            None => Ok(()),
            Some((_, error)) => {
                out.clear();
                Err(error)
            }
        }
    }

    /// As [`linearize_into`](List::linearize_into), but branches that do not reach are added to
    /// `overlong`, in the order of the output, and `out` is wrong for them.
    ///
    /// An error comes with the position in the output that it is about.
    pub(super) fn linearize_reachable(
        &self,
        out: &mut Linear<I::Unit, A>,
        overlong: &mut Vec<Overlong>,
    ) -> Result<(), (u32, Error)> {
        let mut sweep = Sweep { list: self, out, overlong, fault: None };
        let result = sweep.run();
        if result.is_err() {
            out.clear();
        }
        result
    }
}

/// A branch that does not reach its target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overlong {
    /// Where its units are in the list.
    pub(super) at: Handle,
    pub(super) field: usize,
    from: u32,
    pub(super) error: Error,
}

/// Units that a short copy may overrun its true length by.
const SLACK: usize = 4;

/// One linearization under way.
struct Sweep<'l, 'a, I: Isa, A> {
    list: &'l List<'a, I, A>,
    out: &'l mut Linear<I::Unit, A>,
    /// Branches that do not reach.
    overlong: &'l mut Vec<Overlong>,
    /// The first branch, in the order of the output, that has no place to go.
    fault: Option<(u32, Error)>,
}

impl<I: Isa, A: Copy + Default> Sweep<'_, '_, I, A> {
    fn run(&mut self) -> Result<(), (u32, Error)> {
        self.out.clear();
        self.reserve().map_err(|error| (0, error))?;
        self.lay_out();
        self.settle_aliases();
        self.fix_original_branches();
        self.fix_noted_branches();
        self.overlong.sort_by_key(|branch| branch.from);
        self.fault.map_or(Ok(()), Err)
    }

    fn reserve(&mut self) -> Result<(), Error> {
        let (old, inserted) = (self.list.original.len(), self.list.inserted.len());
        let Linear { units, aux, map, .. } = &mut *self.out;
        let words = self.list.base as usize / WORD;
        let reserved = units
            .try_reserve(old + inserted + SLACK)
            .and_then(|()| aux.try_reserve(old + inserted + SLACK))
            .and_then(|()| map.labels.try_reserve(old + 1))
            .and_then(|()| map.inserted.try_reserve(inserted))
            .and_then(|()| map.dead.try_reserve(words))
            .and_then(|()| map.inner.try_reserve(words));
        reserved.map_err(|_| Error::OutOfMemory)?;
        map.base = self.list.base;
        map.inserted.resize(inserted, NOWHERE);
        map.dead.extend_from_slice(&self.list.dead.words()[..words]);
        map.inner.extend_from_slice(&self.list.inner.words()[..words]);
        Ok(())
    }

    #[inline]
    fn position(&self) -> u32 {
        to_u32(self.out.units.len())
    }

    /// Original code: untouched stretches as blocks, and what was edited or deleted between them.
    fn lay_out(&mut self) {
        let (list, end) = (self.list, self.list.original.len());
        let touched = list.edited.words().iter().zip(list.dead.words());
        let mut at = 0;
        for (word, (edited, dead)) in touched.take(end.div_ceil(WORD)).enumerate() {
            for touched in (Ones { bits: edited | dead, base: word * WORD }) {
                if touched >= end {
                    break;
                }
                if touched >= at {
                    self.copy_original(at..touched);
                    at = self.touch(touched);
                }
            }
        }
        self.copy_original(at..end);
        self.weave(list.end());
        self.out.map.new_len = self.position();
    }

    /// An original instruction that was edited or deleted. Returns where the next one begins.
    #[inline]
    fn touch(&mut self, at: usize) -> usize {
        let handle = Handle::new(to_u32(at));
        let next = at + self.list.len_at(handle);
        if self.list.edited.get(at) {
            self.weave(handle);
        } else {
            self.out.map.labels.resize(next, to_u32(self.out.units.len()));
        }
        next
    }

    #[inline]
    fn copy_original(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        let (list, new) = (self.list, self.position());
        let Linear { units, aux, map, .. } = &mut *self.out;
        units.extend_from_slice(&list.original[range.clone()]);
        aux.extend_from_slice(&list.aux[range.clone()]);
        map.labels.extend(new..new + to_u32(range.len()));
    }

    /// One original instruction, and all that stands around it.
    #[inline]
    fn weave(&mut self, anchor: Handle) {
        let (list, start) = (self.list, self.position());
        let own = match list.edited.get(anchor.at()).then(|| list.slots.get(anchor.at())) {
            Some(Slot::Lone(id)) if self.is_clean(list.run(RunId(Handle::new(id)))) => {
                self.weave_lone(anchor, list.run(RunId(Handle::new(id))))
            }
            _ => self.weave_site(anchor),
        };
        if self.out.map.labels[anchor.at()] != start || !self.out.aliases.is_empty() {
            self.out.map.starts.push((anchor.index(), start));
        }
        if list.inner.get(anchor.at() + 1) {
            self.label_inner_units(anchor, own);
        }
    }

    /// An instruction with one run that was not edited in its turn. Returns where it went itself.
    #[inline]
    fn weave_lone(&mut self, anchor: Handle, run: &Run) -> u32 {
        let live = !self.list.dead.get(anchor.at());
        let label = |sweep: &mut Self| sweep.out.map.labels.push(sweep.position());
        match run.chain() {
            Chain::Body if live => {
                label(self);
                let own = self.position();
                self.copy_run(run, run.start);
                // The first instruction of the run goes by the name of the anchor, and so does its fact.
                if size_of::<A>() != 0 {
                    self.out.aux[own as usize] = self.list.aux[anchor.at()];
                }
                own
            }
            Chain::Body | Chain::Post => {
                label(self);
                let own = self.copy_if_live(anchor, anchor);
                self.copy_run(run, self.list.run_start(run));
                own
            }
            Chain::Pre => {
                label(self);
                self.copy_run(run, run.start);
                self.copy_if_live(anchor, anchor)
            }
            Chain::Fall => {
                self.copy_run(run, run.start);
                label(self);
                self.copy_if_live(anchor, anchor)
            }
        }
    }

    /// The general case. Returns where the instruction went itself.
    fn weave_site(&mut self, anchor: Handle) -> u32 {
        let list = self.list;
        let mut own = 0;
        let mut place = Place::Before(anchor);
        while place != Place::After(anchor) {
            match place {
                Place::Run(id) if self.is_clean(list.run(id)) => {
                    let run = list.run(id);
                    self.copy_run(run, list.run_start(run));
                    place = Place::RunEnd(id);
                }
                Place::Label(handle) => self.set_label(handle),
                Place::Own(handle) => {
                    let new = self.copy_if_live(handle, anchor);
                    if handle == anchor {
                        own = new;
                    }
                }
                _ => {}
            }
            place = list.step(place);
        }
        own
    }

    /// Labels the units after the first of an original instruction that was edited.
    #[cold]
    fn label_inner_units(&mut self, anchor: Handle, own: u32) {
        let (list, new) = (self.list, self.position());
        let Linear { map, .. } = &mut *self.out;
        let inner = list.len_at(anchor) - 1;
        if list.is_live(anchor) && list.body(anchor) == anchor {
            map.labels.extend(own + 1..=own + to_u32(inner));
        } else {
            map.labels.resize(map.labels.len() + inner, new);
            for at in anchor.at() + 1..=anchor.at() + inner {
                map.dead[at / WORD] |= 1 << (at % WORD);
            }
        }
    }

    /// Whether all of a run is to be laid out as it stands.
    #[inline]
    fn is_clean(&self, run: &Run) -> bool {
        let (edited, dead) = (&self.list.edited, &self.list.dead);
        if !self.list.nested {
            // Then only labels are dead.
            return !dead.get(run.start.at());
        }
        let range = run.start.at()..run.end as usize;
        !edited.any(range.clone()) && !dead.any(range)
    }

    /// The units of a run from `start` on.
    #[inline]
    fn copy_run(&mut self, run: &Run, start: Handle) {
        let (list, new) = (self.list, self.position());
        let (at, len) = (start.at(), (run.end - start.index()) as usize);
        if len > WORD || window(list.branch.bits.words(), at, len) != 0 {
            self.note_branches(at..at + len, new);
        }
        let from = (start.index() - list.base) as usize;
        let Linear { units, aux, map, .. } = &mut *self.out;
        copy_short(units, &list.inserted, from, len);
        if size_of::<A>() == 0 {
            aux.resize(units.len(), A::default());
        } else {
            copy_short(aux, &list.aux, at, len);
        }
        for (label, new) in map.inserted[from..from + len].iter_mut().zip(new..) {
            *label = new;
        }
    }

    /// Notes the branches of a piece of inserted code that goes to `new` and on.
    #[inline(never)]
    fn note_branches(&mut self, range: Range<usize>, new: u32) {
        let start = range.start;
        for at in ones(self.list.branch.bits.words(), range) {
            self.out.branches.push((Handle::new(to_u32(at)), new + to_u32(at - start)));
        }
    }

    /// An instruction inserted for `anchor`, or the anchor itself. Returns where it is, or would be.
    fn copy_if_live(&mut self, handle: Handle, anchor: Handle) -> u32 {
        let (list, new) = (self.list, self.position());
        if list.dead.get(handle.at()) {
            return new;
        }
        let body = list.body(handle);
        let Linear { units, aux, map, branches, .. } = &mut *self.out;
        if list.branch.bits.get(body.at()) {
            branches.push((body, new));
        }
        units.extend_from_slice(list.units(body));
        aux.push(list.aux[handle.at()]);
        aux.resize(units.len(), A::default());
        if handle == anchor && map.labels[anchor.at()] != new {
            map.own.push((anchor.index(), new));
        }
        new
    }

    /// A branch to `handle` lands here, or on the label of the first instruction prepended to it.
    fn set_label(&mut self, handle: Handle) {
        let (list, new) = (self.list, self.position());
        if let Some(last) = list.site(handle).and_then(|site| site.pre) {
            let first = list.run(list.run(last).next()).start;
            if list.edited.get(first.at()) {
                self.out.aliases.push((handle, first));
            }
        }
        let map = &mut self.out.map;
        match handle.index().checked_sub(list.base) {
            None => map.labels.push(new),
            Some(at) => map.inserted[at as usize] = new,
        }
    }

    /// Sets labels that coincide with labels inside prepended code, innermost first.
    fn settle_aliases(&mut self) {
        let Linear { map, aliases, .. } = &mut *self.out;
        for &(label, inside) in aliases.iter().rev() {
            let new = map.inserted[(inside.index() - map.base) as usize];
            match label.index().checked_sub(map.base) {
                None => map.labels[label.at()] = new,
                Some(at) => map.inserted[at as usize] = new,
            }
        }
    }

    /// Branches of original instructions that nothing was done to: each is at its label.
    fn fix_original_branches(&mut self) {
        let list = self.list;
        let words = list.base as usize / WORD;
        let branch = list.branch.bits.words()[..words].iter();
        let touched = list.edited.words().iter().zip(list.dead.words());
        for (word, (branch, (edited, dead))) in branch.zip(touched).enumerate() {
            for at in (Ones { bits: branch & !edited & !dead, base: word * WORD }) {
                self.fix_branch(Handle::new(to_u32(at)), self.out.map.labels[at]);
            }
        }
    }

    fn fix_noted_branches(&mut self) {
        for noted in 0..self.out.branches.len() {
            let (at, from) = self.out.branches[noted];
            self.fix_branch(at, from);
        }
    }

    /// Makes the branch whose units were at `at` and are at `from` lead to its target.
    #[inline]
    fn fix_branch(&mut self, at: Handle, from: u32) {
        let list = self.list;
        let Linear { units, map, .. } = &mut *self.out;
        let insn = &mut units[from as usize..][..list.len_at(at)];
        for field in 0..I::fields(insn) {
            let target = list.target_of(at, insn, field);
            let to = match target {
                Ok(target) if !list.inner.get(target.at()) => map.new_of_handle(target),
                _ => None,
            };
            let Some(to) = to.filter(|&to| to < map.new_len) else {
                let error = nowhere_to_go(list, map, from, target);
                return self.fail(from, error);
            };
            let displacement = i64::from(to) - i64::from(from) - I::base(insn, field);
            let range = I::range(insn, field);
            if !range.contains(&displacement) {
                let (min, max) = (*range.start(), *range.end());
                let origin = map.origin(from).position();
                let error = Error::OutOfRange { origin, from, to, displacement, min, max };
                self.overlong.push(Overlong { at, field, from, error });
                continue;
            }
            I::write(insn, field, displacement);
        }
    }

    #[cold]
    fn fail(&mut self, from: u32, error: Error) {
        if self.fault.is_none_or(|(first, _)| from < first) {
            self.fault = Some((from, error));
        }
    }
}

/// Why the target of a branch is no place.
#[cold]
fn nowhere_to_go<I: Isa, A>(
    list: &List<'_, I, A>,
    map: &Map,
    from: u32,
    target: Result<Handle, i64>,
) -> Error {
    let origin = map.origin(from).position();
    match target {
        Err(target) => Error::BranchOutside { origin, target },
        Ok(target) if list.inner.get(target.at()) => {
            Error::BranchIntoInsn { origin, target: i64::from(target.index()) }
        }
        Ok(target) if list.is_insn(target) => Error::DeletedTail { origin, target },
        Ok(target) => Error::NoSuchInsn(target),
    }
}

/// Appends `from[at..at + len]` to `to`: a short piece by a copy of fixed width, which is several times as
/// fast as a call that copies a few bytes.
#[inline]
fn copy_short<T: Copy>(to: &mut Vec<T>, from: &[T], at: usize, len: usize) {
    match from[at..].first_chunk::<SLACK>() {
        Some(chunk) if len <= SLACK => {
            let end = to.len() + len;
            to.extend_from_slice(chunk);
            to.truncate(end);
        }
        _ => to.extend_from_slice(&from[at..at + len]),
    }
}
