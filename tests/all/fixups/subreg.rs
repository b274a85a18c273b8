//! Zero extension and random high halves.

use relinear::bpf::{Aux, Bpf, Insn};
use relinear::passes::{rnd_hi32, zext};
use relinear::{Arena, List};

use super::{AX, EXIT, slot};

/// An instruction, the register of which it defines the low half, and whether that is a
/// compare-and-exchange of 32 bits.
const DEFINITIONS: [(Insn, Option<u8>, bool); 25] = [
    (slot(0x04, 3, 0, 0, 1), Some(3), false),
    (slot(0xbc, 3, 4, 8, 0), Some(3), false),
    (slot(0x84, 3, 0, 0, 0), Some(3), false),
    (slot(0xd4, 3, 0, 0, 16), Some(3), false),
    (slot(0xdc, 3, 0, 0, 32), Some(3), false),
    (slot(0xdc, 3, 0, 0, 64), None, false),
    (slot(0xd7, 3, 0, 0, 32), Some(3), false),
    (slot(0xd7, 3, 0, 0, 64), None, false),
    (slot(0x07, 3, 0, 0, 1), None, false),
    (slot(0x61, 5, 1, 0, 0), Some(5), false),
    (slot(0x69, 5, 1, 0, 0), Some(5), false),
    (slot(0x71, 5, 1, 0, 0), Some(5), false),
    (slot(0x79, 5, 1, 0, 0), None, false),
    (slot(0x81, 5, 1, 0, 0), None, false),
    (slot(0x91, 5, 1, 0, 0), None, false),
    (slot(0xc3, 10, 2, -8, 0x01), Some(2), false),
    (slot(0xc3, 10, 2, -8, 0xe1), Some(2), false),
    (slot(0xc3, 10, 2, -8, 0xf1), Some(0), true),
    (slot(0xc3, 4, 10, -8, 0x100), Some(4), false),
    (slot(0xc3, 10, 2, -8, 0x00), None, false),
    (slot(0xdb, 10, 2, -8, 0x01), None, false),
    (slot(0xdb, 10, 2, -8, 0xf1), None, false),
    (slot(0x63, 10, 2, -8, 0), None, false),
    (slot(0x62, 10, 0, -8, 1), None, false),
    (slot(0x85, 0, 0, 0, 7), None, false),
];

fn edited(insn: Insn, zext_dst: bool, edit: impl FnOnce(&mut List<'_, Bpf, Aux<bool>>)) -> Vec<Insn> {
    let arena = Arena::new();
    let program = [slot(0x15, 1, 0, 1, 0), insn, EXIT];
    let aux = Aux { seen: true, zext_dst, user: false };
    let mut list = List::with_aux(&arena, &program, &[aux; 3]).expect("a list");
    edit(&mut list);
    list.linearize().expect("a program").units
}

/// The program of [`edited`] with `patch` in the place of the instruction.
fn around(patch: &[Insn]) -> Vec<Insn> {
    let over = i16::try_from(patch.len()).expect("a short patch");
    [&[slot(0x15, 1, 0, over, 0)], patch, &[EXIT]].concat()
}

#[test]
fn a_move_extends_what_is_read_whole() {
    for (insn, low, cmpxchg) in DEFINITIONS {
        for explicit in [false, true] {
            // A verifier says it of nothing else.
            for zext_dst in [false, low.is_some()] {
                let mut moves = 0;
                let insns = edited(insn, zext_dst, |list| {
                    moves = zext::run(list, &zext::Options { explicit }).expect("no error").moves;
                });
                let expected = match low {
                    Some(reg) if zext_dst && (explicit || cmpxchg) => vec![insn, slot(0xbc, reg, reg, 0, 1)],
                    _ => vec![insn],
                };
                assert_eq!(insns, around(&expected), "{insn:?}");
                assert_eq!(moves as usize, expected.len() - 1);
            }
        }
    }
}

#[test]
fn high_halves_that_nobody_reads_are_random() {
    let options = rnd_hi32::Options { seed: 7, ax: AX };
    for (insn, low, _) in DEFINITIONS {
        for zext_dst in [false, true] {
            for context in [false, true] {
                let mut randomized = 0;
                let insns = edited(insn, zext_dst, |list| {
                    let report = rnd_hi32::run(list, &options, |_| context).expect("no error");
                    randomized = report.randomized;
                });
                let left = zext_dst || context && insn.class() == 1;
                let expected = match low {
                    Some(reg) if !left => vec![
                        insn,
                        slot(0xb7, AX, 0, 0, insns[2].imm),
                        slot(0x67, AX, 0, 0, 32),
                        slot(0x4f, reg, AX, 0, 0),
                    ],
                    _ => vec![insn],
                };
                assert_eq!(insns, around(&expected), "{insn:?}");
                assert_eq!(randomized as usize, expected.len() / 4);
            }
        }
    }
}

#[test]
fn each_high_half_has_a_number_of_its_own() {
    let program =
        [slot(0xb4, 0, 0, 0, 1), slot(0x18, 1, 0, 0, 1), slot(0, 0, 0, 0, 0), slot(0xb4, 2, 0, 0, 1), EXIT];
    let numbers = |seed| {
        let arena = Arena::new();
        let mut list = List::with_aux(&arena, &program, &[Aux::<()>::default(); 5]).expect("a list");
        rnd_hi32::run(&mut list, &rnd_hi32::Options { seed, ax: AX }, |_| false).expect("no error");
        let insns = list.linearize().expect("a program").units;
        assert_eq!(insns.len(), program.len() + 6);
        [insns[1].imm, insns[7].imm]
    };
    assert_ne!(numbers(1)[0], numbers(1)[1]);
    assert_ne!(numbers(1), numbers(2));
    assert_eq!(numbers(1), numbers(1));
}

/// One after the other does as the kernel does at once: what was extended, and what extends, is left.
#[test]
fn what_is_extended_is_not_random() {
    let insn = slot(0xc3, 10, 2, -8, 0xf1);
    let insns = edited(insn, true, |list| {
        zext::run(list, &zext::Options::default()).expect("no error");
        rnd_hi32::run(list, &rnd_hi32::Options { seed: 0, ax: AX }, |_| false).expect("no error");
    });
    assert_eq!(insns, around(&[insn, slot(0xbc, 0, 0, 0, 1)]));
}
