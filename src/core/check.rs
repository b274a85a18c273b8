//! [`List::check`]: whether the invariants of a list hold, by the numbers that `list.rs` gives them.

use core::fmt;

use super::handle::to_u32;
use super::list::Window;
use super::site::{Chain, Slot};
use super::words::{WORD, Word, ones};
use super::{Handle, Isa, List};

/// Lists with fewer units are checked after each edit.
const SHORT: usize = 256;

/// An invariant of a [`List`] that does not hold: a bug in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken {
    invariant: u8,
    at: u32,
}

impl Broken {
    /// The number of the invariant, as at the head of `src/core/list.rs`.
    #[must_use]
    pub const fn invariant(self) -> u8 {
        self.invariant
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {} of the list does not hold at {}", self.invariant, self.at)
    }
}

impl core::error::Error for Broken {}

/// That `holds`, or else that invariant `invariant` is broken at the handle index `at`.
fn ensure(holds: bool, invariant: u8, at: usize) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { invariant, at: to_u32(at) }) }
}

impl<I: Isa, A> List<'_, I, A> {
    /// Whether every invariant of the list holds. For tests: a broken one is a bug in this crate, and no
    /// edit can bring it about.
    ///
    /// O(units + inserted units), in no memory of its own. Debug builds check each list before it is linearized,
    /// and after edits: after each one if the list is short.
    ///
    /// # Errors
    ///
    /// The first invariant found broken.
    pub fn check(&self) -> Result<(), Broken> {
        self.check_columns()?;
        self.check_runs()?;
        self.check_insns()?;
        self.check_dead()?;
        self.check_slots()?;
        self.check_chains()?;
        self.check_window()?;
        self.check_targets()
    }

    /// Checks the list after an edit in debug builds: after each one if it is short, and else so rarely that it costs an
    /// edit no more than that. Miri, to which it would be minutes, has those before each linearization.
    ///
    /// # Panics
    ///
    /// If an invariant is broken.
    #[inline]
    pub(super) fn check_edit(&mut self) {
        if cfg!(all(debug_assertions, not(miri))) {
            self.unchecked += 1;
            if self.unchecked > (self.len() / SHORT).pow(2) {
                self.unchecked = 0;
                assert_eq!(self.check(), Ok(()), "after an edit");
            }
        }
    }

    fn len(&self) -> usize {
        self.base as usize + self.inserted.len()
    }

    /// Every handle index of an instruction, or of what can be taken for one: a label, the end.
    fn insns(&self) -> impl Iterator<Item = usize> + '_ {
        let units = self.original.len();
        (0..=units).chain(self.base as usize..self.len()).filter(|&at| !self.words.is_inner(at))
    }

    fn is_branch(&self, at: usize) -> bool {
        self.words.has(at, |word| word.branch)
    }

    fn check_columns(&self) -> Result<(), Broken> {
        let len = self.len();
        ensure(self.aux.fit(len) && self.words.len() == len.div_ceil(WORD), 1, len)?;
        for at in len..len.next_multiple_of(WORD) {
            for column in [Word::touched, |word: &Word| word.inner, |word: &Word| word.branch] {
                ensure(!self.words.has(at, column), 1, at)?;
            }
        }
        Ok(())
    }

    /// Runs follow one another and divide into instructions.
    fn check_runs(&self) -> Result<(), Broken> {
        let mut ended = self.base;
        for (id, run) in self.runs.iter().enumerate() {
            let (start, end) = (run.start.index(), run.end);
            ensure(ended == start && start < end && end as usize <= self.len(), 3, id)?;
            let whole = !self.words.is_inner(start as usize) && !self.words.is_inner(end as usize);
            ensure(whole, 3, id)?;
            for at in start..end {
                let named = self.words[at as usize / WORD].run as usize;
                ensure(!(at as usize).is_multiple_of(WORD) || named == id, 3, id)?;
                ensure(self.run_of(Handle::new(at)).0.at() == id, 3, id)?;
            }
            let touched = self.words.find(start as usize..end as usize, Word::touched);
            ensure(run.is_touched() == (touched < run.code_end() as usize), 3, id)?;
            let labeled = run.is_labeled();
            ensure(!labeled || self.words.is_dead(end as usize - 1), 3, id)?;
            ensure(run.anchor < run.start && !self.words.is_inner(run.anchor.at()), 5, id)?;
            ended = end;
        }
        ensure(ended as usize == self.len(), 3, self.runs.len())
    }

    /// `inner` and `branch` say what the instruction set does.
    fn check_insns(&self) -> Result<(), Broken> {
        for at in 0..self.len() {
            if at >= self.original.len() && at < self.base as usize {
                let set = self.words.is_inner(at) || self.is_branch(at);
                ensure(!set, 1, at)?;
            } else if self.words.is_inner(at) {
                ensure(at != 0 && at != self.base as usize && !self.is_branch(at), 1, at)?;
            } else if !self.is_label(at) {
                let insn = self.units(Handle::new(to_u32(at)));
                ensure(I::len(insn) == Some(insn.len()), 1, at)?;
                ensure(self.is_branch(at) == (I::fields(insn) != 0), 1, at)?;
            }
        }
        Ok(())
    }

    /// Whether the unit at `at` is one that a patch asked for as a label, which is no instruction.
    fn is_label(&self, at: usize) -> bool {
        at >= self.base as usize && {
            let run = self.run(self.run_of(Handle::new(to_u32(at))));
            run.is_labeled() && run.end as usize == at + 1
        }
    }

    fn check_dead(&self) -> Result<(), Broken> {
        let live = self.insns().map(|at| Handle::new(to_u32(at))).filter(|&handle| self.is_live(handle));
        let units: usize = live.map(|handle| self.units(self.body(handle)).len()).sum();
        ensure(units == self.live as usize, 2, units)?;
        for at in self.insns() {
            let dead = self.words.is_dead(at);
            for unit in at..at + self.len_at(Handle::new(to_u32(at))) {
                ensure(self.words.is_dead(unit) == dead, 2, unit)?;
            }
        }
        for at in self.original.len()..self.base as usize {
            ensure(self.words.is_dead(at), 2, at)?;
        }
        Ok(())
    }

    /// There are as many slots that name a site as sites, none of which is empty, so that no two name the same: its runs hang
    /// at one instruction. Its body is the start of a run of that kind.
    fn check_slots(&self) -> Result<(), Broken> {
        let mut named = 0;
        for (index, word) in self.words.iter().enumerate() {
            ensure(word.bodies & !word.edited == 0, 4, index * WORD)?;
        }
        for at in (0..self.len()).filter(|&at| self.words.is_edited(at)) {
            let handle = Handle::new(to_u32(at));
            ensure(self.is_insn(handle), 4, at)?;
            let word = &self.words[at / WORD];
            if word.block == 0 {
                let edited = word.edited.count_ones();
                ensure((word.first_run + edited) as usize <= self.runs.len(), 4, at)?;
            }
            let is_body = matches!(self.slot(handle), Slot::Lone(id)
                if word.block == 0 && self.run(id).chain() == Chain::Body && !self.run(id).is_touched() && !self.run(id).is_labeled());
            ensure(word.bodies >> (at % WORD) & 1 == u64::from(is_body), 4, at)?;
            if let Slot::Site(site) = self.slot(handle) {
                let site = self.sites.get(site as usize).ok_or(Broken { invariant: 4, at: to_u32(at) })?;
                ensure(site.fall.or(site.pre).or(site.post).is_some(), 5, at)?;
                named += 1;
            }
            if let Some(body) = self.site(handle).and_then(|site| site.body) {
                let run = self.run(self.run_of(body));
                ensure(run.start == body && run.chain() == Chain::Body && run.anchor == handle, 6, at)?;
            }
        }
        ensure(named == self.sites.len(), 4, named)
    }

    /// Each run hangs in the one chain that its anchor and its kind say. A chain that is no ring would have no end.
    fn check_chains(&self) -> Result<(), Broken> {
        let mut hung = 0;
        for at in self.insns() {
            let Some(site) = self.site(Handle::new(to_u32(at))) else { continue };
            for (chain, last) in [(Chain::Fall, site.fall), (Chain::Pre, site.pre), (Chain::Post, site.post)]
            {
                let Some(last) = last else { continue };
                let mut id = last;
                loop {
                    ensure(id.0.at() < self.runs.len(), 5, at)?;
                    id = self.run(id).next();
                    let run = self.runs.get(id.0.at()).ok_or(Broken { invariant: 5, at: to_u32(at) })?;
                    let own = match run.chain() {
                        Chain::Body => Chain::Post,
                        chain => chain,
                    };
                    ensure(run.anchor.at() == at && own == chain && hung < self.runs.len(), 5, at)?;
                    hung += 1;
                    if id == last {
                        break;
                    }
                }
            }
        }
        ensure(hung == self.runs.len(), 5, hung)
    }

    fn check_window(&self) -> Result<(), Broken> {
        let Window { word: index, units, block } = self.window;
        if units == 0 {
            return Ok(());
        }
        let next = self.words[index].next_in_order(to_u32(self.runs.len()));
        for at in ones(units, index * WORD) {
            let plain = self.words.has(at, Word::plain) && self.words.len_at(at) == 1;
            let named = at < self.len() && self.is_insn(Handle::new(to_u32(at)));
            let next = block != 0 || next >> (at % WORD) & 1 != 0;
            ensure(plain && named && next && block == self.words[index].block, 7, at)?;
        }
        Ok(())
    }

    fn check_targets(&self) -> Result<(), Broken> {
        let mut branches = 0;
        for at in (self.base as usize..self.len()).filter(|&at| self.is_branch(at)) {
            ensure(self.words.branches_before(at) as usize == branches, 8, at)?;
            let own = self.targets.get(branches * I::MAX_FIELDS..(branches + 1) * I::MAX_FIELDS);
            let own = own.ok_or(Broken { invariant: 8, at: to_u32(at) })?;
            let fields = I::fields(self.units(Handle::new(to_u32(at))));
            for (field, target) in own.iter().enumerate() {
                let fits =
                    target.is_none_or(|target| target.at() < self.len() && !self.words.is_inner(target.at()));
                ensure(fits && target.is_some() == (field < fields), 8, at)?;
            }
            branches += 1;
        }
        ensure(self.targets.len() == branches * I::MAX_FIELDS, 8, self.targets.len())
    }
}

#[cfg(all(test, feature = "fuzzing"))]
mod tests;
