//! [`has_room`] and [`append`]: appending a few values to a column of which it is known that they fit, without a call.

use bumpalo::collections::Vec;

/// Whether a column has room for `N` more.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it takes fewer instructions than a call")]
pub(super) fn has_room<T>(column: &Vec<'_, T>, more: usize) -> bool {
    column.capacity() - column.len() >= more
}

/// Appends `N` values to a column, if it has room for them.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it takes fewer instructions than a call")]
#[expect(unsafe_code, reason = "the check is made once, and no call for want of room follows")]
pub(super) fn append<T: Copy, const N: usize>(column: &mut Vec<'_, T>, values: &[T; N]) {
    if has_room(column, N) {
        // SAFETY: there is room by the check above.
        unsafe { extend(column, values) }
    }
}

/// Appends `N` values to a column.
///
/// `Vec::extend_from_slice_copy` takes some 50 instructions for three units, most of them in a call of `memcpy`
/// with a length that is not known there, and this takes five.
///
/// # Safety
///
/// The column has room for them.
#[inline(always)]
#[expect(clippy::inline_always, reason = "it takes fewer instructions than a call")]
#[expect(unsafe_code, reason = "a copy of fixed width into memory that is not initialized")]
unsafe fn extend<T: Copy, const N: usize>(column: &mut Vec<'_, T>, values: &[T; N]) {
    let len = column.len();
    debug_assert!(has_room(column, N), "there is room");
    // SAFETY: the column owns memory for `capacity` values, of which those from `len` on are not initialized. There
    // are `N` of them, as the caller promises, so `N` values may be written there. `values` is borrowed, and `column`
    // is borrowed mutably, so they do not overlap. Then the first `len + N` values are initialized, and `T` has no
    // destructor.
    unsafe {
        core::ptr::copy_nonoverlapping(values.as_ptr(), column.as_mut_ptr().add(len), N);
        column.set_len(len + N);
    }
}
