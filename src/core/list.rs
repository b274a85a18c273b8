//! [`List`]: a program under edit, and what can be asked of it.

use core::fmt;

use super::columns::{self, Columns, WORD};
use super::handle::to_u32;
use super::{Arena, Error, Handle, Isa};

/// A program under edit.
///
/// The list borrows the original program and keeps what edits insert in its [`Arena`]. `A` is the
/// type of a fact (aux datum) that each instruction carries; `()` costs nothing.
///
/// | operation | time |
/// | --- | --- |
/// | [`new`](List::new) | O(units) |
/// | an edit | O(units of the patch), amortized |
/// | [`next`](List::next), a cursor's step | O(1), amortized over a walk |
/// | [`linearize`](List::linearize) | O(units + inserted units), whatever the number of edits |
///
/// ```
/// use std::ops::RangeInclusive;
///
/// use relinear::{Arena, Handle, Isa, List};
///
/// /// An instruction is a byte; `j` has no displacement here, so that there are none at all.
/// #[derive(Clone, Copy, Default)]
/// struct Letters;
///
/// impl Isa for Letters {
///     type Unit = u8;
///     fn len(&self, units: &[u8]) -> Option<usize> {
///         units.first().map(|_| 1)
///     }
///     fn fields(&self, _: &[u8]) -> usize {
///         0
///     }
///     fn base(&self, _: &[u8], _: usize) -> i64 {
///         0
///     }
///     fn read(&self, _: &[u8], _: usize) -> i64 {
///         0
///     }
///     fn range(&self, _: &[u8], _: usize) -> RangeInclusive<i64> {
///         0..=0
///     }
///     fn write(&self, _: &mut [u8], _: usize, _: i64) {}
/// }
///
/// # fn main() -> Result<(), relinear::Error> {
/// let arena = Arena::new();
/// let mut list = List::<Letters>::new(&arena, b"abc")?;
/// let inserted = list.replace(Handle::new(1), &b"xyz"[..])?;
/// list.delete(Handle::new(0))?;
/// list.append(inserted.at(2), &b"!"[..])?;
/// assert_eq!(list.linearize()?.units, b"xyz!c");
/// # Ok(())
/// # }
/// ```
pub struct List<'a, I: Isa, A = ()> {
    pub(super) arena: &'a Arena,
    pub(super) isa: I,
    pub(super) columns: Columns<'a, I::Unit, A>,
}

impl<'a, I: Isa + Default> List<'a, I> {
    /// A list over `program`, without facts.
    ///
    /// O(units).
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`], [`Error::OutOfMemory`], or [`Error::BadInsn`] where the program does not
    /// divide into instructions.
    pub fn new(arena: &'a Arena, program: &'a [I::Unit]) -> Result<Self, Error> {
        List::with_isa(I::default(), arena, program, &[])
    }
}

impl<'a, I: Isa + Default, A: Copy + Default> List<'a, I, A> {
    /// A list over `program`, with a fact for each of its units; missing ones are the default. That
    /// of an instruction is at its first unit, the others do not count.
    ///
    /// O(units).
    ///
    /// # Errors
    ///
    /// As [`new`](List::new).
    pub fn with_aux(arena: &'a Arena, program: &'a [I::Unit], aux: &[A]) -> Result<Self, Error> {
        List::with_isa(I::default(), arena, program, aux)
    }
}

impl<'a, I: Isa, A: Copy + Default> List<'a, I, A> {
    /// As [`with_aux`](List::with_aux), for an instruction set that has a state.
    ///
    /// O(units).
    ///
    /// # Errors
    ///
    /// As [`new`](List::new).
    pub fn with_isa(isa: I, arena: &'a Arena, program: &'a [I::Unit], aux: &[A]) -> Result<Self, Error> {
        let units = program.len();
        let base = units
            .checked_add(1)
            .and_then(|units| units.checked_next_multiple_of(WORD))
            .filter(|&base| base <= Handle::MAX as usize && units <= arena.limits().units as usize)
            .ok_or(Error::TooLong { units })?;
        let most = most_inserted(arena, units, base);
        let mut list = Self { arena, isa, columns: Columns::new(arena, program, base, most)? };
        list.scan()?;
        list.take_facts(aux);
        Ok(list)
    }

    /// Finds the instructions and branches of the original program.
    fn scan(&mut self) -> Result<(), Error> {
        let columns = &mut self.columns;
        let (units, mut over) = (columns.original.len(), 0);
        for (word, at) in (0..units).step_by(WORD).enumerate() {
            let marks = self
                .isa
                .scan(&columns.original[at..], over)
                .map_err(|unit| Error::BadInsn { at: to_u32(at + unit) })?;
            over = marks.over;
            columns.words.inner[word] = marks.inner;
            columns.words.branch[word] = marks.branch;
            columns.several |= marks.several;
        }
        if over > 0 {
            // An instruction set that says so breaks its contract.
            return Err(Error::BadInsn { at: to_u32(units) });
        }
        Ok(())
    }

    fn take_facts(&mut self, aux: &[A]) {
        let columns = &mut self.columns;
        let Some(facts) = columns.facts.sized_mut() else { return };
        let given = aux.len().min(columns.original.len());
        facts[..given].copy_from_slice(&aux[..given]);
        for (index, &inner) in columns.words.inner.iter().enumerate() {
            for inner in columns::ones(inner, index * WORD) {
                facts[inner] = A::default();
            }
        }
    }

    /// How many units may be inserted.
    pub(super) fn most_inserted(&self) -> usize {
        most_inserted(self.arena, self.columns.original.len(), self.columns.base)
    }
}

/// The position that a displacement leads to, counted from `base` behind position `at`; what no `i64` holds is cut to it.
pub(super) fn reached(at: u32, base: i64, displacement: i64) -> i64 {
    let target = i128::from(at) + i128::from(base) + i128::from(displacement);
    let end = if target < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(target).unwrap_or(end)
}

/// How many units may be inserted into a list of `units`.
fn most_inserted(arena: &Arena, units: usize, base: usize) -> usize {
    (arena.limits().units as usize - units).min(Handle::MAX as usize - base)
}

impl<I: Isa, A> List<'_, I, A> {
    /// The instruction set.
    pub fn isa(&self) -> &I {
        &self.isa
    }

    /// How many units the original program has.
    ///
    /// O(1).
    #[must_use]
    pub fn original_len(&self) -> u32 {
        to_u32(self.columns.original.len())
    }

    /// How many live units there are: as many as linearization lays out.
    ///
    /// O(1).
    #[must_use]
    pub fn live_len(&self) -> u32 {
        self.columns.live
    }

    /// The handle that stands for one past the end of the original program.
    ///
    /// O(1). It can be prepended to, which adds code at the end.
    #[must_use]
    pub fn end(&self) -> Handle {
        Handle::new(self.original_len())
    }

    /// The units of an instruction as they stand now, or `None` if it was deleted or is not one.
    ///
    /// O(units of it). The displacements of branches are those that were given: they are
    /// recomputed at linearization, see [`target`](List::target).
    #[inline]
    #[must_use]
    pub fn insn(&self, handle: Handle) -> Option<&[I::Unit]> {
        let columns = &self.columns;
        let at = handle.at();
        if at < columns.base {
            let (word, bit) = (at / WORD, at % WORD);
            let words = &columns.words;
            if (words.inner[word] | words.dead[word]) >> bit & 1 != 0 {
                return None;
            }
            if words.edited[word] >> bit & 1 == 0 {
                return Some(&columns.original[at..][..words.len_at(at)]);
            }
        } else if !self.is_live(handle) {
            return None;
        }
        Some(columns.units(columns.body(at)))
    }

    /// Whether the handle names an instruction that has not been deleted.
    ///
    /// O(1).
    #[inline]
    #[must_use]
    pub fn is_live(&self, handle: Handle) -> bool {
        self.columns.is_insn(handle) && !self.columns.is_dead(handle.at())
    }

    /// The fact of an instruction.
    ///
    /// O(1).
    #[must_use]
    pub fn aux(&self, handle: Handle) -> Option<&A> {
        self.is_live(handle).then(|| self.columns.fact(handle.at()))
    }

    /// The fact of an instruction, to change.
    ///
    /// O(1).
    #[must_use]
    pub fn aux_mut(&mut self, handle: Handle) -> Option<&mut A> {
        self.is_live(handle).then(|| self.columns.fact_mut(handle.at()))
    }

    /// Where displacement field `field` of a live instruction leads.
    ///
    /// O(1). `None` if the instruction has no such field, or leads out of the program.
    #[must_use]
    pub fn target(&self, handle: Handle, field: u32) -> Option<Handle> {
        let insn = self.insn(handle)?;
        if field as usize >= self.isa.fields(insn) {
            return None;
        }
        self.target_of(self.columns.body(handle.at()), insn, field as usize).ok()
    }

    /// The target of field `field` of the branch whose first unit is at `at`, or the position out of
    /// the program that it leads to.
    pub(super) fn target_of(&self, at: usize, insn: &[I::Unit], field: usize) -> Result<Handle, i64> {
        if at >= self.columns.base {
            let first = self.columns.targets_of(&self.isa, at);
            return self.columns.targets.get(first + field).copied().ok_or(-1);
        }
        let target = reached(to_u32(at), self.isa.base(insn, field), self.isa.read(insn, field));
        match usize::try_from(target) {
            Ok(index) if index < self.columns.original.len() => Ok(Handle::new(to_u32(index))),
            _ => Err(target),
        }
    }
}

impl<I: Isa, A> Drop for List<'_, I, A> {
    fn drop(&mut self) {
        let base = self.columns.base;
        self.arena.note(self.columns.usage(), |usage| columns::bytes::<I::Unit, A>(base, usage));
    }
}

/// How long the list is, and how much was edited; [`iter`](List::iter) leads to the instructions.
impl<I: Isa, A> fmt::Debug for List<'_, I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("original_len", &self.original_len())
            .field("live_len", &self.live_len())
            .field("inserted", &self.columns.inserted)
            .field("edits", &self.columns.records.len())
            .finish()
    }
}

#[cfg(all(test, feature = "bpf"))]
mod tests;
