//! [`Place`] and [`List::step`]: the order in which a list stands, one step at a time.

use super::handle::to_u32;
use super::site::{Chain, RunId};
use super::{Handle, Isa, List};

/// A point of the layout of a list. What stands around an instruction comes in the order of
/// the variants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// Before all that stands around an instruction.
    Before(Handle),
    /// Where a branch to the instruction lands, unless something is prepended to it.
    Label(Handle),
    /// The instruction itself.
    Own(Handle),
    /// After all that stands around it.
    After(Handle),
    /// Before a run.
    Run(RunId),
    /// After a run.
    RunEnd(RunId),
    /// One past everything.
    End,
}

impl<I: Isa, A> List<'_, I, A> {
    /// The place after `place`.
    ///
    /// O(1); every place is stepped on once in a walk.
    pub(super) fn step(&self, place: Place) -> Place {
        match place {
            Place::Before(handle) => match self.site(handle).and_then(|site| site.fall) {
                Some(last) => Place::Run(self.run(last).next()),
                None => Place::Label(handle),
            },
            Place::Label(handle) => match self.site(handle).and_then(|site| site.pre) {
                Some(last) => Place::Run(self.run(last).next()),
                None => Place::Own(handle),
            },
            Place::Own(handle) => match self.site(handle).and_then(|site| site.post) {
                Some(last) => Place::Run(self.run(last).next()),
                None => Place::After(handle),
            },
            Place::After(handle) => self.after(handle),
            Place::Run(id) => self.enter(id),
            Place::RunEnd(id) => self.after_run(id),
            Place::End => Place::End,
        }
    }

    fn enter(&self, id: RunId) -> Place {
        let run = self.run(id);
        let start = self.run_start(run);
        if start.index() < run.end { Place::Before(start) } else { Place::RunEnd(id) }
    }

    fn after(&self, handle: Handle) -> Place {
        if handle == self.end() {
            return Place::End;
        }
        let next = Handle::new(handle.index() + to_u32(self.len_at(handle)));
        if handle.index() < self.base {
            return Place::Before(next);
        }
        let run = self.run_of(handle);
        if next.index() < self.run(run).end { Place::Before(next) } else { Place::RunEnd(run) }
    }

    /// The place at unit `at` of the piece of code that ends at `end`.
    pub(super) fn place_in(&self, at: usize, end: usize) -> Place {
        if at < end || end == self.original.len() {
            Place::Before(Handle::new(to_u32(at)))
        } else {
            Place::RunEnd(self.run_of(Handle::new(to_u32(end - 1))))
        }
    }

    fn after_run(&self, id: RunId) -> Place {
        let run = self.run(id);
        if self.site(run.anchor).and_then(|site| site.chain(run.chain())) != Some(id) {
            return Place::Run(run.next());
        }
        match run.chain() {
            Chain::Fall => Place::Label(run.anchor),
            Chain::Pre => Place::Own(run.anchor),
            Chain::Post | Chain::Body => Place::After(run.anchor),
        }
    }

    /// The first live instruction in the order of the list, from `place` on. Steps over all that is deleted
    /// between two edited instructions at once.
    pub(super) fn seek(&self, mut place: Place) -> Option<Handle> {
        loop {
            place = match place {
                Place::End => return None,
                Place::Own(handle) if !self.words.is_dead(handle.at()) => return Some(handle),
                Place::Before(handle) => {
                    let end = self.piece_end(handle);
                    let at =
                        self.words.find(handle.at()..end, |word| word.edited | !(word.dead | word.inner));
                    let found = Handle::new(to_u32(at));
                    if at < end && !self.words.is_edited(at) {
                        return Some(found);
                    }
                    if at == handle.at() { self.step(place) } else { self.place_in(at, end) }
                }
                _ => self.step(place),
            }
        }
    }

    /// The first live instruction.
    #[must_use]
    pub fn first(&self) -> Option<Handle> {
        self.seek(Place::Before(Handle::new(0)))
    }

    /// The live instruction that follows `handle`, which may be deleted itself, or `None` at the
    /// end of the list or for a handle that is none of its own.
    ///
    /// O(1), amortized over a walk through the list.
    #[must_use]
    pub fn next(&self, handle: Handle) -> Option<Handle> {
        if !self.is_insn(handle) {
            return None;
        }
        self.seek(self.step(Place::Own(handle)))
    }

    /// The live instructions in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = Handle> + '_ {
        core::iter::successors(self.first(), |&handle| self.next(handle))
    }
}
