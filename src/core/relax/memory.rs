//! Columns that grow if there is memory for it, and else say [`Refused`].

use alloc::vec::Vec;

use crate::core::{Error, map};

/// The allocator refused.
pub(super) struct Refused;

impl From<Refused> for Error {
    fn from(_: Refused) -> Self {
        Self::OutOfMemory
    }
}

pub(super) fn reserve<T>(column: &mut Vec<T>, more: usize) -> Result<(), Refused> {
    column.try_reserve(more).map_err(|_| Refused)
}

pub(super) fn push<T>(column: &mut Vec<T>, value: T) -> Result<(), Refused> {
    reserve(column, 1)?;
    column.push(value);
    Ok(())
}

pub(super) fn extend<T>(column: &mut Vec<T>, values: impl IntoIterator<Item = T>) -> Result<(), Refused> {
    values.into_iter().try_for_each(|value| push(column, value))
}

pub(super) fn collect<T>(values: impl IntoIterator<Item = T>) -> Result<Vec<T>, Refused> {
    let mut column = Vec::new();
    extend(&mut column, values)?;
    Ok(column)
}

pub(super) fn filled<T: Copy>(len: usize, value: T) -> Result<Vec<T>, Refused> {
    let mut column = Vec::new();
    map::resize(&mut column, len, value).map_err(|_| Refused)?;
    Ok(column)
}
