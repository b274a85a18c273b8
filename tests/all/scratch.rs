//! Scratch registers: code that overwrites all that it was given changes nothing, and the verifier takes it.

use relinear::bpf::opcode::{DW, FRAME_POINTER};
use relinear::bpf::scratch::{Claim, Context, Place, Request, Scratch, ScratchReason};
use relinear::bpf::{Arguments, Bpf, Cfg, Effects, Insn, Program, RegSet, helper};
use relinear::{Arena, Handle, List, Patch};

use crate::random::{Rng, program};

/// What was inserted, in numbers.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) inserted: usize,
    dead: usize,
    spilled: usize,
    moved: usize,
    refused: usize,
    slots: usize,
}

impl Tally {
    fn count(&mut self, claim: &Claim) {
        self.inserted += 1;
        self.spilled += claim.spilled;
        self.dead += claim.registers.len().saturating_sub(claim.spilled);
        self.moved += claim.before.len() - claim.spilled;
    }

    /// A test in which one of these never happened would prove little.
    pub(crate) fn assert_varied(&self) {
        let Self { inserted, dead, spilled, moved, refused, slots } = *self;
        let all = [inserted, dead, spilled, moved, refused, slots];
        assert!(all.into_iter().all(|count| count > 20), "{self:?}");
    }
}

/// The registers of a set, all overwritten.
fn overwrite(set: impl Iterator<Item = u8>, rng: &mut Rng) -> Vec<Insn> {
    set.map(|reg| Insn::mov64_imm(reg, rng.constant())).collect()
}

/// Inserts code that overwrites what it may at random places, one in `chances` of them.
pub(crate) fn insert_at_random(
    program: &Program,
    cfg: &Cfg,
    scratch: &mut Scratch<'_>,
    list: &mut List<'_, Bpf>,
    (rng, chances): (&mut Rng, usize),
    tally: &mut Tally,
) {
    let mut own_slots: Vec<Option<i16>> = Vec::new();
    for subprog in 0..cfg.subprogs() {
        own_slots.push(if rng.one_in(2) { scratch.reserve(subprog).ok() } else { None });
    }
    tally.slots += own_slots.iter().flatten().count();
    let handles: Vec<Handle> = list.iter().collect();
    for handle in handles {
        if !rng.one_in(chances) {
            continue;
        }
        let at = handle.index();
        let insn = program.insns[at as usize];
        let subprog = cfg.blocks()[cfg.block_at(at) as usize].subprog;
        let Effects { reads, writes, .. } = Effects::of(insn);
        let entry = (cfg.subprog_at(at) == Some(subprog)).then_some(Place::Entry(subprog));
        let pinned = program.pinned.get(at as usize).is_some_and(|pinned| *pinned);
        let fixed = pinned || insn.is_jump() || insn.is_call() || insn.is_exit() || insn.is_wide();
        let place = match rng.below(4) {
            0 if !insn.ends_flow() => Place::After(at),
            1 if !fixed => Place::Instead(at, at),
            2 => entry.unwrap_or(Place::Before(at)),
            _ => Place::Before(at),
        };
        let avoid = if place == Place::Instead(at, at) { reads.union(writes) } else { RegSet::EMPTY };
        let calls = rng.one_in(3);
        let most = if rng.one_in(3) { 10 } else { 3 };
        let request = Request {
            registers: rng.below(most),
            avoid,
            clobbers: if calls && avoid == RegSet::EMPTY { RegSet::CALLER_SAVED } else { RegSet::EMPTY },
            only_dead: rng.one_in(8),
        };
        let Ok(claim) = scratch.claim(place, &request) else {
            tally.refused += 1;
            continue;
        };
        assert_eq!(claim.registers.len(), request.registers);
        tally.count(&claim);
        let mut units = claim.before.clone();
        units.extend(overwrite(claim.registers.iter().copied().chain(request.clobbers.iter()), rng));
        units.extend(
            own_slots[subprog as usize].map(|slot| Insn::st(DW, FRAME_POINTER, slot, rng.constant())),
        );
        if avoid != RegSet::EMPTY {
            units.push(insn);
        }
        units.extend(&claim.after);
        if units.is_empty() {
            continue;
        }
        let patch = Patch::new(&units);
        let done = match place {
            Place::Before(_) => list.prepend(handle, patch),
            Place::After(_) => list.append(handle, patch),
            Place::Instead(..) if avoid == RegSet::EMPTY => continue,
            Place::Instead(..) => list.replace(handle, patch),
            Place::Entry(_) => list.prepend_fallthrough(handle, patch),
        };
        done.expect("the list takes it");
    }
}

mod interpreted {
    use arbitrary::{Arbitrary, Unstructured};
    use relinear::bpf::dis::dis;
    use relinear::fuzzing::Generated;
    use relinear::fuzzing::interp::Machine;

    use super::*;
    use crate::kernel;

    fn bytes(rng: &mut Rng) -> Vec<u8> {
        (0..400).flat_map(|_| rng.next().to_le_bytes()).collect()
    }

    fn listing(insns: &[Insn]) -> String {
        let mut lines = Vec::new();
        let mut at = 0;
        while at < insns.len() {
            let line = dis(&insns[at..]);
            lines.push(format!("{at}: {line}"));
            at += line.slots();
        }
        lines.join("\n")
    }

    fn edited(program: &Program, rng: &mut Rng, tally: &mut Tally) -> Vec<Insn> {
        let cfg = Cfg::new(program).expect("a generated program has a graph");
        let mut scratch = Scratch::new(program, &cfg, Context::of(program, &cfg, 512));
        let arena = Arena::new();
        let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
        insert_at_random(program, &cfg, &mut scratch, &mut list, (rng, 6), tally);
        list.linearize().expect("a program").units
    }

    #[test]
    fn overwriting_what_is_free_changes_nothing() {
        let mut tally = Tally::default();
        for seed in 0..1500 {
            let mut rng = Rng::new(seed);
            let bytes = bytes(&mut rng);
            let Generated { program, machine, .. } =
                Generated::arbitrary(&mut Unstructured::new(&bytes)).expect("no bytes are too few");
            let Ok(expected) = machine.run(&program.insns) else { continue };
            let insns = edited(&program, &mut rng, &mut tally);
            let machine = Machine { steps: machine.steps * 20, frame: machine.frame + 128, ..machine };
            match machine.run(&insns) {
                Ok(outcome) => assert_eq!(outcome, expected, "seed {seed}\n{}", listing(&insns)),
                Err(fault) => panic!("seed {seed}: {fault}\n{}", listing(&insns)),
            }
        }
        println!("{tally:?}");
        tally.assert_varied();
    }

    #[test]
    fn the_verifier_takes_what_is_inserted() {
        if !kernel::is_available() {
            return;
        }
        let mut tally = Tally::default();
        let mut refused = 0;
        for seed in 0..150 {
            let mut rng = Rng::new(seed);
            let bytes = bytes(&mut rng);
            let Generated { program, machine, .. } =
                Generated::for_kernel(&mut Unstructured::new(&bytes)).expect("no bytes are too few");
            let Ok(loaded) = kernel::load(&program.insns) else {
                refused += 1;
                continue;
            };
            let insns = edited(&program, &mut rng, &mut tally);
            let again = kernel::load(&insns)
                .unwrap_or_else(|why| panic!("seed {seed}: {}\n{}\n{}", why.error, why.log, listing(&insns)));
            let packet = machine.packet.len();
            let [expected, got] = [&loaded, &again].map(|program| program.run(packet).expect("it runs"));
            assert_eq!(got, expected, "seed {seed}\n{}", listing(&insns));
        }
        println!("{tally:?}, {refused} of 150 were too complex before anything was inserted");
        tally.assert_varied();
        assert!(refused < 30);
    }
}

/// What a claim at a place of a program for Linux gives.
fn claim(text: &str, place: Place, request: &Request) -> Result<Claim, ScratchReason> {
    let program = program(text);
    let cfg = Cfg::new(&program).expect("a graph");
    let mut scratch = Scratch::new(&program, &cfg, Context::of(&program, &cfg, 512));
    scratch.claim(place, request).map_err(|error| {
        assert_eq!(error.place, place);
        error.reason
    })
}

fn set(regs: &[u8]) -> RegSet {
    regs.iter().fold(RegSet::EMPTY, |set, &reg| set.union(RegSet::of(reg)))
}

const ALL: Request =
    Request { registers: 10, avoid: RegSet::EMPTY, clobbers: RegSet::EMPTY, only_dead: false };

#[test]
fn a_register_without_a_value_is_never_kept() {
    let text = "
        call f
        r0 = 0
        exit
    f:
        if r1 == 0 goto out
        r0 = 1
    out:
        exit";
    // `exit` reads r0, but on one way it holds no value.
    let found = ScratchReason::Registers { wanted: 10, found: 9 };
    assert_eq!(claim(text, Place::Before(5), &ALL), Err(found));
    // On no way does it hold one.
    assert!(claim("call f\nr0 = 0\nexit\nf:\nexit", Place::Before(3), &ALL).is_ok());
    // Nor does it after a call of a function that may give none, or of a helper that gives none.
    let after = |call: &str, f: &str| {
        let text = format!("call g\nr0 = 0\nexit\ng:\n{call}\nexit\nf:\n{f}r0 = 1\nout:\nexit");
        claim(&text, Place::After(3), &ALL)
    };
    let sometimes = "if r1 == 0 goto out\n";
    assert_eq!(after("call f", sometimes), Err(found));
    assert_eq!(after("call 93", ""), Err(found));
    for given in [after("call 5", ""), after("call f", "")] {
        let given = given.expect("r0 holds a value");
        assert_eq!((given.registers, given.spilled), (vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 0], 1));
    }
    // A verifier wants a value of what the kernel runs.
    assert_eq!(claim("call 93\nexit", Place::After(0), &ALL).map(|claim| claim.spilled), Ok(1));
    // What comes later in the block reads it.
    let read = claim("call f\nr6 = r0\nr0 = r6\nexit\nf:\nexit", Place::After(0), &ALL);
    assert_eq!(read.map(|claim| claim.spilled), Ok(1));
}

#[test]
fn what_is_read_or_written_on_all_ways_holds_a_value() {
    let joined = |left: &str, right: &str| {
        let text = format!(
            "
            if r1 == 0 goto right
            {left}
            goto join
        right:
            {right}
        join:
            r2 = 0
            if r2 != 0 goto use
            exit
        use:
            r0 = r6
            exit"
        );
        let kept = Request { registers: 1, avoid: RegSet::GENERAL.minus(set(&[6])), ..Request::default() };
        claim(&text, Place::Before(4), &kept).map(|claim| claim.spilled)
    };
    assert_eq!(joined("r6 = 1", "r6 = 2"), Ok(1));
    let neither = Err(ScratchReason::Registers { wanted: 1, found: 0 });
    assert_eq!(joined("r6 = 1", "r3 = 2"), neither);
    // On no way: it cannot be in use.
    assert_eq!(joined("r3 = 1", "r3 = 2"), Ok(0));
}

#[test]
fn arguments_are_kept_across_calls_as_far_as_there_are_any() {
    let calls = Request { clobbers: RegSet::CALLER_SAVED, registers: 1, ..Request::default() };
    // bpf_get_smp_processor_id takes none; r1 is used later.
    let claimed = claim("r6 = r1\ncall 8\nexit", Place::Entry(0), &calls).expect("there is room");
    assert_eq!(claimed.registers, [6]);
    assert_eq!(claimed.before, [Insn::mov64_reg(7, 1)]);
    assert_eq!(claimed.after, [Insn::mov64_reg(1, 7)]);
    assert_eq!(claim("call 8\nexit", Place::Entry(0), &calls).map(|claim| claim.before), Ok(vec![]));
    // bpf_map_lookup_elem takes two, which hold values on entry, or the verifier would refuse the call.
    let claimed = claim("call f\nexit\nf:\ncall 1\nexit", Place::Entry(1), &calls).expect("there is room");
    assert_eq!(claimed.before, [Insn::mov64_reg(7, 1), Insn::mov64_reg(8, 2)]);
    // What the callers hold is known.
    let text = "r2 = 5\ncall f\nr2 = 6\nr1 = 1\ncall f\nexit\nf:\ncall g\nexit\ng:\nr0 = r2\nexit";
    let claimed = claim(text, Place::Entry(1), &calls).expect("there is room");
    assert_eq!(claimed.before, [Insn::mov64_reg(7, 1), Insn::mov64_reg(8, 2)]);
    // One of them may hold something in r3.
    let text = "if r1 == 0 goto on\nr3 = 5\non:\ncall f\nexit\nf:\ncall g\nexit\ng:\nr0 = r2\nexit";
    assert_eq!(claim(text, Place::Entry(1), &calls), Err(ScratchReason::MayHaveNoValue { reg: 3 }));
}

/// `main` with a frame of `main` bytes, which calls a function with one of `callee` bytes.
fn nested(main: u16, callee: u16, extra: &str) -> String {
    format!(
        "
        r2 = 0
        *(u64 *)(r10 - {main}) = r2
        call f
        {extra}
        exit
    f:
        r0 = 1
        *(u64 *)(r10 - {callee}) = r0
        exit"
    )
}

#[test]
fn frames_of_a_chain_of_calls_share_the_stack() {
    let tail = "r1 = 0\nr2 = 0\nr3 = 0\ncall 12\nr0 = 0";
    for (main, callee, extra, growth) in [
        (224, 224, "", 32),
        (256, 224, "", 0),
        (256, 256, "", 0),
        (248, 8, "", 96),
        (96, 96, tail, 32),
        (128, 96, tail, 0),
    ] {
        let text = nested(main, callee, extra);
        let program = program(&text);
        let cfg = Cfg::new(&program).expect("a graph");
        let context = Context::of(&program, &cfg, 512);
        assert_eq!(context.growths, [growth, growth], "{main} {callee}");
    }
}

#[test]
fn slots_are_below_all_others_and_end_with_the_stack() {
    let program = program("r0 = 1\n*(u64 *)(r10 - 448) = r0\nr0 = 0\nexit");
    let cfg = Cfg::new(&program).expect("a graph");
    let mut scratch = Scratch::new(&program, &cfg, Context::of(&program, &cfg, 512));
    let slots: Vec<_> = (0..8).map(|_| scratch.reserve(0).expect("there is room")).collect();
    assert_eq!(slots, [-456, -464, -472, -480, -488, -496, -504, -512]);
    let full = ScratchReason::NoStack { slots: 1, depth: 448, growth: 64 };
    assert_eq!(scratch.reserve(0).map_err(|error| error.reason), Err(full));
    // A callee may use all of what it gets an address of.
    let text = "r1 = r10\nr1 += -8\ncall f\nexit\nf:\nr0 = 0\nexit";
    let program = crate::random::program(text);
    let cfg = Cfg::new(&program).expect("a graph");
    let mut scratch = Scratch::new(&program, &cfg, Context::of(&program, &cfg, 512));
    assert_eq!(scratch.reserve(0).map_err(|error| error.reason), Err(ScratchReason::FrameEscapes));
    assert_eq!(scratch.reserve(1), Ok(-8));
}

#[test]
fn a_register_that_no_instruction_names_can_be_reserved() {
    let program = program("r6 = 1\nr8 = 2\nr0 = 0\nexit");
    let cfg = Cfg::new(&program).expect("a graph");
    let mut scratch = Scratch::new(&program, &cfg, Context::of(&program, &cfg, 512));
    assert_eq!([(); 3].map(|()| scratch.reserve_register(0)), [Some(7), Some(9), None]);
    let all = Request { registers: 8, ..ALL };
    let claim = scratch.claim(Place::Before(0), &all).expect("eight are dead");
    assert_eq!(claim.registers, [0, 1, 2, 3, 4, 5, 6, 8]);
}

#[test]
fn what_other_code_reads_is_in_use() {
    let program = program("r0 = 0\nr3 = 1\nr0 = 1\nexit");
    let cfg = Cfg::new(&program).expect("a graph");
    let dead = |context| Scratch::new(&program, &cfg, context).dead(Place::Before(2));
    assert!(dead(Context::of(&program, &cfg, 512)).contains(3));
    let mut context = Context::of(&program, &cfg, 512);
    context.reads.insert(3, set(&[3]));
    assert!(!dead(context).contains(3));
}

#[test]
fn what_a_host_says_of_entries_counts() {
    let program = program("call f\nexit\nf:\ncall kfunc 7\nr0 = 0\nexit");
    let cfg = Cfg::new(&program).expect("a graph");
    let calls = Request { clobbers: RegSet::CALLER_SAVED, ..Request::default() };
    let claim = |entry| {
        let mut context = Context::of(&program, &cfg, 512);
        context.entries[1] = entry;
        Scratch::new(&program, &cfg, context).claim(Place::Entry(1), &calls).map_err(|error| error.reason)
    };
    let before = |regs: &[(u8, u8)]| -> Vec<Insn> {
        regs.iter().map(|&(to, from)| Insn::mov64_reg(to, from)).collect()
    };
    // The program itself passes the context.
    assert_eq!(claim(None).map(|claim| claim.before), Ok(before(&[(6, 1)])));
    assert_eq!(claim(Some(Arguments { sure: 2, most: 2 })), Err(ScratchReason::MayHaveNoValue { reg: 2 }));
    assert_eq!(claim(Some(Arguments::UNKNOWN)), Err(ScratchReason::MayHaveNoValue { reg: 1 }));
}

#[test]
fn helpers_have_names_and_arguments() {
    for (number, name, takes) in [
        (1, "bpf_map_lookup_elem", 2),
        (5, "bpf_ktime_get_ns", 0),
        (6, "bpf_trace_printk", 5),
        (12, "bpf_tail_call", 3),
        (181, "bpf_loop", 4),
        (211, "bpf_cgrp_storage_delete", 2),
    ] {
        assert_eq!(helper::name(number), Some(name));
        assert_eq!(helper::number(name), Some(number));
        assert_eq!(helper::signature(number).map(|found| found.takes), Some(takes), "{name}");
    }
    for number in [0, -1, 212, i32::MIN, i32::MAX] {
        assert_eq!((helper::name(number), helper::signature(number)), (None, None));
    }
}
