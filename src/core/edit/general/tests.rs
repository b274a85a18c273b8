//! How much room edits make, and when, which shows in the memory that they take and in nothing else.

use std::vec;

use super::*;
use crate::core::{Arena, Limits};
use crate::fuzzing::Toy;

const PROGRAM: &[u16] = &[1; 150];

/// Edits the instruction at `at`, in the way that all edits can be made.
fn append(list: &mut List<'_, Toy>, at: usize, units: usize) -> Result<(), Error> {
    let patch = vec![1; units];
    list.insert_any(Handle::new(to_u32(at)), &patch[..].into(), Chain::Post).map(drop)
}

#[test]
fn units_get_twice_the_room_once_it_is_full() {
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
    list.grow(10).unwrap();
    append(&mut list, 0, 8).unwrap();
    assert_eq!(list.room, 10, "with the two labels that there might be, they fit");
    append(&mut list, 1, 1).unwrap();
    assert_eq!(list.room, WORD, "that is the least");
    append(&mut list, 2, WORD - 11).unwrap();
    assert_eq!((list.inserted.len(), list.room), (WORD - 2, WORD));
    append(&mut list, 3, 1).unwrap();
    assert_eq!(list.room, 2 * WORD);
    append(&mut list, 4, 500).unwrap();
    assert_eq!(list.room, WORD - 1 + 500 + 2, "what is needed, if that is more");
}

#[test]
fn runs_get_twice_the_room_once_it_is_full() {
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
    for at in 0..15 {
        append(&mut list, at, 1).unwrap();
        assert_eq!(list.runs.capacity(), LEAST_RUNS);
    }
    append(&mut list, 15, 1).unwrap();
    assert_eq!(list.runs.capacity(), 30);
}

#[test]
fn edits_are_refused_where_there_may_be_no_room_for_two_runs() {
    for limit in [17, 20, 40] {
        let arena = Arena::with_limits(Limits { edits: limit, ..Limits::default() });
        let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
        let limit = limit as usize;
        for at in 0..limit - 1 {
            append(&mut list, at, 1).unwrap();
        }
        assert_eq!(append(&mut list, limit, 1), Err(Error::TooManyEdits { limit }));
    }
}

#[test]
fn edits_in_order_need_neither_sites_nor_blocks() {
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
    for at in [0, 1, 5, 63, 64, 70] {
        append(&mut list, at, 2).unwrap();
    }
    assert_eq!((list.sites.capacity(), list.blocks.len()), (0, 0));
    append(&mut list, 70, 1).unwrap();
    assert_eq!((list.sites.len(), list.blocks.len()), (1, 1));
    append(&mut list, 140, 1).unwrap();
    append(&mut list, 130, 1).unwrap();
    assert_eq!((list.sites.len(), list.blocks.len()), (1, 2));
}
