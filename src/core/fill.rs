//! Filling columns: copies and labels, a few at once, and notes if there is memory for them.

use alloc::vec::Vec;

use super::handle::to_u32;

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
    let to = chunk_mut::<T, N>(to, at);
    let from = from.get(start..).and_then(|from| from.first_chunk::<N>());
    match (to, from) {
        (Some(to), Some(from)) => {
            *to = *from;
            true
        }
        _ => false,
    }
}

/// The `N` values from `at` on, if there are as many.
#[inline]
fn chunk_mut<T, const N: usize>(values: &mut [T], at: usize) -> Option<&mut [T; N]> {
    values.get_mut(at..)?.first_chunk_mut()
}

/// Labels that are written at once.
const LANES: usize = 8;

/// Makes `len` labels from `at` on `new` and what follows. May write into those behind them.
#[inline]
pub(super) fn number(labels: &mut [u32], at: usize, len: usize, mut new: u32) {
    let at_once = if len <= LANES {
        number_chunk::<1>(labels, at, new)
    } else {
        len <= 2 * LANES && number_chunk::<2>(labels, at, new)
    };
    if at_once {
        return;
    }
    let Some(padded) = labels.get_mut(at..at + len.next_multiple_of(LANES)) else {
        return number_exactly(labels, at, len, new);
    };
    for lanes in padded.as_chunks_mut().0 {
        *lanes = numbered(new);
        new = new.wrapping_add(to_u32(LANES));
    }
}

/// Makes `N` times as many labels as are written at once, if there are as many.
#[inline]
fn number_chunk<const N: usize>(labels: &mut [u32], at: usize, mut new: u32) -> bool {
    let chunk = labels.get_mut(at..).and_then(|labels| labels.as_chunks_mut().0.first_chunk_mut::<N>());
    let Some(chunk) = chunk else { return false };
    for lanes in chunk {
        *lanes = numbered(new);
        new = new.wrapping_add(to_u32(LANES));
    }
    true
}

/// A label and those that follow it.
#[inline]
fn numbered(new: u32) -> [u32; LANES] {
    let mut lane = 0;
    [(); LANES].map(|()| {
        lane += 1;
        new.wrapping_add(lane - 1)
    })
}

/// As [`number`], and leaves all other labels as they are.
#[inline]
pub(super) fn number_exactly(labels: &mut [u32], at: usize, len: usize, new: u32) {
    if len <= LANES
        && let Some(chunk) = chunk_mut::<u32, LANES>(labels, at)
    {
        // No branch on how many there are: it would be mispredicted.
        for (lane, (label, new)) in chunk.iter_mut().zip(numbered(new)).enumerate() {
            *label = if lane < len { new } else { *label };
        }
        return;
    }
    for (label, new) in labels[at..at + len].iter_mut().zip(new..) {
        *label = new;
    }
}

#[cfg(test)]
mod tests;
