//! Which edits take the quick way; all of them come out the same by the other one.

use std::vec;

use super::*;
use crate::core::Arena;
use crate::fuzzing::Toys;

type OneField = Toys<1>;

/// An instruction of one unit without displacement.
const PLAIN: u16 = 1;

/// One with a displacement to itself.
const BRANCH: u16 = 5;

const KINDS: [Kind; 4] = [Kind::Body, Kind::Pre, Kind::Fall, Kind::Post];

/// One that leads so far from itself.
fn to(displacement: u16) -> u16 {
    BRANCH | displacement << 8
}

/// Edits every instruction of a program, in this order, all of them in the quick way.
fn edit_all<const N: usize>(
    program: &[u16],
    units: [u16; N],
    branches: &[Branch],
    kind: Kind,
    order: impl Iterator<Item = usize>,
) {
    let arena = Arena::new();
    let mut list = List::<OneField>::new(&arena, program).unwrap();
    list.columns.grow(program.len() * N, 1 << 20).unwrap();
    list.columns.records.grow(list.columns.bump, program.len(), 0).unwrap();
    list.columns.targets.reserve(program.len());
    for at in order {
        let handle = Handle::new(to_u32(at));
        list.columns.open_window(handle.at());
        let start = to_u32(list.columns.fresh());
        let inserted = list.insert_quick::<N>(handle, &units, branches, kind).expect("it is a quick one");
        assert_eq!(
            inserted.at(to_u32(N) - 1).index(),
            if N == 1 && kind == Kind::Body { handle.index() } else { start + to_u32(N) - 1 }
        );
    }
    list.check().unwrap();
    let of_each = N + usize::from(kind != Kind::Body);
    assert_eq!(list.linearize().unwrap().units.len(), program.len() * of_each);
}

#[test]
fn plain_patches_take_the_quick_way() {
    let program = vec![PLAIN; 300];
    for kind in KINDS {
        edit_all(&program, [PLAIN; 1], &[], kind, 0..300);
        edit_all(&program, [PLAIN; 2], &[], kind, 0..300);
        edit_all(&program, [PLAIN; 3], &[], kind, 0..300);
        edit_all(&program, [PLAIN; 4], &[], kind, 0..300);
        edit_all(&program, [PLAIN; 3], &[], kind, (0..300).rev());
        edit_all(&program, [PLAIN; 3], &[], kind, (0..300).map(|at| at * 77 % 300));
    }
}

#[test]
fn patches_with_a_listed_branch_take_the_quick_way() {
    let program = [PLAIN; 100];
    for unit in 0..3 {
        let mut units = [PLAIN; 3];
        units[unit as usize] = BRANCH;
        let branches = [Branch::new(unit, Target::Original(15))];
        edit_all(&program[..40], units, &branches, Kind::Body, 0..40);
        edit_all(&program[..30], units, &branches, Kind::Post, (0..30).rev());
    }
}

#[test]
fn patches_with_branches_inside_take_the_quick_way() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 300]);
    for kind in KINDS {
        let mut list = List::<OneField>::new(&arena, &program).unwrap();
        list.columns.grow(2000, 1 << 20).unwrap();
        list.columns.records.grow(list.columns.bump, 300, 0).unwrap();
        list.columns.targets.reserve(1000);
        for at in 0..250 {
            list.columns.open_window(at);
            let units = [to(2), to(3), to(1), PLAIN, to(1)];
            let inserted = list.insert_quick::<5>(Handle::new(to_u32(at)), &units, &[], kind);
            let inserted = inserted.expect("it is a quick one");
            assert_eq!(list.target(inserted.at(0), 0), Some(inserted.at(2)));
            let label = Handle::new(inserted.at(4).index() + 1);
            assert_eq!(
                (list.target(inserted.at(1), 0), list.target(inserted.at(4), 0)),
                (Some(inserted.at(4)), Some(label))
            );
        }
        list.check().unwrap();
        let units = list.linearize().unwrap().units;
        assert_eq!(units.len(), 300 + 250 * if kind == Kind::Body { 4 } else { 5 });
        assert_eq!(units.iter().filter(|&&unit| unit == to(2)).count(), 250);
    }
}

#[test]
fn inserted_instructions_are_edited_in_the_quick_way_too() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 10]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    list.columns.grow(200, 1 << 20).unwrap();
    list.columns.records.grow(list.columns.bump, 100, 0).unwrap();
    let first = list.replace(Handle::new(3), &[PLAIN; 40][..]).unwrap();
    list.columns.open_window(first.at(1).at());
    let gone = Handle::new(first.at(1).index() - 1);
    assert_eq!(
        list.insert_quick::<1>(gone, &[PLAIN], &[], Kind::Pre),
        None,
        "it goes by the name of another"
    );
    for unit in [5, 6, 30] {
        assert!(list.insert_quick::<1>(first.at(unit), &[PLAIN], &[], Kind::Pre).is_some());
    }
    assert_eq!(list.insert_quick::<1>(first.at(7), &[PLAIN], &[], Kind::Pre), None, "it is not in order");
    list.columns.open_window(first.at(7).at());
    assert!(
        list.insert_quick::<1>(first.at(7), &[PLAIN], &[], Kind::Pre).is_some(),
        "with a block it may be"
    );
    list.check().unwrap();
    assert_eq!(list.linearize().unwrap().units.len(), 9 + 40 + 4);
}

#[test]
fn an_edit_goes_to_the_word_of_its_instruction() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 200]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    for at in [0, 64, 65, 1, 130, 131] {
        list.replace(Handle::new(at), &[PLAIN, PLAIN][..]).unwrap();
        assert_eq!(list.columns.window.word, at as usize / WORD);
        list.check().unwrap();
    }
}

#[test]
fn what_has_no_room_is_left_to_the_general_way() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 100]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    list.columns.open_window(0);
    let (units, branches) = ([BRANCH, PLAIN], [Branch::new(0, Target::Original(7))]);
    let handle = Handle::new(5);
    assert_eq!(list.insert_quick::<2>(handle, &units, &branches, Kind::Post), None, "there are no targets");
    list.columns.targets.reserve(3);
    list.columns.push_long(&[PLAIN; 63]);
    assert_eq!(list.insert_quick::<2>(handle, &units, &branches, Kind::Post), None, "one unit is free");
    assert!(list.columns.targets.is_empty() && list.columns.records.len() == 0, "nothing is noted");
}

#[test]
fn what_is_unusual_is_left_to_the_general_way() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 100]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    list.columns.targets.reserve(3);
    list.columns.open_window(0);
    let mut refused = |units: [u16; 2], branches: &[Branch]| {
        let made = list.insert_quick::<2>(Handle::new(5), &units, branches, Kind::Body);
        assert!(list.columns.targets.is_empty());
        assert_eq!(made, None, "{units:?} {branches:?}");
    };
    refused([BRANCH, PLAIN], &[]);
    refused([BRANCH, PLAIN], &[Branch::new(1, Target::Original(7))]);
    refused([BRANCH, PLAIN], &[Branch::new(0, Target::Original(101))]);
    refused([BRANCH, PLAIN], &[Branch::new(0, Target::Original(7)).field(1)]);
    refused([BRANCH, PLAIN], &[Branch::new(0, Target::End)]);
    refused([BRANCH, PLAIN], &[Branch::new(0, Target::Local(1))]);
    refused([PLAIN, PLAIN], &[Branch::new(0, Target::Original(7))]);
    refused([2, 0], &[]);
}
