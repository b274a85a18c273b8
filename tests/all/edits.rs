//! Lists against the naive model of `relinear::fuzzing`: on random bytes, and on what the fuzzer kept.

use arbitrary::{Arbitrary, Unstructured};
use proptest::collection::vec;
use proptest::prelude::*;
use relinear::fuzzing::{TestCase, Toy, check};
use relinear::{Arena, Handle, Inserted, List};

fn check_bytes(bytes: &[u8]) {
    check(&TestCase::arbitrary(&mut Unstructured::new(bytes)).expect("no bytes are too few"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lists_do_what_the_model_does(bytes in vec(any::<u8>(), 0..1500)) {
        check_bytes(&bytes);
    }
}

#[test]
fn the_corpus_of_the_fuzzer_passes() {
    for input in crate::corpus("edits") {
        check_bytes(&input);
    }
}

/// The second half of an instruction is in a word of the list in which there are edits, the first is not.
#[test]
fn a_range_takes_whole_instructions_wherever_they_stand() {
    let mut program = vec![1; 100];
    program[63..65].copy_from_slice(&[2, 0]);
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, &program).unwrap();
    list.replace(Handle::new(70), &[1, 1][..]).unwrap();
    list.prepend(Handle::new(80), &[1][..]).unwrap();
    assert_eq!(list.delete_range(60..72), Ok(12), "the second unit of a replacement stays");
    assert_eq!(list.live_len(), 100 + 2 - 12);
    list.check().unwrap();
    assert_eq!(list.linearize().unwrap().units, [1; 90]);
}

/// Units that were inserted one after the other, and are replaced one after the other, need not be neighbours.
#[test]
fn what_was_inserted_here_and_there_stays_there() {
    let program: Vec<u16> = (0..10).map(|nth| nth << 4 | 1).collect();
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, &program).unwrap();
    let here = list.append(Handle::new(2), &[0xa01, 0xa11][..]).unwrap();
    let there = list.append(Handle::new(7), &[0xb01, 0xb11][..]).unwrap();
    list.replace(here.at(1), &[0xc01][..]).unwrap();
    list.replace(there.at(0), &[0xd01][..]).unwrap();
    let mut expected = program.clone();
    expected.splice(8..8, [0xd01, 0xb11]);
    expected.splice(3..3, [0xa01, 0xc01]);
    assert_eq!(list.linearize().unwrap().units, expected);
}

/// Nothing may call itself for each level: no stack would do.
#[test]
fn edits_of_inserted_code_nest_as_deep_as_memory_goes() {
    const DEEP: u16 = 50_000;
    let unit = |nth: u16| (nth % 4096) << 4 | 1;
    let program = [unit(0)];
    // Each level is inserted at one of the two units of the level before.
    let nest = |inner: u32, edit: fn(&mut List<'_, Toy>, Handle, &[u16]) -> Inserted| {
        let arena = Arena::new();
        let mut list = List::<Toy>::new(&arena, &program).unwrap();
        let mut at = Handle::new(0);
        for nth in 1..=DEEP {
            at = edit(&mut list, at, &[unit(nth), unit(nth + 1)]).at(inner);
        }
        list.check().unwrap();
        let units = list.linearize().unwrap().units;
        let mut at = list.first();
        for unit in &units {
            let handle = at.expect("there are as many");
            assert_eq!(list.insn(handle), Some(&[*unit][..]));
            at = list.next(handle);
        }
        assert_eq!(at, None);
        units
    };
    let down: Vec<_> = (1..=DEEP).map(unit).collect();
    let up: Vec<_> = (1..=DEEP).rev().map(|nth| unit(nth + 1)).collect();
    let around = [&down[..], &up].concat();
    let before = [&around[..], &program].concat();
    assert_eq!(nest(0, |list, at, units| list.append(at, units).unwrap()), [&program[..], &around].concat());
    assert_eq!(nest(1, |list, at, units| list.prepend(at, units).unwrap()), before);
    assert_eq!(nest(1, |list, at, units| list.prepend_fallthrough(at, units).unwrap()), before);
    assert_eq!(nest(1, |list, at, units| list.replace(at, units).unwrap()), [&down[..], &up[..1]].concat());
}
