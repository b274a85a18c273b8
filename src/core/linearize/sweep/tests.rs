//! Instructions that are longer than a word, and words whose labels do not fit 16 bits.

use std::vec;
use std::vec::Vec;

use crate::core::handle::to_u32;
use crate::core::map::{PLAIN, WIDE};
use crate::core::{Arena, Handle, Isa, List};
use crate::fuzzing::Toy;

/// Instructions as long as their units say, without displacement fields.
#[derive(Default)]
struct Long;

impl Isa for Long {
    type Unit = u8;

    fn len(&self, units: &[u8]) -> Option<usize> {
        let len = usize::from(*units.first()?);
        (1..=units.len()).contains(&len).then_some(len)
    }

    fn fields(&self, _: &[u8]) -> usize {
        0
    }

    fn base(&self, _: &[u8], _: usize) -> i64 {
        0
    }

    fn read(&self, _: &[u8], _: usize) -> i64 {
        0
    }

    fn range(&self, _: &[u8], _: usize) -> core::ops::RangeInclusive<i64> {
        0..=0
    }

    fn write(&self, _: &mut [u8], _: usize, _: i64) {}
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
        list.check().unwrap();
        let out = list.linearize().unwrap();
        let behind = to_u32(out.units.len()) - 100;
        assert_eq!(out.map.new_of(140), behind);
        let own = out.map.position_of(10).filter(|_| !out.map.is_deleted(11));
        for inner in 11..140 {
            assert_eq!(out.map.new_of(inner), own.map_or(behind, |own| own + inner - 10), "unit {inner}");
        }
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

#[test]
fn labels_that_do_not_fit_16_bits_go_to_a_wide_row() {
    let (arena, program) = (Arena::new(), vec![1; 300]);
    let mut list = List::<Toy>::new(&arena, &program).unwrap();
    for (at, units) in [(10, 65_535 - 63), (70, 65_536 - 63), (200, 3)] {
        list.append(Handle::new(at), &vec![1; units][..]).unwrap();
    }
    let map = list.linearize().unwrap().map;
    let rows: Vec<_> = map.words.iter().map(|word| word.row).collect();
    assert_eq!(rows, [0, WIDE, PLAIN, 1, PLAIN]);
    let grown = |old| {
        [(10, 65_535 - 63), (70, 65_536 - 63), (200, 3)]
            .iter()
            .filter(|at| at.0 < old)
            .map(|at| at.1)
            .sum::<usize>()
    };
    for old in 0..=300 {
        assert_eq!(map.new_of(to_u32(old)), to_u32(old + grown(old)), "{old}");
    }
}
