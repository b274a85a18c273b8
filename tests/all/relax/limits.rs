//! eBPF jumps at the limits of their 16 bits, and far beyond, in both ways of making them reach.

use std::time::Instant;

use relinear::bpf::opcode::{JEQ, JNE, JSET};
use relinear::bpf::{Bpf, Cpu, Insn};
use relinear::{Arena, Branch, Error, Handle, Linear, List, Patch, Relaxed, Target};

/// The farthest that a jump goes on, in slots from the one after it; it goes one more back.
const FAR: usize = 32_767;

/// A program of `len` moves and an exit, with jumps from and to these positions.
fn program<'a>(arena: &'a Arena, moves: &'a [Insn], jumps: &[(u32, u32, Insn)]) -> List<'a, Bpf> {
    let mut list = List::<Bpf>::new(arena, moves).unwrap();
    for &(from, to, jump) in jumps {
        let branches = [Branch::new(0, Target::Original(to))];
        list.replace(Handle::new(from), Patch::new(&[jump]).branches(&branches)).unwrap();
    }
    list
}

fn moves(len: usize) -> Vec<Insn> {
    let mut moves = vec![Insn::mov64_imm(0, 0); len];
    moves.push(Insn::exit());
    moves
}

/// Where the jump at `at` comes to, through what else jumps only.
fn follow(insns: &[Insn], mut at: usize) -> usize {
    loop {
        let by = if insns[at].code == Insn::gotol(0).code { insns[at].imm } else { i32::from(insns[at].off) };
        at = (at + 1).checked_add_signed(isize::try_from(by).unwrap()).unwrap();
        if !insns[at].is_goto() {
            return at;
        }
    }
}

/// Relaxes for both processors, and checks where the jumps lead.
fn relax(len: usize, jumps: &[(u32, u32, Insn)]) -> [Relaxed; 2] {
    [Cpu::V3, Cpu::V4].map(|cpu| {
        let (arena, moves) = (Arena::new(), moves(len));
        let mut list = program(&arena, &moves, jumps);
        let mut out = Linear::default();
        let relaxed = list.linearize_relaxed(&cpu, &mut out).unwrap();
        for &(from, to, jump) in jumps {
            let at = out.map.position_of(from).unwrap() as usize;
            let units = &out.units;
            let lands = match units[at] {
                insn if insn.code == jump.code && !(jump.is_cond() && insn.off == 1) => follow(units, at),
                // The inverse over a `gotol`, or the condition itself with a `goto` between.
                insn if insn.code == jump.code => follow(units, at + 2),
                _ => follow(units, if jump.is_cond() { at + 1 } else { at }),
            };
            let to = out.map.new_of(to) as usize;
            assert_eq!(lands, to, "from {from}");
            assert!(cpu == Cpu::V4 || units.iter().all(|insn| insn.code != Insn::gotol(0).code));
        }
        relaxed
    })
}

fn jeq() -> Insn {
    Insn::jmp_imm(JEQ, 1, 0, 0)
}

#[test]
fn a_jump_that_just_reaches_is_left_alone() {
    let far = u32::try_from(FAR).unwrap();
    for jump in [Insn::ja(0), jeq(), Insn::may_goto(0)] {
        assert_eq!(relax(FAR + 2, &[(0, far + 1, jump)]), [Relaxed::default(); 2]);
        assert_eq!(relax(FAR + 2, &[(far, 0, jump)]), [Relaxed::default(); 2]);
        for jumps in [[(0, far + 2, jump)], [(far + 1, 0, jump)]] {
            let [v3, v4] = relax(FAR + 3, &jumps);
            assert_eq!((v3.lengthened, v3.detoured, v3.trampolines, v3.islands, v3.rounds), (0, 1, 1, 1, 1));
            assert_eq!((v4.lengthened, v4.detoured, v4.trampolines, v4.islands, v4.rounds), (1, 0, 0, 0, 1));
        }
    }
}

#[test]
fn the_error_without_relaxation_says_all_there_is_to_say() {
    let (arena, moves) = (Arena::new(), moves(70_000));
    let list = program(&arena, &moves, &[(3, 50_000, jeq())]);
    let error = list.linearize().unwrap_err();
    let expected =
        Error::OutOfRange { origin: 3, from: 3, to: 50_000, displacement: 49_996, min: -32_768, max: 32_767 };
    assert_eq!(error, expected);
    let text = error.to_string();
    for part in ["at 3", "50000", "49996", "-32768..=32767"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn many_jumps_to_one_target_share_their_trampolines() {
    let jumps: Vec<_> = (0..30_000).map(|from| (from, 200_000, jeq())).collect();
    let [v3, v4] = relax(200_000, &jumps);
    // 170,000 slots are not less than five times the reach.
    assert_eq!((v3.detoured, v3.trampolines, v3.islands, v3.rounds), (30_000, 6, 6, 1));
    assert_eq!((v4.lengthened, v4.rounds), (30_000, 1));
}

#[test]
fn trampolines_stand_where_control_does_not_come_along() {
    // The exit is near the place that is best.
    let (arena, mut moves) = (Arena::new(), moves(50_000));
    moves[30_000] = Insn::exit();
    let jumps = [(0, 40_000, jeq()), (1, 30_001, jeq()), (49_000, 5, Insn::ja(0))];
    let mut list = program(&arena, &moves, &jumps);
    let mut out = Linear::default();
    let relaxed = list.linearize_relaxed(&Cpu::V3, &mut out).unwrap();
    assert_eq!((relaxed.trampolines, relaxed.islands), (2, 0));
    assert!(out.units[30_001..30_003].iter().all(|insn| insn.is_goto()));
    assert_eq!(out.map.new_of(30_001), 30_003);
}

#[test]
fn each_jump_pushes_the_next_one_out_of_reach() {
    // Each reaches as long as nothing inside it grows, but for the last.
    let n = 3_000;
    let chain = |last| {
        (0..n).map(move |nth: u32| (nth, nth + 32_768 + u32::from(nth + 1 == n) * last, jeq())).collect()
    };
    let reaching: Vec<_> = chain(0);
    assert_eq!(relax(40_000, &reaching), [Relaxed::default(); 2]);
    let tipped: Vec<_> = chain(1);
    let [v3, v4] = relax(40_000, &tipped);
    assert_eq!((v4.lengthened, v4.rounds), (n, 1));
    assert_eq!((v3.detoured, v3.rounds), (n, 1));
}

#[test]
fn jumps_that_tip_one_at_a_time_are_found_in_one_round() {
    // The jump at `nth` tips when all behind it have grown, and not before.
    let n = 3_000;
    let jumps: Vec<_> = (0..n)
        .map(|nth: u32| {
            let inside = n - 1 - nth;
            (nth, nth + 32_769 - inside.min(1) - inside.saturating_sub(1), jeq())
        })
        .collect();
    let [_, v4] = relax(40_000, &jumps);
    assert_eq!((v4.lengthened, v4.rounds), (n, 1));
}

#[test]
fn nested_loops_and_switches_reach() {
    let nested: Vec<_> = (0..200).map(|nth| (99_999 - nth, nth, Insn::jmp_imm(JNE, 1, 0, 0))).collect();
    let [v3, _] = relax(100_000, &nested);
    assert_eq!((v3.detoured, v3.rounds), (200, 1));
    // 100,000 slots are three times the reach and some more.
    assert_eq!((v3.trampolines, v3.islands), (600, 3));
    let switch: Vec<_> =
        (0..10_000).map(|nth| (nth, 10_000 + 9 * nth, Insn::jmp_imm(JSET, 1, 4, 0))).collect();
    let [v3, v4] = relax(100_000, &switch);
    assert_eq!((v3.rounds, v4.rounds), (1, 1));
    assert!(v3.trampolines < 40_000, "{v3:?}");
}

#[test]
fn what_cannot_be_helped_is_an_error() {
    let jumps: Vec<_> = (0..40_000).map(|nth| (nth, 100_000 + nth, jeq())).collect();
    let (arena, moves) = (Arena::new(), moves(150_000));
    let mut list = program(&arena, &moves, &jumps);
    let mut out = Linear::default();
    let error = list.linearize_relaxed(&Cpu::V3, &mut out).unwrap_err();
    assert!(matches!(error, Error::OutOfRange { displacement: 99_999, .. }), "{error}");
    assert!(out.units.is_empty());
    // The list is as good as it was.
    list.linearize_relaxed(&Cpu::V4, &mut out).unwrap();
}

#[test]
fn the_error_is_of_a_jump_that_cannot_be_helped() {
    let crowd = (0..40_000).map(|nth| (80_000 + nth, 180_000 + nth, jeq()));
    let jumps: Vec<_> = [(0, 50_000, jeq())].into_iter().chain(crowd).collect();
    let (arena, moves) = (Arena::new(), moves(230_000));
    let mut list = program(&arena, &moves, &jumps);
    let error = list.linearize_relaxed(&Cpu::V3, &mut Linear::default()).unwrap_err();
    assert!(matches!(error, Error::OutOfRange { origin: 80_000.., .. }), "{error}");
}

/// Prints the time too: `cargo test --release million -- --nocapture`.
#[test]
fn a_million_slots_with_many_far_jumps_take_no_time() {
    let len = 1 << 20;
    let pseudo = |nth: u32| nth.wrapping_mul(2_654_435_761) >> 12;
    let shapes: [(&str, Vec<_>); 3] = [
        (
            "forth",
            (0..100_000).map(|nth| (nth * 10, nth * 10 + 33_000 + pseudo(nth) % 7_000, jeq())).collect(),
        ),
        (
            "back",
            (0..100_000).map(|nth| (nth * 10 + 40_000, nth * 10 + pseudo(nth) % 7_000, jeq())).collect(),
        ),
        ("to few", (0..100_000).map(|nth| (nth * 10, pseudo(nth) / 32_768 * 32_768, jeq())).collect()),
    ];
    for (name, jumps) in shapes {
        let moves = moves(len);
        for cpu in [Cpu::V3, Cpu::V4] {
            let arena = Arena::new();
            let mut list = program(&arena, &moves, &jumps);
            let mut out = Linear::default();
            let before = Instant::now();
            let relaxed = list.linearize_relaxed(&cpu, &mut out).unwrap();
            println!("{name} {cpu:?}: {:?}, {} slots, {relaxed:?}", before.elapsed(), out.units.len());
            assert_eq!(relaxed.rounds, 1);
        }
    }
}
