//! [`List::linearize`]: lays the list out in one sweep, then makes every branch lead to where its target went.

pub(super) mod branches;
mod fill;
mod sweep;

use alloc::vec::Vec;

use super::columns::WORD;
use super::handle::to_u32;
use super::map::{self, Map, MapWord};
use super::{Error, Handle, Isa, List};
use branches::{Aim, Overlong};
use sweep::Sweep;

/// A linearized program.
#[derive(Clone, Debug)]
pub struct Linear<U, A = ()> {
    /// The units.
    pub units: Vec<U>,
    /// The fact of each unit; that of an instruction is at its first unit.
    pub aux: Vec<A>,
    /// Where everything went.
    pub map: Map,
    /// Branches that are to be fixed after the sweep: their units in the list, and where they are now.
    branches: Vec<(Handle, u32)>,
    /// A label, and the label inside its prepended code that it coincides with, while that is laid out.
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
    /// [`Error::BranchOutside`], [`Error::BranchIntoInsn`], [`Error::DeletedTail`], [`Error::PastEnd`],
    /// [`Error::OutOfRange`] for the first live branch that has no place to go; [`Error::OutOfMemory`]. `out` is empty
    /// then.
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
        let result = self.phases(out, overlong);
        if result.is_err() {
            out.clear();
        }
        result
    }

    fn phases(&self, out: &mut Linear<I::Unit, A>, overlong: &mut Vec<Overlong>) -> Result<(), (u32, Error)> {
        self.check_before_linearization();
        self.prepare(out).map_err(|error| (0, error))?;
        let Linear { units, aux, map, branches, aliases } = out;
        let new_len =
            Sweep::new(self, units, aux, map, branches, aliases).run().map_err(|error| (0, error))?;
        debug_assert_eq!(new_len, self.live_len() as usize);
        units.truncate(new_len);
        aux.truncate(new_len);
        let mut aim = Aim::new(self, units, map, overlong);
        aim.inserted_branches();
        aim.noted_branches(branches);
        aim.finish()
    }

    /// Makes the output as long as it will be, and some more.
    fn prepare(&self, out: &mut Linear<I::Unit, A>) -> Result<(), Error> {
        let Linear { units, aux, map, branches, aliases } = out;
        let columns = &self.columns;
        branches.clear();
        aliases.clear();
        map.own.clear();
        map.starts.clear();
        map.wide.clear();
        (map.old_len, map.new_len) = (self.original_len(), self.live_len());
        let words = columns.original.len() / WORD + 1;
        map::resize(&mut map.words, words, MapWord::default())?;
        let rows = (0..words).filter(|&word| columns.words.touched(word) != 0).count() + 1;
        map::resize(&mut map.rows, rows * WORD, 0)?;
        copy_bits(&mut map.dead, &columns.words.dead[..words])?;
        copy_bits(&mut map.inner, &columns.words.inner[..words])?;
        let chunks = columns.chunks().map(|chunk| (chunk.start, chunk.end()));
        map.records.prepare(columns.records.len(), columns.records.starts(), chunks)?;
        let len = self.live_len() as usize + fill::SLACK;
        map::resize(units, len, I::Unit::default())?;
        map::resize(aux, len, A::default())
    }
}

/// Makes a column of bits the same as another one.
fn copy_bits(to: &mut Vec<u64>, from: &[u64]) -> Result<(), Error> {
    to.clear();
    map::reserve(to, from.len())?;
    to.extend_from_slice(from);
    Ok(())
}

/// The handle of a unit.
fn handle(at: usize) -> Handle {
    Handle::new(to_u32(at))
}
