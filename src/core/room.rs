//! [`extend_both`] and [`extend_short`]: appending a few values to a column, without a call.

use bumpalo::collections::Vec;

/// Whether a column has room for `N` more.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it takes fewer instructions than a call")]
fn has_room<T, const N: usize>(column: &Vec<'_, T>) -> bool {
    column.capacity() - column.len() >= N
}

/// Appends `N` values to a column and `M` to another one, if both have room for them. Says whether they have.
///
/// `Vec::extend_from_slice_copy` takes some 50 instructions for three units, most of them in a call of `memcpy`
/// with a length that is not known there, and this takes 20 for both, of an edit that takes 90 in all.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it takes fewer instructions than a call")]
#[expect(unsafe_code, reason = "one check for both, which otherwise is made again between the writes")]
pub(super) fn extend_both<T: Copy, U: Copy, const N: usize, const M: usize>(
    column: &mut Vec<'_, T>,
    values: &[T; N],
    other: &mut Vec<'_, U>,
    others: &[U; M],
) -> bool {
    let room = has_room::<T, N>(column) && has_room::<U, M>(other);
    if room {
        // SAFETY: both have room by the check above, and appending to one does not change the other.
        unsafe {
            extend(column, values);
            extend(other, others);
        }
    }
    room
}

/// Appends `N` values to a column that has room for them.
///
/// # Panics
///
/// If there is no room.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it takes fewer instructions than a call")]
#[expect(unsafe_code, reason = "a copy of fixed width into memory that is not initialized")]
pub(super) fn extend_short<T: Copy, const N: usize>(column: &mut Vec<'_, T>, values: &[T; N]) {
    assert!(has_room::<T, N>(column), "there is room");
    // SAFETY: there is room by the check above.
    unsafe { extend(column, values) }
}

/// Appends `N` values to a column.
///
/// # Safety
///
/// It has room for them.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it takes fewer instructions than a call")]
#[expect(unsafe_code, reason = "a copy of fixed width into memory that is not initialized")]
unsafe fn extend<T: Copy, const N: usize>(column: &mut Vec<'_, T>, values: &[T; N]) {
    let len = column.len();
    // SAFETY: the column owns memory for `capacity` values, of which those from `len` on are not initialized. There
    // are `N` of them, as the caller promises, so `N` values may be written there. `values` is borrowed, and `column`
    // is borrowed mutably, so they do not overlap. Then the first `len + N` values are initialized, and `T` has no
    // destructor.
    unsafe {
        core::ptr::copy_nonoverlapping(values.as_ptr(), column.as_mut_ptr().add(len), N);
        column.set_len(len + N);
    }
}
