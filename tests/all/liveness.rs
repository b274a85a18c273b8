//! Live registers and stack use. The kernel says whether what is called dead is dead.

use relinear::bpf::{Bpf, Cfg, Frame, Frames, Insn, Liveness, RegSet};
use relinear::{Arena, Handle, List};

use crate::kernel;
use crate::random::{Rng, Shape, program, traffic_control};

fn set(regs: &[u8]) -> RegSet {
    regs.iter().fold(RegSet::EMPTY, |set, &reg| set.union(RegSet::of(reg)))
}

/// What is live before the first instruction: low halves, then high halves.
fn live_at_start(text: &str) -> (RegSet, RegSet) {
    let program = program(text);
    let live = Liveness::new(&program, &Cfg::new(&program).expect("a graph")).before(0);
    (live.low, live.high)
}

#[test]
fn each_kind_of_instruction_reads_and_writes() {
    for (insn, low, high) in [
        // r0 is read by `exit` in all of these, unless the instruction writes it.
        ("r0 = 1", &[][..], &[][..]),
        ("w0 = 1", &[], &[]),
        ("r0 = 1 ll", &[], &[]),
        ("r0 = r2", &[2], &[2]),
        ("w0 = w2", &[2], &[]),
        ("r0 = (s8)r2", &[2], &[]),
        ("r0 = (s32)r2", &[2], &[]),
        ("r0 += r2", &[0, 2], &[0, 2]),
        ("w0 += w2", &[0, 2], &[]),
        ("w0 <<= 3", &[0], &[]),
        ("r0 = -r0", &[0], &[0]),
        ("r0 = bswap32 r0", &[0], &[]),
        ("r0 = be64 r0", &[0], &[0]),
        ("r0 = *(u8 *)(r3 + 4)", &[3], &[3]),
        ("*(u32 *)(r3 + 4) = w2", &[0, 2, 3], &[0, 3]),
        ("*(u64 *)(r3 + 4) = r2", &[0, 2, 3], &[0, 2, 3]),
        ("*(u64 *)(r3 + 4) = 5", &[0, 3], &[0, 3]),
        ("lock *(u64 *)(r3 + 0) += r2", &[0, 2, 3], &[0, 2, 3]),
        ("w0 = atomic_fetch_add((u32 *)(r3 + 0), w0)", &[0, 3], &[3]),
        ("r0 = cmpxchg_64(r3 + 0, r0, r2)", &[0, 2, 3], &[0, 2, 3]),
        ("w0 = cmpxchg32_32(r3 + 0, w0, w2)", &[0, 2, 3], &[3]),
        ("if r2 == r3 goto +0", &[0, 2, 3], &[0, 2, 3]),
        ("if w2 == 3 goto +0", &[0, 2], &[0]),
        ("goto +0", &[0], &[0]),
        ("may_goto +0", &[0], &[0]),
        ("call 5", &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]),
        ("r0 = *(u16 *)skb[12]", &[6], &[6]),
        ("r0 = *(u16 *)skb[r7 + 12]", &[6, 7], &[6, 7]),
    ] {
        if relinear::bpf::asm::parse(insn).is_err() {
            eprintln!("NO SYNTAX {insn}");
            continue;
        }
        assert_eq!(live_at_start(&format!("{insn}\nexit")), (set(low), set(high)), "{insn}");
    }
}

#[test]
fn what_is_live_comes_round_loops_and_from_both_ways() {
    let (low, high) = live_at_start(
        "
    top:
        if w1 > 9 goto out
        w1 += w2
        goto top
    out:
        w0 = w3
        if r4 == 0 goto end
        r0 = r5
    end:
        exit
    ",
    );
    assert_eq!((low, high), (set(&[1, 2, 3, 4, 5]), set(&[4, 5])));
}

#[test]
fn both_slots_of_a_wide_load_have_the_same() {
    let program = program("r1 = 1 ll\nr0 = r1\nexit");
    let liveness = Liveness::new(&program, &Cfg::new(&program).expect("a graph"));
    assert_eq!(liveness.before(0), liveness.before(1));
    assert_eq!(liveness.after(0), liveness.after(1));
    assert_eq!(liveness.after(0).low, set(&[1]));
}

/// Overwrites dead registers, and the dead high halves of others, before instructions of random
/// programs: the kernel must accept them all the same, and they return the same.
#[test]
fn dead_registers_can_be_overwritten() {
    if !kernel::is_available() {
        return;
    }
    let (mut whole, mut halves) = (0, 0);
    for seed in 0..60 {
        let shape = Shape { statements: 60, callees: 2, junk: false, use_r1: seed % 2 == 0 };
        let program = program(&traffic_control(seed, shape));
        let liveness = Liveness::new(&program, &Cfg::new(&program).expect("a graph"));
        let mut rng = Rng::new(seed);
        let arena = Arena::new();
        let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
        let handles: Vec<Handle> = list.iter().collect();
        for handle in handles {
            let live = liveness.before(handle.index());
            for reg in 0..10 {
                if !live.low.contains(reg) {
                    let junk = Insn::mov64_imm(reg, rng.constant());
                    list.prepend(handle, &[junk][..]).expect("an edit");
                    whole += 1;
                } else if !live.high.contains(reg) {
                    // Zeroes go above.
                    list.prepend(handle, &[Insn::mov32_reg(reg, reg)][..]).expect("an edit");
                    halves += 1;
                }
            }
        }
        let changed = list.linearize().expect("a program").units;
        let [before, after] = [&program.insns, &changed].map(|insns| {
            let loaded = kernel::load(insns).unwrap_or_else(|refused| panic!("seed {seed}: {refused:?}"));
            [14, 77].map(|packet| loaded.run(packet).expect("it runs"))
        });
        assert_eq!(before, after, "seed {seed}");
    }
    assert!(whole > 5000 && halves > 500, "{whole} registers, {halves} halves");
}

fn frames(text: &str) -> Vec<Frame> {
    let program = program(text);
    Frames::new(&program, &Cfg::new(&program).expect("a graph")).all().to_vec()
}

#[test]
fn stack_use_follows_addresses() {
    for (text, depth) in [
        ("exit", 0),
        ("*(u8 *)(r10 - 1) = 5\nexit", 1),
        ("r1 = *(u64 *)(r10 - 24)\nexit", 24),
        ("r2 = r10\nr2 += -40\ncall 1\nexit", 40),
        ("r2 = r10\nr2 -= 48\nexit", 48),
        ("r2 = r10\nr2 += -40\nr2 += 8\n*(u64 *)(r2 - 16) = 1\nexit", 48),
        ("r2 = r10\nr2 += -8\n*(u64 *)(r10 - 16) = r2\nr3 = *(u64 *)(r10 - 16)\nr3 += -24\nexit", 32),
        // Unknown arithmetic, and a loop that goes down.
        ("r2 = r10\nr2 += r3\nexit", 512),
        ("r3 += r10\nexit", 512),
        ("r2 = r10\ntop:\nr2 += -8\nif r1 != 0 goto top\nexit", 512),
        // The register is another one by then.
        ("r2 = r10\nr2 += -8\nr2 = 5\nr2 += -100\nexit", 8),
        // The worse of two ways.
        ("r2 = r10\nif r1 == 0 goto low\nr2 += -8\ngoto on\nlow:\nr2 += -64\non:\nr2 += -8\nexit", 72),
    ] {
        assert_eq!(frames(text), [Frame { depth, escapes: false }], "{text}");
    }
}

#[test]
fn addresses_escape_to_other_code_of_the_program() {
    let passed = "r1 = r10\nr1 += -8\ncall sub\nexit\nsub:\n*(u64 *)(r1 - 8) = 1\nexit";
    assert_eq!(frames(passed), [Frame { depth: 8, escapes: true }, Frame { depth: 0, escapes: false }]);
    let callback = "r1 = 4\nr2 = subprog[sub] ll\nr3 = r10\nr4 = 0\ncall 181\nexit\nsub:\nexit";
    assert!(frames(callback)[0].escapes);
    let kernel_function = "r1 = r10\ncall kfunc 7\nexit";
    if relinear::bpf::asm::parse(kernel_function).is_err() {
        eprintln!("NO SYNTAX kfunc");
        return;
    }
    assert!(frames(kernel_function)[0].escapes);
    assert!(!frames("r1 = r10\nr1 += -8\ncall 5\nexit")[0].escapes);
}

#[test]
fn a_slot_below_all_that_is_used() {
    let slot = |depth, escapes| Frame { depth, escapes }.unused_slot();
    assert_eq!(slot(0, false), Some(-8));
    assert_eq!(slot(1, false), Some(-16));
    assert_eq!(slot(16, false), Some(-24));
    assert_eq!(slot(504, false), Some(-512));
    assert_eq!(slot(505, false), None);
    assert_eq!(slot(8, true), None);
}

/// The verifier never sees deeper stack than the analysis does.
#[test]
fn stack_depths_are_those_of_the_kernel() {
    if !kernel::is_available() {
        return;
    }
    let mut rng = Rng::new(1);
    for seed in 0..40 {
        let shape = Shape { statements: 40, callees: 2, junk: false, use_r1: true };
        let deep = 8 * (8 + rng.below(7));
        let text = traffic_control(seed, shape)
            .replace("r9 = 0\n", &format!("r9 = r10\nr9 += -{deep}\n*(u8 *)(r9 + 3) = 1\nr9 = 0\n"));
        let program = program(&text);
        let loaded = kernel::load(&program.insns).unwrap_or_else(|refused| panic!("{refused:?}"));
        let frames = Frames::new(&program, &Cfg::new(&program).expect("a graph"));
        let ours: Vec<u16> = frames.all().iter().map(|frame| frame.depth).collect();
        let theirs = loaded.stack_depths();
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            // An address alone is no use to the verifier, but it counts here.
            assert!(*ours >= theirs && *ours <= theirs + 8, "seed {seed}: {ours} {theirs}");
        }
    }
}
