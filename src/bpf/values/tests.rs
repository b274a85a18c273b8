//! Bits against the numbers that they stand for.

use std::vec::Vec;

use super::alu::arithmetic;
use super::compare::{is_taken, refine};
use super::exact::binary;
use super::{Bits, State, Value};
use crate::bpf::opcode::{
    ADD, ALU, ALU64, AND, ARSH, DIV, END, JEQ, JGE, JGT, JLE, JLT, JMP, JMP32, JNE, JSET, JSGE, JSGT, JSLE,
    JSLT, LSH, MOD, MOV, MUL, NEG, OR, RSH, SIGNED, SUB, X, XOR,
};
use crate::bpf::{Endian, Insn};

/// Bits where something happens: low ones, and the signs of both widths.
const PLACES: [u32; 5] = [0, 1, 2, 31, 63];

/// Each of the places 0, 1 or unknown, in front of a background of zeroes or ones.
fn patterns() -> Vec<Bits> {
    let mut patterns = Vec::new();
    for background in [0_u64, 0x0000_00ff_7fff_fff8] {
        for mut trits in 0..3_u32.pow(5) {
            let (mut value, mut unknown) = (background, 0_u64);
            for place in PLACES {
                match trits % 3 {
                    0 => {}
                    1 => value |= 1 << place,
                    _ => unknown |= 1 << place,
                }
                trits /= 3;
            }
            patterns.push(Bits::with_unknown(value, unknown));
        }
    }
    patterns
}

/// All numbers with these bits.
fn numbers(bits: Bits) -> impl Iterator<Item = u64> + Clone {
    let mut next = Some(bits.unknown());
    let subsets = core::iter::from_fn(move || {
        let subset = next?;
        next = subset.checked_sub(1).map(|below| below & bits.unknown());
        Some(subset)
    });
    let subsets: Vec<u64> = subsets.collect();
    subsets.into_iter().map(move |subset| bits.min() | subset)
}

/// Pairs of patterns, too many to take all.
fn pairs() -> impl Iterator<Item = (Bits, Bits)> {
    let patterns = patterns();
    let count = patterns.len();
    (0..count * 40).map(move |at| (patterns[at % count], patterns[(at * 7919 + at / count) % count]))
}

const CONDITIONS: [u8; 11] = [JEQ, JNE, JGT, JGE, JLT, JLE, JSET, JSGT, JSGE, JSLT, JSLE];

#[test]
fn sets_are_what_they_say() {
    let patterns = patterns();
    for &bits in &patterns {
        let all: Vec<u64> = numbers(bits).collect();
        assert_eq!(all.len(), 1 << bits.unknown().count_ones());
        assert_eq!((all.iter().min(), all.iter().max()), (Some(&bits.min()), Some(&bits.max())));
        let signed = || all.iter().map(|number| number.cast_signed());
        assert_eq!((signed().min(), signed().max()), (Some(bits.signed_min()), Some(bits.signed_max())));
        assert_eq!(bits.as_constant(), (all.len() == 1).then(|| all[0]));
    }
    for (a, b) in pairs() {
        let common: Vec<u64> = numbers(a).filter(|number| b.contains(*number)).collect();
        assert_eq!(
            a.meet(b).map(|meet| numbers(meet).count()).unwrap_or_default(),
            common.len(),
            "{a:?} {b:?}"
        );
        let joined = numbers(a).chain(numbers(b)).fold((u64::MAX, 0), |(and, or), n| (and & n, or | n));
        assert_eq!(a.join(b), Bits::with_unknown(joined.0, joined.0 ^ joined.1), "{a:?} {b:?}");
    }
}

#[test]
fn operations_hold_for_all_numbers() {
    for op in [ADD, SUB, MUL, DIV, MOD, AND, OR, XOR, LSH, RSH, ARSH] {
        for (class, off) in [(ALU, 0), (ALU64, 0), (ALU, SIGNED), (ALU64, SIGNED)] {
            if off == SIGNED && !matches!(op, DIV | MOD) {
                continue;
            }
            let insn = Insn::new(class | op | X, 1, 2, off, 0);
            let mut exact = 0;
            for (a, b) in pairs() {
                let result = arithmetic(insn, a, b, None);
                let (mut and, mut or) = (u64::MAX, 0);
                for (x, y) in numbers(a).flat_map(|x| numbers(b).map(move |y| (x, y))) {
                    let number = binary(insn, x, y).expect("an operation");
                    assert!(result.contains(number), "{insn:?} {a:?} {b:?}: {result:?} without {number:#x}");
                    (and, or) = (and & number, or | number);
                }
                exact += u32::from(result == Bits::with_unknown(and, and ^ or));
            }
            // Bit by bit, and with carries, all that there is to know is known.
            if matches!(op, AND | OR | XOR | ADD | SUB) {
                assert_eq!(exact as usize, pairs().count(), "{insn:?}");
            }
        }
    }
}

#[test]
fn operations_with_one_operand_hold_for_all_numbers() {
    let moves = [0, 8, 16, 32].map(|off| Insn::new(ALU64 | MOV | X, 1, 2, off, 0));
    let narrow = [0, 8, 16].map(|off| Insn::new(ALU | MOV | X, 1, 2, off, 0));
    let negations = [ALU, ALU64].map(|class| Insn::new(class | NEG, 1, 0, 0, 0));
    let swaps = [16, 32, 64].map(|bits| Insn::new(ALU64 | END, 1, 0, 0, bits));
    let to_ends = [16, 32, 64].map(|bits| Insn::new(ALU | END | X, 1, 0, 0, bits));
    for insn in moves.into_iter().chain(narrow).chain(negations).chain(swaps).chain(to_ends) {
        for endian in [None, Some(Endian::Little), Some(Endian::Big)] {
            for bits in patterns() {
                let result = arithmetic(insn, bits, bits, endian);
                for number in numbers(bits) {
                    let of_one = arithmetic(insn, Bits::constant(number), Bits::constant(number), endian);
                    assert_eq!(result.join(of_one), result, "{insn:?} {bits:?} {number:#x}");
                    assert!(of_one.as_constant().is_some() || endian.is_none());
                }
            }
        }
    }
}

#[test]
fn jumps_and_what_they_tell_hold_for_all_numbers() {
    for op in CONDITIONS {
        for class in [JMP, JMP32] {
            let insn = Insn::new(class | op | X, 1, 2, 0, 0);
            for (a, b) in pairs() {
                let decided = is_taken(insn, a, b);
                let mut seen = [false; 2];
                for (x, y) in numbers(a).flat_map(|x| numbers(b).map(move |y| (x, y))) {
                    let taken = is_taken(insn, Bits::constant(x), Bits::constant(y)).expect("constants");
                    seen[usize::from(taken)] = true;
                    let (left, right) = refine(insn, taken, a, b);
                    assert!(left.contains(x) && right.contains(y), "{insn:?} {taken} {a:?} {b:?}");
                }
                match decided {
                    Some(taken) => assert!(!seen[usize::from(!taken)], "{insn:?} {a:?} {b:?}"),
                    // With masks and equality, nothing is missed.
                    None if matches!(op, JEQ | JNE | JSET) => {
                        assert_eq!(seen, [true; 2], "{insn:?} {a:?} {b:?}");
                    }
                    None => {}
                }
            }
        }
    }
}

/// Stores of all sizes at all places of two slots, against bytes.
#[test]
fn the_frame_holds_bytes() {
    for endian in [Endian::Little, Endian::Big] {
        let number = |bytes: &[Option<u8>]| {
            let fold = |bits: Bits, byte: &Option<u8>| {
                let byte = byte.map_or(Bits::UNKNOWN.low(8), |byte| Bits::constant(byte.into()));
                Bits::with_unknown(bits.min() << 8 | byte.min(), bits.unknown() << 8 | byte.unknown())
            };
            match endian {
                Endian::Little => bytes.iter().rev().fold(Bits::constant(0), fold),
                Endian::Big => bytes.iter().fold(Bits::constant(0), fold),
            }
        };
        let mut state = State::NOTHING;
        let mut bytes = [None; 16];
        let mut value = 0x0123_4567_89ab_cdef_u64;
        for turn in 0..2000 {
            value = value.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(17);
            let len = 1 << (value >> 7 & 3);
            let at = usize::try_from(value >> 13 & 15).expect("small") / len * len;
            let offset = |at: usize| i32::try_from(at).expect("small") - 16;
            let size = i32::try_from(len).expect("small");
            _ = state.store(offset(at), size, Value::constant(value), Some(endian));
            let low = match endian {
                Endian::Little => value.to_le_bytes()[..len].to_vec(),
                Endian::Big => value.to_be_bytes()[8 - len..].to_vec(),
            };
            for (byte, stored) in bytes[at..].iter_mut().zip(low) {
                *byte = Some(stored);
            }
            if turn % 50 == 0 {
                state.forget_slots(Some(-8));
                bytes[8..].fill(None);
            }
            for len in [1, 2, 4, 8] {
                for at in (0..16).step_by(len) {
                    let loaded = state.load(offset(at), i32::try_from(len).expect("small"), Some(endian));
                    assert_eq!(loaded, Value::Bits(number(&bytes[at..at + len])), "{turn} {at} {len}");
                }
            }
        }
    }
}
