//! What becomes of line records.

use alloc::vec::Vec;

use super::moves::Move;

/// The records that survive an edit, by index, each with its new slot, strictly ascending.
///
/// A record stays with what its instruction has become, with all that was prepended. Of the
/// records of deleted instructions the last one moves to the first instruction after them, if that
/// is of the same function and has no record of its own: the kernel's rule, in
/// `bpf_adj_linfo_after_remove`.
///
/// O(records), or O(records · log records) if they do not ascend.
pub(crate) fn surviving_lines(slots: impl Iterator<Item = u32>, moved: &Move<'_>) -> Vec<(usize, u32)> {
    let mut records: Vec<(usize, u32)> = slots.enumerate().collect();
    records.sort_by_key(|&(_, slot)| slot);
    let mut kept: Vec<(usize, u32)> = Vec::with_capacity(records.len());
    for (index, slot) in records {
        let new = moved.new_of(slot);
        if new >= moved.end_at(slot) {
            continue;
        }
        // A record of the instruction itself comes after those of deleted ones before it.
        match kept.last_mut() {
            Some(last) if last.1 == new => last.0 = index,
            _ => kept.push((index, new)),
        }
    }
    kept
}
