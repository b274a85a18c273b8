//! [`compare`]: tables that a map moves, against the words of its documentation taken one by one.

use std::vec::Vec;

use super::mirror::ToyLinear;
use super::model::Output;
use crate::{At, Deleted};

/// Moves tables with a record at every position, some with two, and compares.
pub(super) fn compare(expected: &Output, out: &ToyLinear) {
    let old_len = out.map.old_len();
    let records: Vec<u32> =
        (0..old_len).flat_map(|at| [at, at].into_iter().skip(usize::from(at % 3 != 0))).collect();
    for at in [At::Insn, At::Label] {
        for deleted in [Deleted::Drop, Deleted::Slide] {
            let mut moved: Vec<(u32, u32)> = records.iter().map(|&old| (old, old)).collect();
            out.map.adjust_points(&mut moved, at, deleted, |record| &mut record.1).expect("in order");
            assert_eq!(moved, points(expected, &records, at, deleted), "{at:?}, {deleted:?}");
        }
    }
    compare_starts(out);
    compare_ranges(expected, out);
}

/// Where records go: old position, new position.
fn points(expected: &Output, records: &[u32], at: At, deleted: Deleted) -> Vec<(u32, u32)> {
    let end = expected.origins.len();
    let own = |old: u32| match at {
        At::Insn => expected.position_of[old as usize],
        _ => expected.position_of[old as usize].and(Some(expected.new_of[old as usize])),
    };
    let slides = |index: usize| {
        let to = expected.new_of[records[index] as usize];
        let taken = records.iter().any(|&other| own(other) == Some(to));
        let later = records[index + 1..]
            .iter()
            .any(|&other| own(other).is_none() && expected.new_of[other as usize] == to);
        Some(to).filter(|&to| deleted == Deleted::Slide && !taken && !later && (to as usize) < end)
    };
    let place = |(index, &old): (usize, &u32)| Some((old, own(old).or_else(|| slides(index))?));
    records.iter().enumerate().filter_map(place).collect()
}

/// Parts of a few positions each: what is left of them is all there is, and what is not has no room.
fn compare_starts(out: &ToyLinear) {
    let old: Vec<u32> = (0..out.map.old_len()).step_by(3).collect();
    let mut new: Vec<(usize, u32)> = old.iter().copied().enumerate().collect();
    let removed = out.map.adjust_starts(&mut new, |start| &mut start.1).expect("they ascend");
    let mut all: Vec<usize> = new.iter().map(|start| start.0).chain(removed.iter().copied()).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..old.len()), "each part is there or removed");
    assert!(new.windows(2).all(|pair| pair[0] < pair[1]), "the parts in order");
    assert!(new.iter().all(|&(_, start)| start < out.map.new_len()), "no part is empty");
    for &(index, start) in &new {
        let expected = if old[index] == 0 { 0 } else { out.map.start_of(old[index]) };
        assert_eq!(start, expected, "start of part {index}");
    }
    for index in removed {
        let end = old.get(index + 1).map_or(out.map.new_len(), |&next| out.map.start_of(next));
        let start = if index == 0 { 0 } else { out.map.start_of(old[index]) };
        assert_eq!(start, end, "part {index} is empty");
    }
}

fn compare_ranges(expected: &Output, out: &ToyLinear) {
    let len = out.map.old_len();
    let old: Vec<(u32, u32)> = (0..=len).map(|start| (start, len.min(start + start % 5))).collect();
    let mut new = old.clone();
    out.map.adjust_ranges(&mut new, |range| (&mut range.0, &mut range.1)).expect("none is inverted");
    let place = |at: u32| expected.new_of[at as usize];
    let moved = old.iter().filter(|range| range.0 != range.1).map(|range| (place(range.0), place(range.1)));
    assert!(new.into_iter().eq(moved.filter(|range| range.0 < range.1)), "ranges");
}
