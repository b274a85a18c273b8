//! [`Relax`] and [`List::linearize_relaxed`]: longer forms for branches that no longer reach.

use alloc::vec::Vec;

use super::retarget::Overlong;
use super::site::Chain;
use super::{Branch, Error, Handle, Isa, Linear, List, Patch, Target};

/// An instruction set that has longer forms of branches.
pub trait Relax: Isa {
    /// Writes a longer form of `insn`, whose displacement field `field` does not reach its target, into
    /// `long`, which is empty. `false` if there is none.
    ///
    /// The longer form must reach farther, so that relaxing ends. `long` has room for 16 units and as many
    /// branches; a form that is longer allocates by itself, and has to look after memory.
    fn relax(insn: &[Self::Unit], field: usize, long: &mut LongForm<Self::Unit>) -> bool;
}

/// How many units and branches of a longer form there is room for.
const ROOM: usize = 16;

/// The longer form of a branch.
#[derive(Clone, Debug)]
pub struct LongForm<U> {
    /// The instructions. Branches between them hold their displacement.
    pub units: Vec<U>,
    /// Which branches of them go where the branch went, ascending: unit, displacement field, and the
    /// displacement field of the original whose target it takes.
    pub branches: Vec<(u32, u32, u32)>,
}

impl<U> LongForm<U> {
    /// Says that the next instruction to be pushed is a branch that goes, by its first field, where field
    /// `of` of the original went.
    ///
    /// # Panics
    ///
    /// If the form has 2^32 units.
    pub fn goto_target(&mut self, of: u32) {
        let unit = u32::try_from(self.units.len()).expect("a longer form is short");
        self.branches.push((unit, 0, of));
    }
}

impl<U> Default for LongForm<U> {
    fn default() -> Self {
        Self { units: Vec::new(), branches: Vec::new() }
    }
}

impl<I: Relax, A: Copy + Default> List<'_, I, A> {
    /// As [`linearize_into`](List::linearize_into), but branches that do not reach their targets take
    /// a longer form first: an edit to the list, after which their handles name the first instruction of
    /// that form. Returns how many did.
    ///
    /// A longer branch may push another one out of reach, so this goes in rounds until all reach. Each
    /// round relaxes at least one branch, and none twice unless its form reaches farther yet; in practice
    /// there are two or three. O(units + inserted units) a round.
    ///
    /// # Errors
    ///
    /// As [`linearize_into`](List::linearize_into); [`Error::OutOfRange`] for a branch that has no
    /// longer form. `out` is empty then; branches that took a longer form keep it.
    pub fn linearize_relaxed(&mut self, out: &mut Linear<I::Unit, A>) -> Result<u32, Error> {
        let relaxed = self.relax_all(out);
        if relaxed.is_err() {
            out.clear();
        }
        relaxed
    }

    fn relax_all(&mut self, out: &mut Linear<I::Unit, A>) -> Result<u32, Error> {
        let (mut overlong, mut long) = (Vec::new(), LongForm::default());
        let mut relaxed = 0;
        loop {
            self.linearize_reachable(out, &mut overlong).map_err(|(_, error)| error)?;
            if overlong.is_empty() {
                return Ok(relaxed);
            }
            // Fields of one branch come together, and a branch is relaxed once a round.
            overlong.dedup_by_key(|branch| branch.at);
            for branch in overlong.drain(..) {
                self.relax(&branch, &mut long)?;
                relaxed += 1;
            }
        }
    }

    fn relax(&mut self, branch: &Overlong, long: &mut LongForm<I::Unit>) -> Result<(), Error> {
        long.units.clear();
        long.branches.clear();
        long.units.try_reserve(ROOM).map_err(|_| Error::OutOfMemory)?;
        long.branches.try_reserve(ROOM).map_err(|_| Error::OutOfMemory)?;
        let handle = self.name_of(branch.at);
        if !I::relax(self.units(branch.at), branch.field, long) {
            return Err(branch.error);
        }
        let mut branches: Vec<Branch> = Vec::new();
        branches.try_reserve_exact(long.branches.len()).map_err(|_| Error::OutOfMemory)?;
        for &(unit, field, of) in &long.branches {
            let target = self.target(handle, of).ok_or(branch.error)?;
            branches.push(Branch::new(unit, Target::Handle(target)).field(field));
        }
        self.replace(handle, Patch::new(&long.units).branches(&branches))?;
        Ok(())
    }

    /// The handle of the instruction whose units begin at `at`.
    fn name_of(&self, at: Handle) -> Handle {
        if at.index() >= self.base {
            let run = self.run(self.run_of(at));
            if run.start == at && run.chain() == Chain::Body {
                return run.anchor;
            }
        }
        at
    }
}
