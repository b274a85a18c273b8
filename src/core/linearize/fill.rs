//! Copies of a few values at once, and notes if there is memory for them.

use alloc::vec::Vec;

use crate::core::handle::to_u32;

/// What copies of fixed width may write beyond the true length, in units.
pub(super) const SLACK: usize = 16;

/// Appends a note, if there is memory for it.
#[inline]
pub(super) fn note<T>(notes: &mut Vec<T>, value: T, refused: &mut bool) {
    if notes.len() < notes.capacity() || notes.try_reserve(1).is_ok() {
        notes.push(value);
    } else {
        *refused = true;
    }
}

/// Copies `len` values from `start` on to `at` and on: a few by a copy of fixed width, which is several times
/// as fast as a call that copies as little.
#[inline]
pub(super) fn copy<T: Copy>(to: &mut [T], at: usize, from: &[T], start: usize, len: usize) {
    let copied = match len {
        0..=4 => copy_chunk::<T, 4>(to, at, from, start),
        5..=8 => copy_chunk::<T, 8>(to, at, from, start),
        9..=SLACK => copy_chunk::<T, SLACK>(to, at, from, start),
        _ => false,
    };
    if !copied {
        to[at..at + len].copy_from_slice(&from[start..start + len]);
    }
}

/// Copies `N` values, if both sides have as many.
#[inline]
fn copy_chunk<T: Copy, const N: usize>(to: &mut [T], at: usize, from: &[T], start: usize) -> bool {
    let to = to.get_mut(at..).and_then(|to| to.first_chunk_mut::<N>());
    let from = from.get(start..).and_then(|from| from.first_chunk::<N>());
    match (to, from) {
        (Some(to), Some(from)) => {
            *to = *from;
            true
        }
        _ => false,
    }
}

/// Labels that are written at once.
pub(super) const LANES: usize = 8;

/// Makes `len` labels from `at` on `new` and what follows. May write into up to `LANES - 1` labels behind them, which
/// there are.
#[inline]
pub(super) fn number(labels: &mut [u32], at: usize, len: usize, mut new: u32) {
    for lanes in labels[at..at + len.next_multiple_of(LANES)].as_chunks_mut::<LANES>().0 {
        let mut lane = 0;
        *lanes = [(); LANES].map(|()| {
            lane += 1;
            new.wrapping_add(lane - 1)
        });
        new = new.wrapping_add(to_u32(LANES));
    }
}

#[cfg(test)]
mod tests;
