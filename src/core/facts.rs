//! [`Facts`]: what a host knows of each instruction, by handle index.

use core::ops::{Index, IndexMut};

use bumpalo::Bump;
use bumpalo::collections::{CollectionAllocErr, Vec};

use super::room::extend_short;

/// A column of facts. Facts without a size take neither room nor time.
pub(super) struct Facts<'a, A> {
    facts: Vec<'a, A>,
}

impl<'a, A: Copy + Default> Facts<'a, A> {
    const SIZED: bool = size_of::<A>() != 0;

    pub(super) fn new_in(bump: &'a Bump) -> Self {
        Self { facts: Vec::new_in(bump) }
    }

    /// Makes room for facts below `len`.
    pub(super) fn try_reserve(&mut self, len: usize) -> Result<(), CollectionAllocErr> {
        if Self::SIZED { self.facts.try_reserve_exact(len - self.facts.len()) } else { Ok(()) }
    }

    /// Takes `len` facts from now on; new ones are the default.
    pub(super) fn resize(&mut self, len: usize) {
        self.facts.resize(if Self::SIZED { len } else { 1 }, A::default());
    }

    /// Appends `N` facts, for which there is room.
    #[inline]
    pub(super) fn extend<const N: usize>(&mut self) {
        if Self::SIZED {
            extend_short(&mut self.facts, &[A::default(); N]);
        }
    }

    /// The facts, if they have a size.
    #[inline]
    pub(super) fn sized(&self) -> Option<&[A]> {
        Self::SIZED.then_some(&self.facts[..])
    }

    #[inline]
    pub(super) fn sized_mut(&mut self) -> Option<&mut [A]> {
        Self::SIZED.then_some(&mut self.facts[..])
    }
}

impl<A> Facts<'_, A> {
    /// Whether there is a fact for each of `len` units.
    pub(super) fn fit(&self, len: usize) -> bool {
        self.facts.len() == if size_of::<A>() == 0 { 1 } else { len }
    }
}

impl<A> Index<usize> for Facts<'_, A> {
    type Output = A;

    #[inline]
    fn index(&self, at: usize) -> &A {
        &self.facts[if size_of::<A>() == 0 { 0 } else { at }]
    }
}

impl<A> IndexMut<usize> for Facts<'_, A> {
    #[inline]
    fn index_mut(&mut self, at: usize) -> &mut A {
        &mut self.facts[if size_of::<A>() == 0 { 0 } else { at }]
    }
}
