//! [`has_room`] and [`extend_short`]: appending a few values to a column, without a call.

use bumpalo::collections::Vec;

/// Whether a column has room for `N` more.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it takes fewer instructions than a call")]
pub(super) fn has_room<T, const N: usize>(column: &Vec<'_, T>) -> bool {
    column.capacity() - column.len() >= N
}

/// Appends `N` values to a column that has room for them.
///
/// `Vec::extend_from_slice_copy` takes some 50 instructions for three units, most of them in a call of `memcpy`
/// with a length that is not known there, and this takes 12, of an edit that takes 90 in all.
///
/// # Panics
///
/// If there is no room.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it takes fewer instructions than a call")]
#[expect(unsafe_code, reason = "a copy of fixed width into memory that is not initialized")]
pub(super) fn extend_short<T: Copy, const N: usize>(column: &mut Vec<'_, T>, values: &[T; N]) {
    let len = column.len();
    assert!(has_room::<T, N>(column), "there is room");
    // SAFETY: the column owns memory for `capacity` values, of which those from `len` on are not initialized. There
    // are `N` of them by the check above, so `N` values may be written there. `values` is borrowed, and `column`
    // is borrowed mutably, so they do not overlap. Then the first `len + N` values are initialized, and `T` has no
    // destructor.
    unsafe {
        core::ptr::copy_nonoverlapping(values.as_ptr(), column.as_mut_ptr().add(len), N);
        column.set_len(len + N);
    }
}
