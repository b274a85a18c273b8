//! [`List::linearize`]: lays the list out in one sweep, then fixes every branch with two look-ups.

use alloc::vec::Vec;

use super::fill;
use super::layout::Layout;
use super::map::Map;
use super::retarget::{Overlong, Retarget};
use super::words::WORD;
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
    /// Branches that are to be fixed after the layout: their units in the list, and where they are now.
    pub(super) branches: Vec<(Handle, u32)>,
    /// A label, and the label inside its prepended code that it coincides with, while that is laid out.
    pub(super) aliases: Vec<(Handle, Handle)>,
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
    pub(super) fn clear(&mut self) {
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
        let result = self.sweep(out, overlong);
        if result.is_err() {
            out.clear();
        }
        result
    }

    fn sweep(&self, out: &mut Linear<I::Unit, A>, overlong: &mut Vec<Overlong>) -> Result<(), (u32, Error)> {
        debug_assert_eq!(self.check(), Ok(()), "before linearization");
        self.prepare(out).map_err(|error| (0, error))?;
        let new_len = Layout::new(self, out).run().map_err(|error| (0, error))?;
        debug_assert_eq!(new_len, self.live as usize);
        out.units.truncate(new_len);
        out.aux.truncate(new_len);
        let Linear { units, map, branches, .. } = out;
        let mut retarget = Retarget::new(self, units, map, overlong);
        retarget.inserted_branches();
        retarget.other_branches(branches);
        retarget.finish()
    }

    /// Makes the output as long as it will be, and some more.
    fn prepare(&self, out: &mut Linear<I::Unit, A>) -> Result<(), Error> {
        let Linear { units, aux, map, branches, aliases } = out;
        branches.clear();
        aliases.clear();
        let original = &self.words[..self.base as usize / WORD];
        map.prepare(self.original_len(), self.live, self.fresh() as usize, original)?;
        let len = self.live as usize + fill::SLACK;
        resize(units, len, I::Unit::default())?;
        resize(aux, len, A::default())
    }
}

/// Makes `column` this long, whatever it held.
pub(super) fn resize<T: Copy>(column: &mut Vec<T>, len: usize, value: T) -> Result<(), Error> {
    column.truncate(len);
    column.try_reserve_exact(len - column.len()).map_err(|_| Error::OutOfMemory)?;
    column.resize(len, value);
    Ok(())
}
