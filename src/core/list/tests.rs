//! What takes too many units to be seen from outside, and how much memory the next list is expected to need.

use super::*;
use crate::core::Limits;
use crate::fuzzing::Toy;

#[test]
fn handles_name_all_units_but_as_many_as_the_arena_allows() {
    let arena = Arena::new();
    let list = List::<Toy>::new(&arena, &[1; 70]).unwrap();
    assert_eq!(list.most_inserted(), (Handle::MAX - 128) as usize, "the end is in the second word");
    let arena = Arena::with_limits(Limits { units: Handle::MAX - 59, ..Limits::default() });
    let list = List::<Toy>::new(&arena, &[1; 70]).unwrap();
    assert_eq!(list.most_inserted(), (Handle::MAX - 129) as usize);
}

#[test]
fn the_next_list_is_expected_to_need_what_this_one_did() {
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, &[1; 70]).unwrap();
    let branch = 5;
    for at in [20, 10, 10] {
        list.append(Handle::new(at), &[1, branch, branch][..]).unwrap();
    }
    drop(list);
    let Usage { inserted, sites, runs, targets, blocks } = arena.expected();
    // With what one more edit may ask for. Each branch of this set has two targets.
    assert_eq!((inserted, sites, runs, targets, blocks), (9 + 2, 1 + 1, 3 + 2, 12 + 2, 1 + 1));
}

#[test]
fn each_value_of_a_column_takes_its_size() {
    let of = |base, usage: Usage| bytes::<Toy, u64>(base, &usage);
    let none = Usage::default();
    assert_eq!(of(0, none), 7 * 64, "as much as the padding of each column may be");
    assert_eq!(of(640, none) - of(0, none), 640 * 8 + 10 * 64);
    assert_eq!(of(0, Usage { inserted: 640, ..none }) - of(0, none), 640 * (2 + 8) + 10 * 64);
    assert_eq!(of(0, Usage { blocks: 10, ..none }) - of(0, none), 10 * size_of::<Block>());
    assert_eq!(of(0, Usage { sites: 10, ..none }) - of(0, none), 10 * size_of::<Site>());
    assert_eq!(of(0, Usage { runs: 10, ..none }) - of(0, none), 10 * size_of::<Run>());
    assert_eq!(of(0, Usage { targets: 10, ..none }) - of(0, none), 10 * 4);
}
