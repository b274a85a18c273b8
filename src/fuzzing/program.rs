//! [`check_program`]: passes over a program, which has to do the same afterwards.

use core::fmt;
use std::vec;
use std::vec::Vec;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::Generated;
use super::interp::{Fault, Machine, Outcome, Reason};
use super::raw::raw;
use crate::bpf::dis::dis;
use crate::bpf::opcode::{AX, FRAME_POINTER, LD_FUNC, LD_NUMBER};
use crate::bpf::{Aux, Bpf, Cfg, Insn, Liveness, Program, check_insn};
use crate::passes::{
    blind, dce, hard_wire_dead_branches, kernel::Kernel, remove_dead_code, remove_nops, sanitize_dead_code,
};
use crate::{Arena, List, Patch};

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
    dead: Option<Dead>,
    nops: Option<Kernel>,
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

/// The bytes before a program that say what is done to it.
const HEADER: usize = 8;
/// More slots than a jump can reach over.
const FAR: i32 = 33_000;

impl<'a> Arbitrary<'a> for ProgramCase {
    /// The first byte says by its lowest bit whether the rest is the slots of a program, behind the other bytes of
    /// the header; if not, a program is made up.
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let [source, bits, kernel, seed, stack, far @ ..] = u.arbitrary::<[u8; HEADER]>()?;
        let is_safe = source & 1 == 0;
        let (program, machine) = if is_safe {
            let Generated { program, machine, .. } = u.arbitrary()?;
            (program, machine)
        } else {
            raw(u)?
        };
        let when = |bit: u8| bits >> bit & 1 == 1;
        let options = blind::Options { seed: seed.into(), ..blind::Options::default() };
        let passes = Passes {
            dce: when(0).then_some(when(1)),
            dead: when(2).then_some(if when(3) { Dead::Sanitize } else { Dead::Remove }),
            nops: when(4).then_some([Kernel::V6_1, Kernel::V6_12, Kernel::V6_18][usize::from(kernel % 3)]),
            blind: when(5).then_some(blind::Options { stack: u16::from(stack) * 2, ..options }),
            hidden: when(6).then_some(blind::Options { hidden: Some(AX), ..options }),
            // It takes its time.
            far: (when(7) && kernel < 32).then_some([far[0], far[1]]),
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
    if case.passes.nops >= Some(Kernel::V6_18) {
        // It deletes each `may_goto +0`, which spends nothing then.
        machine.may_goto = u64::MAX;
    }
    let ran = machine.run_seen(&case.program.insns);
    if let Err(Fault { at, reason }) = ran {
        let by_budget = matches!(reason, Reason::Steps);
        assert!(!case.is_safe || by_budget, "a generated program is safe: slot {at}: {reason}\n{case:?}");
    }
    let ran = ran.ok().filter(|(outcome, _)| case.is_safe || is_stable(&machine, &case.program, outcome));
    let facts = Program { aux: facts(&case.program, ran.as_ref()), ..case.program.clone() };
    let arena = Arena::new();
    let mut editor = facts.edit(&arena).expect("the program has a graph");
    case.run_passes(editor.list(), ran.is_some());
    editor.list().check().expect("edits keep the invariants");
    let patched = if case.passes.far.is_some() {
        let (patched, _) = editor.linearize_relaxed().expect("each jump has a longer form");
        let again = editor.linearize_relaxed().expect("it did before");
        assert_eq!(patched, again.0, "linearizing changes nothing");
        patched
    } else {
        let patched = editor.linearize().unwrap_or_else(|error| panic!("{error}\n{case:?}"));
        assert_eq!(Ok(&patched), editor.linearize().as_ref(), "linearizing changes nothing");
        patched
    };
    case.compare(&patched, &machine, ran.map(|(outcome, _)| outcome));
}

/// The steps of a run. What passes make of a program may take more.
const STEPS: u64 = 100_000;
const MORE: u64 = 20;

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
fn facts(program: &Program, ran: Option<&(Outcome, Vec<bool>)>) -> Vec<Aux> {
    let cfg = Cfg::new(program).expect("it was made before");
    let liveness = Liveness::new(program, &cfg);
    let mut seen = ran.map_or(vec![true; program.insns.len()], |(_, seen)| seen.clone());
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
        let zext_dst = insn.defined_half().is_some_and(|reg| liveness.after(at).high.contains(reg));
        Aux { seen: seen[at as usize], zext_dst, user: () }
    };
    (0..).zip(&program.insns).map(fact).collect()
}

impl ProgramCase {
    /// Runs the passes; those that go by what ran only if something did.
    fn run_passes(&self, list: &mut List<'_, Bpf, Aux>, ran: bool) {
        let Self { program, passes, .. } = self;
        if let Some(from_entry) = passes.dce {
            let options = dce::Options { roots: from_entry.then(|| vec![0]) };
            dce::run(program, list, &options).expect("the list is as it was");
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
        if let Some(options) = &passes.blind {
            blind::run(program, list, options).expect("the program has a graph");
        }
        if let Some(options) = passes.hidden.as_ref().filter(|_| !names_maps(program)) {
            blind::run(program, list, options).expect("there is room");
        }
        for place in passes.far.into_iter().flatten() {
            insert_far(list, place);
        }
    }

    fn compare(&self, patched: &Program, machine: &Machine, outcome: Option<Outcome>) {
        let mut at = 0;
        while at < patched.insns.len() {
            let checked = check_insn(&patched.insns, at, AX);
            at += checked.unwrap_or_else(|error| panic!("{error}\n{self:?}\nbecame\n{}", Listing(patched)));
        }
        if self.passes.dead.is_none() && self.passes.hidden.is_none() {
            let graph = Cfg::new(patched).err();
            assert_eq!(graph, None, "{self:?}\nbecame\n{}", Listing(patched));
        }
        let highest = if self.passes.hidden.is_some() { AX } else { FRAME_POINTER };
        let machine = Machine { highest, steps: STEPS * MORE, ..machine.clone() };
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
fn insert_far(list: &mut List<'_, Bpf, Aux>, place: u8) {
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
struct Listing<'p>(&'p Program);

impl fmt::Display for Listing<'_> {
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
