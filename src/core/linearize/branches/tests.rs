//! Which branches are fixed in the quick way; all of them come out the same by the other one.

use core::cell::Cell;
use core::ops::RangeInclusive;
use std::{thread_local, vec};

use super::*;
use crate::core::{Arena, Branch, Patch, Target};
use crate::fuzzing::Toys;

type OneField = Toys<1>;

thread_local! {
    static LONG: Cell<usize> = const { Cell::new(0) };
}

/// The same instruction set, which counts the displacements that are written in the long way.
#[derive(Default)]
struct Counted;

impl Isa for Counted {
    type Unit = u16;

    fn len(&self, units: &[u16]) -> Option<usize> {
        OneField::default().len(units)
    }

    fn fields(&self, insn: &[u16]) -> usize {
        OneField::default().fields(insn)
    }

    fn base(&self, insn: &[u16], field: usize) -> i64 {
        OneField::default().base(insn, field)
    }

    fn read(&self, insn: &[u16], field: usize) -> i64 {
        OneField::default().read(insn, field)
    }

    fn range(&self, insn: &[u16], field: usize) -> RangeInclusive<i64> {
        OneField::default().range(insn, field)
    }

    fn write(&self, insn: &mut [u16], field: usize, displacement: i64) {
        LONG.set(LONG.get() + 1);
        OneField::default().write(insn, field, displacement);
    }

    fn enters(&self, insn: &[u16], _: usize) -> bool {
        insn[0] & ENTERS != 0
    }

    fn update(&self, insn: &mut [u16], field: usize, new: impl Fn(i64) -> Option<i64>) -> bool {
        OneField::default().update(insn, field, new)
    }

    fn branches_of_short(&self, units: &[u16]) -> Option<u64> {
        OneField::default().branches_of_short(units)
    }
}

const PLAIN: u16 = 1;

/// The branch is a call.
const ENTERS: u16 = 1 << 6;

/// A branch to what is so far from it.
fn branch(displacement: i8) -> u16 {
    u16::from_be_bytes([displacement.cast_unsigned(), 5])
}

/// How many branches of the list take the long way.
fn long(list: &List<'_, Counted>) -> usize {
    LONG.set(0);
    list.linearize().unwrap();
    LONG.get()
}

#[test]
fn branches_of_the_program_take_the_quick_way() {
    let arena = Arena::new();
    let mut program = vec![PLAIN; 300];
    for at in [0, 5, 20, 62, 65, 100, 126, 128, 190, 299] {
        program[at] = branch(if at < 150 { 70 } else { -70 });
    }
    let mut list = List::<Counted>::new(&arena, &program).unwrap();
    assert_eq!(long(&list), 0);
    list.append(Handle::new(90), &[PLAIN][..]).unwrap();
    assert_eq!(long(&list), 0, "others are edited");
    list.prepend(Handle::new(100), &[PLAIN][..]).unwrap();
    assert_eq!(long(&list), 1, "one is edited");
    list.delete(Handle::new(128)).unwrap();
    assert_eq!(long(&list), 1, "one is gone");
}

/// What follows may be the second unit of the branch, which is known.
#[test]
fn a_branch_that_ends_a_word_takes_the_quick_way() {
    let arena = Arena::new();
    let mut program = vec![PLAIN; 200];
    (program[63], program[127], program[140]) = (branch(1), branch(1), branch(1));
    let mut list = List::<Counted>::new(&arena, &program).unwrap();
    assert_eq!(long(&list), 0);
    list.prepend(Handle::new(127), &[PLAIN][..]).unwrap();
    assert_eq!(long(&list), 1, "one that was edited is noted");
}

#[test]
fn inserted_branches_take_the_quick_way() {
    let (arena, program) = (Arena::new(), vec![PLAIN; 200]);
    let mut list = List::<Counted>::new(&arena, &program).unwrap();
    let (mut inserted, units) = (vec![], [PLAIN, branch(0), PLAIN]);
    for at in (0..100).step_by(2) {
        let branches = [Branch::new(1, Target::Original(at + 20))];
        let patch = Patch::new(&units).branches(&branches);
        inserted.push(list.append(Handle::new(at), patch).unwrap());
    }
    assert_eq!(long(&list), 0);
    list.prepend(inserted[3].at(1), &[PLAIN][..]).unwrap();
    list.append(inserted[5].at(2), &[PLAIN][..]).unwrap();
    assert_eq!(long(&list), 1, "a branch that was edited takes the long way");
    list.delete(inserted[7].at(1)).unwrap();
    assert_eq!(long(&list), 1);
}

#[test]
fn calls_come_in_from_above() {
    let arena = Arena::new();
    let wide = branch(5) + 1;
    let program = [branch(7), branch(6) | ENTERS, wide, 0, wide | ENTERS, 0, PLAIN, PLAIN, PLAIN, PLAIN];
    let mut list = List::<Counted>::new(&arena, &program).unwrap();
    let displacements = |list: &List<'_, Counted>| {
        let units = list.linearize().unwrap().units;
        [0, 1, 2, 4].map(|at| units[at] >> 8)
    };
    assert_eq!(displacements(&list), [7, 6, 5, 5]);
    list.prepend_fallthrough(Handle::new(7), &[PLAIN][..]).unwrap();
    assert_eq!(displacements(&list), [8, 6, 6, 6], "the others jump over what stands before their target");
    list.prepend_fallthrough(Handle::new(9), &[PLAIN][..]).unwrap();
    assert_eq!(displacements(&list), [8, 6, 6, 6]);
}
