//! The core at sizes that Miri gets through: every column of a list, both outputs, tables, cursors, relaxation, reuse
//! of an arena. Of the models (feature `fuzzing`) it takes the checks that the fuzz targets make.
//!
//! A test binary of its own: the others read files, start processes, or take hours there.
#![cfg(feature = "bpf")]

mod shared;
// What `all` has of the core that is small enough.
#[cfg(miri)]
#[path = "all/tables.rs"]
mod tables;

use relinear::bpf::{Bpf, Cpu, Insn};
use relinear::{Arena, At, Branch, Deleted, Fact, Handle, Linear, List, Patch, Target};
use shared::{JUMP, MOV};

/// Numbers that look random: an edit at each place, of each kind, sooner or later.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.0 >> 33) % u64::from(limit)).expect("it is below")
    }
}

fn edit_at_random(arena: &Arena, units: u32, edits: u32, seed: u64) -> (Vec<Insn>, Vec<u16>) {
    let mut numbers = Numbers(seed);
    let (program, facts) = shared::program(units);
    let mut list = List::<Bpf, u16>::with_aux(arena, &program, &facts).expect("a list");
    let long = [MOV; 150];
    let mut handles: Vec<Handle> = list.iter().collect();
    handles.pop();
    for _ in 0..edits {
        let at = handles[numbers.below(u32::try_from(handles.len()).expect("few")) as usize];
        if !list.is_live(at) {
            continue;
        }
        let len = numbers.below(9) + 1;
        let mut units = long[..len as usize].to_vec();
        let to =
            [Branch::new(0, [Target::Local(0), Target::End, Target::Original(5)][numbers.below(3) as usize])];
        let branches = numbers.below(3) == 0;
        if branches {
            units[0] = JUMP;
        }
        let fact = [Fact::Keep, Fact::Reset, Fact::MoveTo(len - 1)][numbers.below(3) as usize];
        let patch = Patch::new(&units).branches(if branches { &to } else { &[] });
        let inserted = match numbers.below(8) {
            0 | 1 => list.replace(at, patch.fact(fact)),
            2 | 3 => list.prepend(at, patch),
            4 => list.prepend_fallthrough(at, patch),
            5 | 6 => list.append(at, patch),
            _ => {
                list.delete(at).expect("it is live");
                continue;
            }
        };
        let inserted = inserted.expect("it is in order");
        handles.push(inserted.first());
        handles.push(inserted.at(len - 1));
    }
    list.append(Handle::new(0), &long[..]).ok();
    list.check().expect("it is sound");
    let mut out = Linear::default();
    for _ in 0..2 {
        list.linearize_into(&mut out).expect("it is laid out");
    }
    assert_eq!(out.units.len(), list.live_len() as usize);
    let mut lines: Vec<u32> = (0..units).collect();
    out.map.adjust_points(&mut lines, At::Start, Deleted::Slide, |line| line).expect("it is in order");
    let mut starts = vec![0, units / 2];
    out.map.adjust_starts(&mut starts, |start| start).expect("it is in order");
    for new in 0..out.map.new_len() {
        assert!(out.map.origin(new).position() <= units);
    }
    (out.units, out.aux)
}

#[test]
fn lists_at_bounded_sizes() {
    let (seeds, edits) = if cfg!(miri) { (1, 20) } else { (200, 300) };
    let mut arena = Arena::new();
    for seed in 0..seeds {
        let units = 65 + u32::try_from(seed).expect("few") % 70;
        let fresh = edit_at_random(&Arena::new(), units, edits, seed);
        // Memory that was used before makes no difference.
        assert_eq!(edit_at_random(&arena, units, edits, seed), fresh, "seed {seed}");
        arena.reset();
    }
}

#[test]
#[cfg_attr(miri, ignore = "a quarter of an hour: `models::relaxation` does the same with less units")]
fn branches_take_their_longer_form() {
    // Of 2^15 units and more, which is as few as it takes.
    let far = vec![MOV; 1 << 15];
    let program = [JUMP.with_off(1), MOV, Insn::exit()];
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program).expect("a list");
    list.append(Handle::new(1), &far[..]).expect("there is room");
    let mut out = Linear::default();
    let relaxed = list.linearize_relaxed(&Cpu::V4, &mut out).expect("there is a longer form");
    assert_eq!(relaxed.lengthened, 1);
    assert!(out.units.len() > far.len() + program.len());
}

/// The checks of the fuzz targets, on bytes that are the same each time.
#[cfg(feature = "fuzzing")]
mod models {
    use arbitrary::{Arbitrary, Unstructured};
    use relinear::fuzzing::{RelaxCase, TestCase, check, check_relaxed};

    use super::Numbers;

    fn bytes(numbers: &mut Numbers, most: u32) -> Vec<u8> {
        let len = numbers.below(most);
        (0..len).map(|_| u8::try_from(numbers.below(256)).expect("a byte")).collect()
    }

    #[test]
    fn edits_and_cursors() {
        let mut numbers = Numbers(7);
        for _ in 0..if cfg!(miri) { 2 } else { 100 } {
            let bytes = bytes(&mut numbers, if cfg!(miri) { 160 } else { 1500 });
            check(&TestCase::arbitrary(&mut Unstructured::new(&bytes)).expect("no bytes are too few"));
        }
    }

    #[test]
    fn relaxation() {
        let mut numbers = Numbers(8);
        for _ in 0..if cfg!(miri) { 3 } else { 100 } {
            let bytes = bytes(&mut numbers, if cfg!(miri) { 90 } else { 600 });
            check_relaxed(
                &RelaxCase::arbitrary(&mut Unstructured::new(&bytes)).expect("no bytes are too few"),
            );
        }
    }
}
