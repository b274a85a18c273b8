//! [`Facts`]: what a host knows of each instruction of a stretch of units.

use core::ops::{Index, IndexMut};

use bumpalo::Bump;
use bumpalo::collections::Vec;

use super::out_of_memory;
use crate::core::Error;

/// A column of facts. Facts without a size take neither room nor time.
#[derive(Debug)]
pub(in crate::core) struct Facts<'a, A> {
    facts: Vec<'a, A>,
}

impl<'a, A: Copy + Default> Facts<'a, A> {
    const SIZED: bool = size_of::<A>() != 0;

    /// No facts yet, with room for `room`.
    pub(in crate::core) fn new(bump: &'a Bump, room: usize) -> Result<Self, Error> {
        let mut facts = Vec::new_in(bump);
        if Self::SIZED {
            facts.try_reserve_exact(room).map_err(out_of_memory)?;
        } else {
            facts.push(A::default());
        }
        Ok(Self { facts })
    }

    pub(in crate::core) fn copy(&self, bump: &'a Bump) -> Result<Self, Error> {
        let mut copy = Self::new(bump, self.facts.capacity())?;
        copy.facts.clear();
        copy.facts.extend_from_slice_copy(&self.facts);
        Ok(copy)
    }

    /// Takes `len` facts from now on, for which there is room; new ones are the default.
    pub(in crate::core) fn resize(&mut self, len: usize) {
        if Self::SIZED {
            self.facts.resize(len, A::default());
        }
    }

    /// Appends `N` facts, for which there is room.
    #[inline]
    pub(super) fn extend<const N: usize>(&mut self) {
        if Self::SIZED {
            self.facts.extend_from_slice_copy(&[A::default(); N]);
        }
    }

    /// The facts, if they have a size.
    #[inline]
    pub(in crate::core) fn sized(&self) -> Option<&[A]> {
        Self::SIZED.then_some(&self.facts[..])
    }

    #[inline]
    pub(in crate::core) fn sized_mut(&mut self) -> Option<&mut [A]> {
        Self::SIZED.then_some(&mut self.facts[..])
    }
}

impl<A> Facts<'_, A> {
    /// Whether there is a fact for each of `len` units.
    pub(in crate::core) fn fit(&self, len: usize) -> bool {
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
