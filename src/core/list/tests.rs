//! What takes too many units to be seen from outside, and how much memory the next list is expected to need.

use std::format;
use std::vec;

use super::*;
use crate::core::arena::Usage;
use crate::core::{Branch, Limits, Linear, LongForm, Patch, Relax, Target};
use crate::fuzzing::{Toy, Toys};

#[test]
fn handles_name_all_units_but_as_many_as_the_arena_allows() {
    let arena = Arena::new();
    let list = List::<Toy>::new(&arena, &[1; 70]).unwrap();
    assert_eq!(list.most_inserted(), (Handle::MAX - 128) as usize, "the end is in the second word");
    let arena = Arena::with_limits(Limits::default().units(Handle::MAX - 59));
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
    let Usage { inserted, sites, records, targets, blocks } = arena.expected();
    // With what one more edit may ask for.
    assert_eq!((inserted, sites, records, targets, blocks), (9 + 2, 1 + 1, 3 + 2, 6 + 1, 1));
}

#[test]
fn each_value_of_a_column_takes_its_size() {
    let of = |base, usage: Usage| columns::bytes::<u16, u64>(base, &usage);
    let none = Usage::default();
    let least = of(0, none);
    assert_eq!(of(640, none) - least, 640 * 8 + 10 * 44);
    assert_eq!(of(0, Usage { inserted: 640, ..none }) - least, (640 - 64) * (2 + 8) + 9 * 60);
    assert_eq!(of(0, Usage { blocks: 10, ..none }) - least, 10 * 256);
    assert_eq!(
        of(0, Usage { sites: 10, ..none }) - least,
        10 * 16 + 16 * 4,
        "with links of the least records"
    );
    assert_eq!(of(0, Usage { records: 1016, ..none }) - least, 1000 * 12);
    assert_eq!(of(0, Usage { targets: 10, ..none }) - least, 10 * 4);
}

#[test]
fn a_list_says_how_long_it_is() {
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, &[1; 7]).unwrap();
    list.append(Handle::new(3), &[1, 1][..]).unwrap();
    list.delete(Handle::new(0)).unwrap();
    assert_eq!(format!("{list:?}"), "List { original_len: 7, live_len: 8, inserted: 2, edits: 1 }");
    assert_eq!(format!("{:?}", list.iter()), "Iter(Some(i1))");
}

/// An instruction set that breaks its contract.
#[derive(Clone, Copy, Debug)]
struct Bad {
    len: usize,
    over: usize,
    base: i64,
    displacement: i64,
}

impl Default for Bad {
    fn default() -> Self {
        Self { len: 1, over: 0, base: 0, displacement: 0 }
    }
}

impl Isa for Bad {
    type Unit = u8;

    fn len(&self, units: &[u8]) -> Option<usize> {
        Some(if units[0] == 9 { self.len } else { 1 })
    }

    fn fields(&self, insn: &[u8]) -> usize {
        usize::from(insn[0] == 7)
    }

    fn base(&self, _: &[u8], _: usize) -> i64 {
        self.base
    }

    fn read(&self, _: &[u8], _: usize) -> i64 {
        self.displacement
    }

    fn range(&self, _: &[u8], _: usize) -> core::ops::RangeInclusive<i64> {
        i64::MIN..=i64::MAX
    }

    fn write(&self, _: &mut [u8], _: usize, _: i64) {}

    fn scan(&self, units: &[u8], over: usize) -> Result<crate::core::Marks, usize> {
        let mut marks = crate::core::Marks::scan(self, units, over)?;
        marks.over += self.over;
        Ok(marks)
    }
}

#[test]
fn a_length_that_cannot_be_is_no_instruction() {
    let program = [1, 1, 9, 1];
    for len in [0, 3, 4, usize::MAX] {
        let (arena, isa) = (Arena::new(), Bad { len, ..Bad::default() });
        let refused = List::<Bad>::with_isa(isa, &arena, &program, &[]).err();
        assert_eq!(refused, Some(Error::BadInsn { at: 2 }), "{len}");
        let mut list = List::<Bad>::with_isa(isa, &arena, &program[..2], &[]).unwrap();
        for patch in [&[1, 9, 1][..], &[9]] {
            let unit = u32::from(patch.len() != 1);
            assert_eq!(list.append(Handle::new(0), patch), Err(Error::BadPatchInsn { unit }), "{len}");
        }
        list.check().unwrap();
        assert_eq!(list.linearize().unwrap().units, [1, 1]);
    }
    let (arena, isa) = (Arena::new(), Bad { over: 1, ..Bad::default() });
    assert_eq!(List::<Bad>::with_isa(isa, &arena, &[1], &[]).err(), Some(Error::BadInsn { at: 1 }));
}

#[test]
fn displacements_may_be_any_numbers() {
    let program = [1, 7, 1];
    for base in [i64::MIN, -1, 0, 1, i64::MAX] {
        for displacement in [i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX] {
            let (arena, isa) = (Arena::new(), Bad { base, displacement, ..Bad::default() });
            let mut list = List::<Bad>::with_isa(isa, &arena, &program, &[]).unwrap();
            let target = i128::from(base) + 1 + i128::from(displacement);
            let target = target.clamp(i64::MIN.into(), i64::MAX.into()).try_into().unwrap();
            let outside = !(0..3).contains(&target);
            assert_eq!(list.target(Handle::new(1), 0).is_none(), outside, "{base} {displacement}");
            if outside {
                assert_eq!(list.linearize().err(), Some(Error::BranchOutside { origin: 1, target }));
            }
            let leaves = Err(Error::LeavesPatch { unit: 0, field: 0 });
            let patch = list.append(Handle::new(0), &[7][..]);
            assert_eq!(patch == leaves, !(1..=2).contains(&target), "{patch:?}");
            list.delete(Handle::new(1)).unwrap();
            let branches = [Branch::new(0, Target::Original(2))];
            list.append(Handle::new(0), Patch::new(&[7]).branches(&branches)).unwrap();
            match list.linearize() {
                Ok(_) => assert_ne!(base, i64::MIN, "such a displacement is no i64"),
                Err(error) => assert!(matches!(error, Error::OutOfRange { .. }), "{error}"),
            }
        }
    }
}

/// Longer forms of branches that reach farther, and no way for others.
struct Wider;

impl Relax<Toys<1>> for Wider {
    fn relax(&self, insn: &[u16], _: usize, long: &mut LongForm<u16>) -> bool {
        long.units.push(1);
        long.goto_target(0);
        long.units.push(insn[0] & !(1 << 4));
        insn[0] & 1 << 4 != 0
    }
}

#[test]
fn a_refused_relaxation_leaves_the_list_as_it_was() {
    let (arena, mut program) = (Arena::new(), vec![1_u16; 300]);
    // One that does not reach and has a longer form, and one over it that has none, and reaches just so: -98 units, and 30
    // that are inserted.
    program[40] = 0x07_15;
    program[100] = 0x9e_05;
    let mut list = List::<Toys<1>>::new(&arena, &program).unwrap();
    list.append(Handle::new(45), &[1, 1, 1][..]).unwrap();
    list.append(Handle::new(60), &[1; 27][..]).unwrap();
    let before = (list.live_len(), list.iter().collect::<vec::Vec<_>>());
    let mut out = Linear::default();
    let refused = list.linearize_relaxed(&Wider, &mut out);
    assert!(matches!(refused, Err(Error::OutOfRange { origin: 100, .. })), "{refused:?}");
    list.check().unwrap();
    assert_eq!((list.live_len(), list.iter().collect()), before);
    assert!(out.units.is_empty());
    list.delete(Handle::new(100)).unwrap();
    let done = list.linearize_relaxed(&Wider, &mut out).unwrap();
    assert_eq!((done.lengthened, out.units[41] >> 8), (1, 10));
}
