//! [`check_program`]: passes over a program, which has to do the same afterwards.

use core::fmt;
use std::vec;
use std::vec::Vec;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::Generated;
use super::generate::{DATA, DATA_END};
use super::interp::{Fault, HighHalf, Machine, Outcome, Reason};
use super::raw::raw;
use crate::bpf::dis::dis;
use crate::bpf::opcode::{AX, FRAME_POINTER, LD, LD_FUNC, LD_NUMBER, LDX, W};
use crate::bpf::{Aux, Bpf, Cfg, Cpu, Frames, Insn, Liveness, Program, check_insn};
use crate::passes::misc_fixups::{Host, MayGoto, PacketLoads, Site, Subprogs};
use crate::passes::{
    blind, dce, hard_wire_dead_branches, harden, kernel::Kernel, misc_fixups, remove_dead_code, remove_nops,
    rnd_hi32, sanitize_dead_code, zext,
};
use crate::{Arena, Handle, Isa, List, Patch};

/// A program, what it runs on, and passes over it.
#[derive(Clone)]
pub struct ProgramCase {
    program: Program,
    machine: Machine,
    /// Whether the program ends and is safe. Otherwise it may do anything.
    is_safe: bool,
    passes: Passes,
}

/// Which passes run, in the order of the fields.
#[derive(Clone, Copy, Debug)]
struct Passes {
    /// With the entry function as the only root, or all functions.
    dce: Option<bool>,
    /// Put the loops of `bpf_loop` into the code.
    loops: bool,
    dead: Option<Dead>,
    nops: Option<Kernel>,
    fixups: Option<misc_fixups::Options>,
    extend: Option<Extend>,
    blind: Option<blind::Options>,
    /// Blind what is there then with the hidden register.
    hidden: Option<blind::Options>,
    /// Where to insert more than a jump can reach over.
    far: Option<[u8; 2]>,
}

/// What the kernel does with code that its verifier has not seen.
#[derive(Clone, Copy, Debug)]
enum Dead {
    Sanitize,
    Remove,
}

/// What becomes of upper halves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extend {
    /// Instructions zero those that are read; the machine leaves anything in all of them.
    Explicit,
    /// Those that are not read are random.
    Noise,
}

/// The bytes before a program that say what is done to it.
const HEADER: usize = 8;
/// How few cases get what takes a thousand times as long as the rest.
const RARE: u8 = 64;
/// More slots than a jump can reach over.
const FAR: i32 = 33_000;

impl<'a> Arbitrary<'a> for ProgramCase {
    /// The first byte says by its lowest bit whether the rest is the slots of a program, behind the other bytes of
    /// the header; if not, a program is made up.
    ///
    /// Of the cases that ask for far insertions, one in 64 gets them, chosen by the sum of its bytes: else all
    /// that a fuzzer makes of one such case would take as long.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let sum =
            u.peek_bytes(u.len()).into_iter().flatten().fold(0, |sum: u8, byte| sum.wrapping_add(*byte));
        let [source, bits, kernel, seed, stack, more, far @ ..] = u.arbitrary::<[u8; HEADER]>()?;
        let is_safe = source & 1 == 0;
        let (program, machine) = if is_safe {
            let Generated { program, machine, .. } = u.arbitrary()?;
            (program, machine)
        } else {
            raw(u)?
        };
        let when = |bit: u8| bits >> bit & 1 == 1;
        let options = blind::Options { seed: seed.into(), ..blind::Options::default() };
        let version = [Kernel::V6_1, Kernel::V6_12, Kernel::V6_18][usize::from(kernel % 3)];
        let [byte, half, word] = Machine::PACKET_LOADS;
        let fixups = misc_fixups::Options {
            packet_loads: (more & 4 != 0).then_some(PacketLoads { byte, half, word }),
            may_goto: (more & 8 != 0).then_some(MayGoto::Counted),
            version,
            ..misc_fixups::Options::default()
        };
        // What leads to the context of a program of any slots is not known.
        let extend = [None, Some(Extend::Explicit), Some(Extend::Noise), None][usize::from(more >> 4 & 3)];
        let extend = extend.filter(|_| is_safe);
        let passes = Passes {
            dce: when(0).then_some(when(1)),
            loops: more & 1 != 0 && is_safe,
            fixups: (more & 2 != 0).then_some(fixups),
            extend,
            dead: when(2).then_some(if when(3) { Dead::Sanitize } else { Dead::Remove }),
            nops: when(4).then_some(version),
            // Without a hidden register, zeroes in upper halves are taken for granted.
            blind: (when(5) && extend != Some(Extend::Explicit))
                .then_some(blind::Options { stack: u16::from(stack) * 2, ..options }),
            hidden: when(6).then_some(blind::Options { hidden: Some(AX), ..options }),
            // It takes its time.
            far: (when(7) && sum % RARE == 0).then_some([far[0], far[1]]),
        };
        Ok(Self { program, machine, is_safe, passes })
    }
}

/// Runs a program, then passes over it, then what they made of it.
///
/// # Panics
///
/// If that does something else, if the passes break the list, or if they fail.
pub fn check_program(case: &ProgramCase) {
    if let Err(error) = Cfg::new(&case.program) {
        assert!(!case.is_safe, "a generated program is valid: {error}\n{case:?}");
        return check_refusal(&case.program);
    }
    let mut machine = Machine { steps: STEPS, ..case.machine.clone() };
    let counts = case.passes.fixups.is_some_and(|fixups| fixups.may_goto.is_some());
    if counts || case.passes.nops >= Some(Kernel::V6_18) {
        // One has a budget of its own, the other deletes each `may_goto +0`, which spends nothing then.
        machine.may_goto = u64::MAX;
    }
    let ran = machine.run_seen(&case.program.insns);
    if let Err(Fault { at, reason }) = ran {
        let by_budget = matches!(reason, Reason::Steps);
        assert!(!case.is_safe || by_budget, "a generated program is safe: slot {at}: {reason}\n{case:?}");
    }
    let ran = ran.ok().filter(|(outcome, _)| case.is_safe || is_stable(&machine, &case.program, outcome));
    let Program { insns, subprogs, .. } = case.program.clone();
    let aux = facts(&case.program, ran.as_ref());
    let facts = Program { insns, subprogs, aux, ..Program::default() };
    let arena = Arena::new();
    let mut editor = facts.edit(&arena).expect("the program has a graph");
    case.run_passes(editor.list(), ran.is_some());
    editor.list().check().expect("edits keep the invariants");
    let patched = if let Some([place, _]) = case.passes.far {
        let cpu = if place % 2 == 0 { Cpu::V3 } else { Cpu::V4 };
        let relaxed = editor.linearize_relaxed(cpu);
        let (patched, _) = relaxed.unwrap_or_else(|error| panic!("{error}\n{case:?}"));
        let again = editor.linearize_relaxed(cpu).expect("it did before");
        assert_eq!(patched, again.0, "linearizing changes nothing");
        patched
    } else {
        let (patched, _) = editor.linearize_with_map().unwrap_or_else(|error| panic!("{error}\n{case:?}"));
        assert_eq!(editor.linearize().as_ref(), Ok(&patched), "linearizing changes nothing");
        patched
    };
    case.compare(&patched, &machine, ran.map(|(outcome, _)| outcome));
}

/// The steps of a run. What passes make of a program may take more.
const STEPS: u64 = 100_000;
const MORE: u64 = 20;
/// The stack that passes may add to a frame, in bytes.
const ADDED: usize = 64;
/// Where a context has addresses.
const POINTERS: [i16; 2] = [DATA, DATA_END];

/// A program without a graph is refused, by an error.
fn check_refusal(program: &Program) {
    let arena = Arena::new();
    let Ok(mut list) = List::<Bpf>::new(&arena, &program.insns) else { return };
    assert!(dce::run(program, &mut list, &dce::Options::default()).is_err());
    assert!(blind::run(program, &mut list, &blind::Options::default()).is_err());
    let hidden = blind::Options { hidden: Some(AX), ..blind::Options::default() };
    _ = blind::run(program, &mut list, &hidden);
    list.check().expect("edits keep the invariants");
    _ = list.linearize();
}

/// Whether what a program does is the same wherever its functions and frames are.
fn is_stable(machine: &Machine, program: &Program, outcome: &Outcome) -> bool {
    let elsewhere = Machine { base: 0x10_0003_0008, ..machine.clone() };
    elsewhere.run(&program.insns).as_ref() == Ok(outcome)
}

/// What a verifier would say of each instruction: of a program that ran, that it saw what ran then.
fn facts(program: &Program, ran: Option<&(Outcome, Vec<bool>)>) -> Vec<Facts> {
    let cfg = Cfg::new(program).expect("it was made before");
    let liveness = Liveness::new(program, &cfg);
    let mut seen = ran.map_or(vec![true; program.insns.len()], |(_, seen)| seen.clone());
    // It sees what follows packet access, even if that always left the function.
    let leaves =
        |(insn, seen): (&Insn, &[bool])| insn.class() == LD && !insn.is_wide() && *seen == [true, false];
    if program.insns.iter().zip(seen.windows(2)).any(leaves) {
        seen.fill(true);
    }
    // A verifier looks into a callback, even if it never runs, and into what that calls.
    let mut changed = true;
    while changed {
        changed = false;
        for at in (0..).take(program.insns.len()) {
            let function = cfg.referenced(program, at).filter(|_| seen[at as usize]);
            let Some(blocks) = function.map(|function| cfg.blocks_of(function)) else { continue };
            let first = &cfg.blocks()[blocks.start as usize];
            if !core::mem::replace(&mut seen[first.start as usize], true) {
                let last = &cfg.blocks()[blocks.end as usize - 1];
                seen[first.start as usize..last.end as usize].fill(true);
                changed = true;
            }
        }
    }
    let fact = |(at, insn): (u32, &Insn)| {
        let loads_pointer = insn.class() == LDX && insn.size() == W && POINTERS.contains(&insn.off);
        let reads_high = insn.defined_half().is_some_and(|reg| liveness.after(at).high.contains(reg));
        Aux { seen: seen[at as usize], zext_dst: reads_high && !loads_pointer, user: loads_pointer }
    };
    (0..).zip(&program.insns).map(fact).collect()
}

/// Facts of an instruction, and whether it loads an address from the context, of which 32 bits would be too few.
type Facts = Aux<bool>;

/// The callbacks of loops, as the generator writes them: the function is the last one named before the call.
struct Callbacks<'p>(&'p Program);

impl Host<bool> for Callbacks<'_> {
    fn loop_callback(&self, site: &Site<'_, bool>) -> Option<Handle> {
        let insns = &self.0.insns;
        let at = (0..site.handle.index()).rev().find(|&at| insns[at as usize].is_wide())?;
        let displacement = Bpf.read(&insns[at as usize..], 0);
        (insns[at as usize].src() == LD_FUNC).then_some(())?;
        u32::try_from(i64::from(at) + 1 + displacement).ok().map(Handle::new)
    }
}

impl ProgramCase {
    /// Runs the passes; those that go by what ran only if something did.
    fn run_passes(&self, list: &mut List<'_, Bpf, Facts>, ran: bool) {
        let Self { program, passes, .. } = self;
        let mut stack = self.stack();
        let mut subprogs = Subprogs { starts: &program.subprogs, stack: &mut stack };
        if let Some(from_entry) = passes.dce {
            let options = dce::Options { roots: from_entry.then(|| vec![0]) };
            dce::run(program, list, &options).expect("the list is as it was");
        }
        if passes.loops {
            misc_fixups::inline_loops(list, &mut subprogs, &Callbacks(program)).expect("frames have room");
        }
        match passes.dead.filter(|_| ran) {
            Some(Dead::Sanitize) => {
                sanitize_dead_code::run(list).expect("there is room");
            }
            Some(Dead::Remove) => {
                hard_wire_dead_branches::run(list).expect("there is room");
                remove_dead_code::run(list).expect("there is room");
            }
            None => {}
        }
        if let Some(version) = passes.nops {
            remove_nops::run(list, &remove_nops::Options { version }).expect("there is room");
        }
        if let Some(options) = &passes.fixups {
            misc_fixups::run(list, &mut subprogs, &(), options).expect("frames have room");
        }
        match passes.extend {
            Some(Extend::Explicit) => {
                zext::run(list, &zext::Options { explicit: true }).expect("there is room");
            }
            Some(Extend::Noise) => {
                let options = rnd_hi32::Options { seed: 1, ax: AX };
                rnd_hi32::run(list, &options, |aux| aux.user).expect("there is room");
            }
            None => {}
        }
        if let Some(options) = &passes.blind {
            blind::run(program, list, options).expect("the program has a graph");
        }
        if let Some(options) = passes.hidden.as_ref().filter(|_| !names_maps(program)) {
            if let Some(Extend::Explicit) = passes.extend {
                let options = harden::Options { seed: options.seed, ax: AX, zext: true };
                harden::run(list, &options).expect("there is room");
            } else {
                blind::run(program, list, options).expect("there is room");
            }
        }
        for place in passes.far.into_iter().flatten() {
            insert_far(list, place);
        }
    }

    /// What the frame of each subprogram uses, and what blinding may spill to.
    fn stack(&self) -> Vec<u32> {
        let cfg = Cfg::new(&self.program).expect("it was made before");
        let frames = Frames::new(&self.program, &cfg);
        let depths = frames.all().iter().map(|frame| u32::from(frame.depth).next_multiple_of(8));
        depths.map(|depth| depth + 8).collect()
    }

    fn compare(&self, patched: &Program<bool>, machine: &Machine, outcome: Option<Outcome>) {
        let mut at = 0;
        while let Some(insn) = patched.insns.get(at) {
            if *insn == zext::extension(insn.dst()) {
                at += 1;
                continue;
            }
            let checked = check_insn(&patched.insns, at, AX);
            at += checked.unwrap_or_else(|error| panic!("{error}\n{self:?}\nbecame\n{}", Listing(patched)));
        }
        let Passes { dead, hidden, fixups, extend, .. } = self.passes;
        let names_hidden = hidden.is_some() || fixups.is_some() || extend.is_some();
        if dead.is_none() && !names_hidden {
            let Program { insns, subprogs, .. } = patched.clone();
            let graph = Cfg::new(&Program::<()> { insns, subprogs, ..Program::default() }).err();
            assert_eq!(graph, None, "{self:?}\nbecame\n{}", Listing(patched));
        }
        let highest = if names_hidden { AX } else { FRAME_POINTER };
        let high_half = if extend == Some(Extend::Explicit) { HighHalf::Anything } else { HighHalf::Zero };
        let frame = machine.frame + ADDED;
        let machine = Machine { highest, high_half, frame, steps: STEPS * MORE, ..machine.clone() };
        let Some(outcome) = outcome else { return };
        match machine.run(&patched.insns) {
            Ok(now) => assert_eq!(now, outcome, "{self:?}\nbecame\n{}", Listing(patched)),
            Err(fault) => panic!("{fault}\n{self:?}\nbecame\n{}", Listing(patched)),
        }
    }
}

/// Whether a program has a map or a kernel object by another name than its address.
fn names_maps(program: &Program) -> bool {
    program.insns.iter().any(|insn| insn.is_wide() && !matches!(insn.src(), LD_NUMBER | LD_FUNC))
}

/// Inserts more slots than a jump can reach over, which control goes around.
fn insert_far(list: &mut List<'_, Bpf, Facts>, place: u8) {
    let count = list.iter().count();
    let Some(at) = list.iter().nth(usize::from(place) * count / 256) else { return };
    let mut units = vec![Insn::ja(0); FAR as usize + 1];
    units[0] = Insn::gotol(FAR);
    list.prepend(at, Patch::new(&units)).expect("there is room");
}

impl fmt::Debug for ProgramCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { endian, may_goto, .. } = self.machine;
        writeln!(f, "{:?}, {endian:?}, may_goto {may_goto}\n{}", self.passes, Listing(&self.program))
    }
}

/// The instructions of a program, a line each.
struct Listing<'p, T = ()>(&'p Program<T>);

impl<T> fmt::Display for Listing<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let insns = &self.0.insns;
        let mut at = 0;
        // Nobody reads on.
        while at < insns.len().min(5000) {
            let line = dis(&insns[at..]);
            writeln!(f, "{at:5}: {line}")?;
            at += line.slots();
        }
        Ok(())
    }
}
