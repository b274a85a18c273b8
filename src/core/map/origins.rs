//! [`Origin`]: what a unit of the output is, one at a time or all in their order.

use super::{Map, bit, exception};

/// What a unit of the output is. Positions are of the original program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The original unit at this position, or the first unit of what replaced the instruction there.
    Original(u32),
    /// Part of what was inserted for the instruction at this position, the rest of a replacement included.
    InsertedFor(u32),
}

impl Origin {
    /// The old position, either way.
    #[must_use]
    pub const fn position(self) -> u32 {
        match self {
            Self::Original(old) | Self::InsertedFor(old) => old,
        }
    }
}

impl Map {
    /// What stands at the new position `new`.
    ///
    /// O(log units). [`origins`](Map::origins) gives those of all positions in less.
    ///
    /// # Panics
    ///
    /// If `new` is not below [`new_len`](Map::new_len).
    #[must_use]
    pub fn origin(&self, new: u32) -> Origin {
        assert!(new < self.new_len, "position {new} of {}", self.new_len);
        let (mut after, mut end) = (0, self.old_len + 1);
        while after < end {
            let middle = after + (end - after) / 2;
            if self.new_of(middle) <= new {
                after = middle + 1;
            } else {
                end = middle;
            }
        }
        let after = match exception(&self.starts, after) {
            Some(start) if after <= self.old_len && start <= new => after + 1,
            _ => after,
        };
        self.origin_below(after, new)
    }

    /// The same, if all that stands at the old position below `after` begins at or before `new`, and what stands
    /// at `after` does not.
    fn origin_below(&self, after: u32, new: u32) -> Origin {
        let mut old = after - 1;
        if self.new_of(old) != new {
            while bit(&self.inner, old) {
                old -= 1;
            }
        }
        if self.position_of(old) == Some(new) { Origin::Original(old) } else { Origin::InsertedFor(old) }
    }

    /// What stands at each new position, in their order.
    ///
    /// O(1) a step, amortized; O(log prepends) where anything was prepended.
    #[must_use]
    pub fn origins(&self) -> Origins<'_> {
        Origins { map: self, after: 0, new: 0 }
    }
}

/// What stands at each new position: see [`Map::origins`].
#[derive(Clone, Debug)]
pub struct Origins<'m> {
    map: &'m Map,
    /// The first old position of which not even the code before it has begun.
    after: u32,
    new: u32,
}

impl Iterator for Origins<'_> {
    type Item = Origin;

    #[inline]
    fn next(&mut self) -> Option<Origin> {
        let Self { map, new, .. } = *self;
        if new >= map.new_len {
            return None;
        }
        let begins = |old| if map.starts.is_empty() { map.new_of(old) } else { map.start_of(old) };
        while self.after <= map.old_len && begins(self.after) <= new {
            self.after += 1;
        }
        self.new += 1;
        Some(map.origin_below(self.after, new))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.map.new_len - self.new) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Origins<'_> {}
