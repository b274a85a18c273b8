//! What is gathered before a word is laid out; without it, everything would go its way through the general case.

use std::vec;

use super::*;
use crate::core::Arena;
use crate::fuzzing::Toy;

#[test]
fn runs_of_a_word_are_gathered() {
    let (arena, program) = (Arena::new(), vec![1; 100]);
    let mut list = List::<Toy>::new(&arena, &program).unwrap();
    // Not in order, and so in a block.
    let inserted = [20, 5, 64].map(|at| list.append(Handle::new(at), &[1, 1][..]).unwrap().at(0));
    list.prepend(Handle::new(10), &[1][..]).unwrap();
    list.append(Handle::new(10), &[1][..]).unwrap();
    let mut out = list.linearize().unwrap();
    let mut layout = Layout::new(&list, &mut out);
    layout.gather(&list.words[0]);
    let starts: Vec<_> = layout.gathered.iter().map(|run| run.map(|run| run.start)).collect();
    let mut expected = [None; WORD];
    (expected[20], expected[5]) = (Some(inserted[0]), Some(inserted[1]));
    assert_eq!(starts, expected, "those with two runs are no lone ones, and others are of another word");
}

/// Instructions as long as their units say, without displacement fields.
struct Long;

impl Isa for Long {
    type Unit = u8;

    const MAX_FIELDS: usize = 1;

    fn len(units: &[u8]) -> Option<usize> {
        let len = usize::from(*units.first()?);
        (1..=units.len()).contains(&len).then_some(len)
    }

    fn fields(_: &[u8]) -> usize {
        0
    }

    fn base(_: &[u8], _: usize) -> i64 {
        0
    }

    fn read(_: &[u8], _: usize) -> i64 {
        0
    }

    fn range(_: &[u8], _: usize) -> core::ops::RangeInclusive<i64> {
        0..=0
    }

    fn write(_: &mut [u8], _: usize, _: i64) {}
}

#[test]
fn an_instruction_may_be_longer_than_words() {
    let long = vec![130; 130];
    let program = [&[1; 10][..], &long, &[1; 100]].concat();
    let at = Handle::new(10);
    let linearized = |edit: &dyn Fn(&mut List<'_, Long>)| {
        let arena = Arena::new();
        let mut list = List::<Long>::new(&arena, &program).unwrap();
        edit(&mut list);
        let out = list.linearize().unwrap();
        assert_eq!(out.map.new_of(140), to_u32(out.units.len()) - 100);
        out.units
    };
    let with = |parts: &[&[u8]]| [&[1; 10], &parts.concat()[..], &[1; 100]].concat();
    let prepend = |list: &mut List<'_, Long>| assert!(list.prepend(at, &[2, 2][..]).is_ok());
    let delete = |list: &mut List<'_, Long>| list.delete(at).unwrap();
    assert_eq!(linearized(&|_| ()), program);
    assert_eq!(linearized(&delete), with(&[]));
    assert_eq!(linearized(&prepend), with(&[&[2, 2], &long]));
    assert_eq!(linearized(&|list| (prepend(list), delete(list)).0), with(&[&[2, 2]]));
    let replace = |list: &mut List<'_, Long>| assert!(list.replace(at, &long[..]).is_ok());
    assert_eq!(linearized(&replace), program);
    assert_eq!(linearized(&|list| (replace(list), delete(list)).0), with(&[]));
    let of_inserted = |list: &mut List<'_, Long>| {
        let inserted = list.append(Handle::new(0), &long[..]).unwrap().at(0);
        list.append(inserted, &[1][..]).unwrap();
        list.delete(inserted).unwrap();
    };
    assert_eq!(linearized(&of_inserted), with(&[&[1], &long]));
}
