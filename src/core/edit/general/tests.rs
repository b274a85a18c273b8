//! How much room edits make, and when, which shows in the memory that they take and in nothing else.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::core::{Arena, Limits};
use crate::fuzzing::Toy;

const PROGRAM: &[u16] = &[1; 150];

/// Edits the instruction at `at`, in the way that all edits can be made.
fn append(list: &mut List<'_, Toy>, at: usize, units: usize) -> Result<Inserted, Error> {
    let patch = vec![1; units];
    list.insert_any(Handle::new(to_u32(at)), &patch[..].into(), Kind::Post)
}

#[test]
fn a_chunk_is_as_large_as_all_before_it() {
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
    let rooms = |list: &List<'_, Toy>| -> Vec<_> {
        list.columns.chunks().map(|chunk| (chunk.units.len(), chunk.units.capacity())).collect()
    };
    append(&mut list, 0, WORD - 2).unwrap();
    assert_eq!(rooms(&list), [(62, 64)], "with the two labels that there might be, they fit");
    append(&mut list, 1, 1).unwrap();
    assert_eq!(rooms(&list), [(62, 64), (1, 64)]);
    append(&mut list, 2, 100).unwrap();
    assert_eq!(rooms(&list), [(62, 64), (1, 64), (100, 128)], "what is needed, if that is more");
    append(&mut list, 3, 27).unwrap();
    assert_eq!(rooms(&list)[3], (27, 192));
    list.check().unwrap();
    let first = list.first().and_then(|first| list.next(first));
    assert_eq!(first, Some(Handle::new(192)), "nothing moved");
    assert_eq!(list.linearize().unwrap().units.len(), 150 + 62 + 1 + 100 + 27);
}

#[test]
fn an_edit_of_a_full_chunk_goes_to_the_next() {
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
    let inserted: Vec<Inserted> = (0..40).map(|at| append(&mut list, at, 30).unwrap()).collect();
    for inserted in &inserted {
        list.replace(inserted.at(7), &[1, 1][..]).unwrap();
        list.delete(inserted.at(9)).unwrap();
        assert_eq!(list.next(inserted.at(8)), Some(inserted.at(10)));
    }
    list.check().unwrap();
    let out = list.linearize().unwrap();
    assert_eq!(out.units.len(), 150 + 40 * 30);
    for (inserted, nth) in inserted.iter().zip(0..) {
        let at = nth * 31 + 1;
        assert_eq!(out.map.position_of_handle(inserted.at(8)), Some(at + 9));
        assert_eq!(
            (out.map.new_of_handle(inserted.at(9)), out.map.position_of_handle(inserted.at(9))),
            (Some(at + 10), None)
        );
    }
    assert_eq!(out.map.new_of_handle(Handle::new(to_u32(list.columns.fresh()))), None);
}

#[test]
fn records_get_twice_the_room_once_it_is_full() {
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
    for at in 0..15 {
        append(&mut list, at, 1).unwrap();
        assert_eq!(list.columns.records.room(), 15 - at);
    }
    append(&mut list, 15, 1).unwrap();
    assert_eq!(list.columns.records.room(), 14);
    for at in 16..149 {
        append(&mut list, at, 1).unwrap();
    }
    list.check().unwrap();
    assert_eq!(list.linearize().unwrap().units.len(), 150 + 149);
}

#[test]
fn edits_are_refused_where_there_may_be_no_room_for_two_records() {
    for limit in [17, 20, 40] {
        let arena = Arena::with_limits(Limits::default().edits(limit));
        let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
        let limit = limit as usize;
        for at in 0..limit - 1 {
            append(&mut list, at, 1).unwrap();
        }
        assert_eq!(append(&mut list, limit, 1), Err(Error::TooManyEdits { limit }));
    }
}

#[test]
fn units_are_refused_beyond_the_limit() {
    let arena = Arena::with_limits(Limits::default().units(400));
    let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
    append(&mut list, 0, 60).unwrap();
    assert_eq!(append(&mut list, 1, 185), Err(Error::TooLong { units: 150 + 60 + 187 }));
    append(&mut list, 1, 184).unwrap();
    list.check().unwrap();
}

#[test]
fn edits_in_order_need_neither_sites_nor_blocks() {
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, PROGRAM).unwrap();
    let made = |list: &List<'_, Toy>| (list.columns.sites.len(), list.columns.words.blocks_used());
    for at in [0, 1, 5, 63, 64, 70] {
        append(&mut list, at, 2).unwrap();
    }
    assert_eq!((made(&list), list.columns.records.links()), ((0, 0), 0));
    append(&mut list, 70, 1).unwrap();
    assert_eq!((made(&list), list.columns.records.links()), ((1, 1), 7));
    append(&mut list, 140, 1).unwrap();
    append(&mut list, 130, 1).unwrap();
    assert_eq!(made(&list), (1, 2));
}
