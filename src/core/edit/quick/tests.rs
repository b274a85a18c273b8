//! Which edits take a short way; all of them come out the same by the long one.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::core::Arena;
use crate::fuzzing::{Toy, Toys};

type OneField = Toys<1>;

/// An instruction of one unit without displacement.
const PLAIN: u16 = 1;

/// One with a displacement to itself.
const BRANCH: u16 = 5;

/// The first of the two units of an instruction.
const WIDE: u16 = 2;

const CHAINS: [Chain; 4] = [Chain::Body, Chain::Pre, Chain::Fall, Chain::Post];

/// Edits every instruction of a program in its order, all of them in the quickest way.
fn edit_all<const N: usize>(program: &[u16], units: [u16; N], branches: &[Branch], chain: Chain) {
    let arena = Arena::new();
    let mut list = List::<OneField>::new(&arena, program).unwrap();
    list.grow(list.original.len() * N).unwrap();
    list.runs.reserve(program.len());
    list.targets.reserve(program.len());
    for at in 0..list.original_len() {
        let handle = Handle::new(at);
        if handle.at() / WORD != list.window.word {
            list.open_window(handle.at() / WORD);
        }
        let start = list.fresh();
        let inserted = list.insert_plain::<N>(handle, &units, branches, chain).expect("it is a quick one");
        assert_eq!(
            inserted.at(to_u32(N) - 1).index(),
            if N == 1 && chain == Chain::Body { at } else { start + to_u32(N) - 1 }
        );
    }
    list.check().unwrap();
    let of_each = N + usize::from(chain != Chain::Body);
    assert_eq!(list.linearize().unwrap().units.len(), program.len() * of_each);
}

#[test]
fn plain_patches_in_order_take_the_quickest_way() {
    let program = vec![PLAIN; 300];
    for chain in CHAINS {
        edit_all(&program, [PLAIN; 1], &[], chain);
        edit_all(&program, [PLAIN; 2], &[], chain);
        edit_all(&program, [PLAIN; 3], &[], chain);
        edit_all(&program, [PLAIN; 4], &[], chain);
    }
}

#[test]
fn patches_with_a_listed_branch_take_the_quickest_way() {
    let program = vec![PLAIN; 30];
    for unit in 0..3 {
        let mut units = [PLAIN; 3];
        units[unit as usize] = BRANCH;
        edit_all(&program, units, &[Branch::new(unit, Target::Original(15))], Chain::Body);
        edit_all(&program, units, &[Branch::new(unit, Target::Original(15))], Chain::Post);
    }
}

#[test]
fn an_edit_goes_to_the_word_of_its_instruction() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 200]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    list.grow(50).unwrap();
    list.runs.reserve(10);
    for at in [0, 64, 65, 1, 130, 131] {
        list.replace(Handle::new(at), &[PLAIN, PLAIN][..]).unwrap();
        assert_eq!(list.window.word, at as usize / WORD);
        list.check().unwrap();
    }
}

#[test]
fn what_has_no_room_is_left_to_the_long_way() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 100]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    list.targets.reserve(3);
    list.runs.reserve(3);
    list.open_window(0);
    let (units, branches) = ([BRANCH, PLAIN], [Branch::new(0, Target::Original(7))]);
    let patch = Patch::new(&units).branches(&branches);
    let handle = Handle::new(5);
    assert_eq!(list.insert_plain::<2>(handle, &units, &branches, Chain::Post), None);
    assert_eq!(list.insert_short::<2>(handle, &patch, Chain::Post), None);
    assert!(list.targets.is_empty() && list.runs.is_empty(), "nothing is noted");
    list.grow(2 + MAX_LABELS).unwrap();
    assert!(list.insert_short::<2>(handle, &patch, Chain::Post).is_some());
    assert_eq!(list.insert_short::<2>(Handle::new(6), &patch, Chain::Post), None, "labels need room too");
    assert_eq!((list.targets.len(), list.runs.len()), (1, 1));
    list.check().unwrap();
}

#[test]
fn short_patches_of_every_length_are_noted() {
    let program = vec![PLAIN; 100];
    for chain in CHAINS {
        let arena = Arena::new();
        let mut list = List::<OneField, u8>::with_aux(&arena, &program, &[9; 100]).unwrap();
        list.grow(400).unwrap();
        list.runs.reserve(30);
        list.open_window(0);
        let mut units = Vec::new();
        for at in 0..8 {
            units.push(PLAIN);
            let (handle, patch) = (Handle::new(at), Patch::new(&units).fact(Fact::MoveTo(at)));
            let inserted = match at + 1 {
                1 => list.insert_short::<1>(handle, &patch, chain),
                2 => list.insert_short::<2>(handle, &patch, chain),
                3 => list.insert_short::<3>(handle, &patch, chain),
                4 => list.insert_short::<4>(handle, &patch, chain),
                5 => list.insert_short::<5>(handle, &patch, chain),
                6 => list.insert_short::<6>(handle, &patch, chain),
                7 => list.insert_short::<7>(handle, &patch, chain),
                _ => list.insert_short::<8>(handle, &patch, chain),
            };
            let inserted = inserted.expect("it is short");
            assert_eq!(list.aux(inserted.at(at)), Some(&9));
            let beyond = Patch::new(&units).fact(Fact::MoveTo(at + 1));
            assert_eq!(list.insert_short::<8>(Handle::new(20), &beyond, chain), None);
        }
        list.check().unwrap();
    }
}

#[test]
fn a_fact_fits_where_there_is_a_unit() {
    assert!(fact_fits::<2>(Fact::MoveTo(0)) && fact_fits::<2>(Fact::MoveTo(1)));
    assert!(!fact_fits::<2>(Fact::MoveTo(2)) && !fact_fits::<2>(Fact::MoveTo(3)));
    assert!(fact_fits::<2>(Fact::Keep) && fact_fits::<2>(Fact::Reset));
}

#[test]
fn one_listed_branch_of_one_field_is_usual() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 10]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    let to = |unit| [Branch::new(unit, Target::Original(4))];
    assert_eq!(list.note_listed(1, &to(0)), None, "there is no room for it");
    list.targets.reserve(4);
    assert_eq!(list.note_listed(1, &to(0)), Some(()));
    assert_eq!(list.note_listed(4, &to(2)), Some(()));
    assert_eq!(&list.targets[..], [Some(Handle::new(4)); 2]);
    for (branch, branches) in [
        (1, to(1).to_vec()),
        (0, to(0).to_vec()),
        (3, to(0).to_vec()),
        (1, to(64).to_vec()),
        (1, vec![]),
        (3, [to(0), to(1)].concat()),
        (1, vec![Branch::new(0, Target::Original(4)).field(1)]),
        (1, vec![Branch::new(0, Target::Local(0))]),
    ] {
        assert_eq!(list.note_listed(branch, &branches), None, "{branch:b} {branches:?}");
    }
    assert_eq!(list.targets.len(), 2);
    let mut of_two = List::<Toy>::new(&arena, &program).unwrap();
    of_two.targets.reserve(4);
    assert_eq!(of_two.note_listed(1, &to(0)), None, "there may be another field");
}

#[test]
fn instructions_of_the_program_are_targets() {
    let (arena, program) = (Arena::new(), [PLAIN, WIDE, 0, PLAIN]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    let inserted = list.append(Handle::new(0), &[PLAIN][..]).unwrap().first();
    for (index, is_insn) in [(0, true), (1, true), (2, false), (3, true), (4, true), (5, false)] {
        let handle = is_insn.then(|| Handle::new(index));
        assert_eq!(list.original_target(Target::Original(index)), handle);
        assert_eq!(list.original_target(Target::Handle(Handle::new(index))), handle);
    }
    assert_eq!(list.original_target(Target::Handle(inserted)), None);
    assert_eq!(list.original_target(Target::Local(0)), None);
    assert_eq!(list.original_target(Target::End), None);
}

#[test]
fn branches_of_short_patches_lead_into_them_and_out() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 10]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    list.grow(3 + MAX_LABELS).unwrap();
    let start = list.fresh();
    let first = BRANCH | 1 << 8;
    for (units, branches, expected, targets) in [
        // By their displacements: to the second unit, to the end, to the first unit, out of the patch.
        (vec![first, PLAIN], vec![], Some(false), vec![start + 1]),
        (vec![PLAIN, first], vec![], Some(true), vec![start + 2]),
        (vec![PLAIN, BRANCH | 0xff << 8], vec![], None, vec![]),
        (vec![PLAIN, PLAIN, BRANCH | 3 << 8], vec![], None, vec![]),
        // By what is listed.
        (
            vec![BRANCH, BRANCH],
            vec![(0, Target::Local(1)), (1, Target::End)],
            Some(true),
            vec![start + 1, start + 2],
        ),
        (
            vec![BRANCH, BRANCH],
            vec![(0, Target::Original(9)), (1, Target::Local(1))],
            Some(false),
            vec![9, start + 1],
        ),
        (vec![first, BRANCH], vec![(1, Target::Original(10))], Some(false), vec![start + 1, 10]),
        (vec![first, BRANCH], vec![(1, Target::Original(11))], None, vec![]),
        (vec![first, BRANCH], vec![(1, Target::Local(2))], None, vec![]),
        (vec![first, BRANCH], vec![(1, Target::Local(0))], None, vec![]),
        (vec![first, PLAIN], vec![(1, Target::Original(3))], None, vec![]),
        (vec![first, PLAIN], vec![(0, Target::Original(3)), (0, Target::Original(3))], None, vec![]),
        // The whole of the room, and more.
        (vec![first, PLAIN, PLAIN], vec![], Some(false), vec![start + 1]),
        (vec![first, PLAIN, PLAIN, PLAIN], vec![], None, vec![]),
    ] {
        let listed: Vec<_> = branches.iter().map(|&(unit, target)| Branch::new(unit, target)).collect();
        let patch = Patch::new(&units).branches(&listed);
        let marks = OneField::branches_of_short(&units).unwrap();
        assert_eq!(list.note_branches(marks, start, &patch), expected, "{patch:?}");
        let noted: Vec<_> = list.targets.iter().map(|target| target.unwrap().index()).collect();
        assert_eq!(noted, targets, "{patch:?}");
        list.targets.truncate(0);
    }
    let mut of_two = List::<Toy>::new(&arena, &program).unwrap();
    of_two.grow(10).unwrap();
    assert_eq!(of_two.note_branches(1, of_two.fresh(), &Patch::new(&[first, PLAIN])), None);
}

#[test]
fn a_window_is_open_where_an_instruction_of_one_unit_is() {
    let arena = Arena::new();
    let mut program = vec![PLAIN; 200];
    program[10..12].copy_from_slice(&[WIDE, 0]);
    program[63..65].copy_from_slice(&[WIDE, 0]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    list.grow(50).unwrap();
    list.runs.reserve(10);
    list.open_window(0);
    assert_eq!(list.window.units, !(1 << 10 | 1 << 11 | 1 << 63));
    list.delete(Handle::new(20)).unwrap();
    list.replace(Handle::new(5), &[PLAIN][..]).unwrap();
    assert_eq!(
        list.window.units,
        !(1 << 10 | 1 << 11 | 1 << 63 | 1 << 20) & !0 << 6,
        "above what was edited"
    );
    assert!(list.is_open_and_wide(Handle::new(10)) && !list.is_open_and_wide(Handle::new(11)));
    assert!(list.is_open_and_wide(Handle::new(63)) && !list.is_open_and_wide(Handle::new(64)));
    assert!(!list.is_open_and_wide(Handle::new(4)), "that is below");
    list.open_window(1);
    assert_eq!(list.window.units, !1);
    assert!(!list.is_open_and_wide(Handle::new(10)), "that is of another word");
    list.replace(Handle::new(70), &[PLAIN][..]).unwrap();
    // Not in order any more: from here on anything that was not edited will do.
    list.open_window(0);
    assert_ne!(list.window.block, 0);
    assert_eq!(list.window.units, !(1 << 10 | 1 << 11 | 1 << 63 | 1 << 20 | 1 << 5));
    assert!(list.is_open_and_wide(Handle::new(10)));
    list.open_window(100);
    assert_eq!(list.window.word, usize::MAX);
}

#[test]
fn a_window_of_inserted_code_leaves_out_units_of_another_name() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 64]);
    let mut list = List::<OneField>::new(&arena, &program).unwrap();
    list.append(Handle::new(0), &[PLAIN; 3][..]).unwrap();
    list.replace(Handle::new(1), &[PLAIN; 3][..]).unwrap();
    list.replace(Handle::new(2), &[PLAIN; 70][..]).unwrap();
    list.replace(Handle::new(3), &[PLAIN; 2][..]).unwrap();
    let base = list.base as usize / WORD;
    assert_eq!(list.names_in(base), !(1 << 3 | 1 << 6));
    assert_eq!(list.names_in(base + 1), up_to(14) & !(1 << 12));
    list.open_window(base);
    assert_eq!(list.window.units, !(1 << 3 | 1 << 6));
    list.append(Handle::new(list.base + 5), &[PLAIN][..]).unwrap();
    list.check().unwrap();
    assert!(!list.is_open_and_wide(Handle::new(list.base + 7)), "that is no original instruction");
}

#[test]
fn patches_of_up_to_eight_units_are_short() {
    for fact in [Fact::Keep, Fact::Reset] {
        for len in 1..=9 {
            let (arena, program) = (Arena::new(), vec![PLAIN; 64]);
            let mut list = List::<OneField>::new(&arena, &program).unwrap();
            list.grow(50).unwrap();
            list.runs.reserve(10);
            list.open_window(0);
            let units = vec![PLAIN; len];
            let inserted = list.insert_longer(Handle::new(5), &Patch::new(&units).fact(fact), Chain::Post);
            inserted.unwrap();
            // The way of all edits closes it.
            assert_eq!(list.window.word, if len <= 8 { 0 } else { usize::MAX }, "{len} units");
        }
    }
}
