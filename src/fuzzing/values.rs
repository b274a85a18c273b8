//! [`check_values`]: what an analysis of values says of a program must be true whenever it runs, and what passes make
//! of the program by it must do the same.

use core::fmt;
use std::vec;
use std::vec::Vec;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::Generated;
use super::interp::{Fault, Machine, MapValues, Outcome, Reason, Sight};
use crate::bpf::dis::dis;
use crate::bpf::opcode::{B, DW, FRAME_POINTER, H, LD_MAP_IDX_VALUE, LDX, MEM, MEMSX, W};
use crate::bpf::values::{Base, Fact, Facts, Options, State, Value, Values};
use crate::bpf::{Bpf, Cfg, Endian, Insn, Program, is_pinned};
use crate::passes::{self, constants, dce, dead_stores, fold};
use crate::{Arena, Handle, List};

/// A program with read-only data and instructions that a loader writes, and passes over it.
#[derive(Clone)]
pub struct ValuesCase {
    program: Program,
    machine: Machine,
    /// What the loader writes into pinned instructions.
    immediates: Vec<(u32, i32)>,
    /// What is in the read-only map.
    data: Vec<u8>,
    roots: Option<Vec<u32>>,
    /// Whether the passes may know what never changes.
    knows_facts: bool,
    passes: Vec<Pass>,
}

/// A pass by values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pass {
    Fold,
    Constants,
    DeadStores,
    Dce,
}

/// The index of the read-only map, behind those that programs write.
const READ_ONLY: i32 = 2;
/// One of so many moves of a number becomes a load, and one of so many is left to the loader.
const ONE_IN: u8 = 6;

impl<'a> Arbitrary<'a> for ValuesCase {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let [bits, first, second, third] = u.arbitrary::<[u8; 4]>()?;
        let choices = u.arbitrary::<[u8; 16]>()?;
        let Generated { program, machine, .. } = u.arbitrary()?;
        let all = [Pass::Fold, Pass::Constants, Pass::DeadStores, Pass::Dce];
        let passes = match bits & 3 {
            0 => vec![all[usize::from(first % 3)]],
            1 => [first, second, third].map(|byte| all[usize::from(byte % 4)]).to_vec(),
            _ => all.iter().copied().cycle().take(12).collect(),
        };
        let mut case = Self {
            program,
            machine,
            immediates: Vec::new(),
            data: Vec::new(),
            roots: (bits & 4 == 0).then(|| vec![0]),
            knows_facts: bits & 8 == 0,
            passes,
        };
        case.hide_constants(&choices);
        case.machine.maps.push(MapValues { size: case.data.len().max(1), bytes: case.data.clone() });
        Ok(case)
    }
}

impl ValuesCase {
    /// Makes loads from a read-only map of some moves of numbers, and leaves others to the loader.
    fn hide_constants(&mut self, choices: &[u8]) {
        let original = core::mem::take(&mut self.program);
        let arena = Arena::new();
        let mut editor = original.edit(&arena).expect("the program has a graph");
        let list = editor.list();
        let mut open = Vec::new();
        let handles: Vec<Handle> = list.iter().collect();
        for (handle, choice) in handles.into_iter().zip(choices.iter().cycle()) {
            let insn = original.insns[handle.index() as usize];
            if insn != Insn::mov64_imm(insn.dst(), insn.imm) || insn.dst() > 8 {
                continue;
            }
            match choice % ONE_IN {
                0 => open.push((handle.index(), insn.imm)),
                1 | 2 => {
                    let at = i32::try_from(self.data.len()).expect("programs are small");
                    let load = push_number(&mut self.data, insn, *choice, self.machine.endian);
                    let [low, high] = Insn::ld_imm64_kind(insn.dst(), LD_MAP_IDX_VALUE, READ_ONLY, at);
                    list.replace(handle, &[low, high, load][..]).expect("there is room");
                }
                _ => {}
            }
        }
        let (program, moves) = editor.linearize_with_map().expect("the program has a graph");
        let position = |(old, imm)| Some((moves.map.position_of(old)?, imm));
        self.immediates = open.into_iter().filter_map(position).collect();
        self.program = program;
        self.program.aux.clear();
        self.program.pinned = bitvec::vec::BitVec::repeat(false, self.program.insns.len());
        for &(at, imm) in &self.immediates {
            // What stands there counts for nothing.
            self.program.insns[at as usize].imm = !imm;
            self.program.pinned.set(at as usize, true);
        }
    }

    fn facts(&self) -> Facts<'_> {
        let mut facts = Facts::default();
        if self.knows_facts {
            let object = facts.add_object(&self.data, Some(0..self.data.len()));
            let whole = (0..).zip(&self.program.insns);
            for (at, insn) in whole.filter(|(_, insn)| insn.is_wide() && insn.src() == LD_MAP_IDX_VALUE) {
                if insn.imm == READ_ONLY {
                    let offset = self.program.insns[at as usize + 1].imm;
                    facts.set(at, Fact::Pointer { object, offset });
                }
            }
            for &(at, imm) in &self.immediates {
                facts.set(at, Fact::Immediate(imm));
            }
        }
        facts
    }

    /// The instructions as the loader leaves them.
    fn loaded(&self) -> Vec<Insn> {
        let mut insns = self.program.insns.clone();
        for &(at, imm) in &self.immediates {
            insns[at as usize].imm = imm;
        }
        insns
    }

    /// The program after a pass.
    fn run_pass(&self, pass: Pass) -> Self {
        let facts = self.facts();
        let options = self.options();
        let arena = Arena::new();
        let mut editor = self.program.edit(&arena).expect("the program has a graph");
        let list = editor.list();
        let edited = edit(&self.program, list, pass, &facts, &options);
        edited.unwrap_or_else(|error| panic!("{pass:?}: {error}\n{self:?}"));
        list.check().expect("edits keep the invariants");
        let (mut program, moves) =
            editor.linearize_with_map().unwrap_or_else(|error| panic!("{pass:?}: {error}\n{self:?}"));
        program.aux.clear();
        let is_open = |at: u32| moves.map.position_of(at).filter(|new| is_pinned(&program, *new));
        let immediates = self.immediates.iter().filter_map(|&(at, imm)| Some((is_open(at)?, imm))).collect();
        let number = |&root: &u32| moves.subprogs[root as usize];
        let roots = self.roots.as_ref().map(|roots| roots.iter().filter_map(number).collect());
        Self { program, immediates, roots, ..self.clone() }
    }

    fn options(&self) -> Options<'_> {
        Options {
            roots: self.roots.as_deref(),
            programs: &[0],
            endian: Some(self.machine.endian),
            every_way: false,
        }
    }
}

/// A number in the byte order of a machine, of as many bytes as it needs, and a load of it that stands behind
/// that of its address.
fn push_number(data: &mut Vec<u8>, mov: Insn, choice: u8, endian: Endian) -> Insn {
    let fits = |bits: u32| mov.imm >> (bits - 1) == 0 || mov.imm >> (bits - 1) == -1;
    let (size, mode, len) = match choice / ONE_IN % 4 {
        0 if fits(8) => (B, MEMSX, 1),
        1 if fits(16) => (H, MEMSX, 2),
        2 if mov.imm >= 0 => (W, MEM, 4),
        2 => (W, MEMSX, 4),
        _ => (DW, MEM, 8),
    };
    let value = i64::from(mov.imm);
    let bytes = match endian {
        Endian::Little => value.to_le_bytes()[..len].to_vec(),
        Endian::Big => value.to_be_bytes()[8 - len..].to_vec(),
    };
    data.extend(bytes);
    data.resize(data.len().next_multiple_of(8), 0);
    Insn::new(LDX | mode | size, mov.dst(), mov.dst(), 0, 0)
}

fn edit<A: Copy + Default>(
    program: &Program,
    list: &mut List<'_, Bpf, A>,
    pass: Pass,
    facts: &Facts<'_>,
    options: &Options<'_>,
) -> core::result::Result<bool, passes::Error> {
    Ok(match pass {
        Pass::Fold => fold::run(program, list, facts, options)? != fold::Report::default(),
        Pass::Constants => constants::run(program, list, facts, options)? != constants::Report::default(),
        Pass::DeadStores => {
            dead_stores::run(program, list, facts, options)? != dead_stores::Report::default()
        }
        Pass::Dce => {
            let options = dce::Options { roots: options.roots.map(<[u32]>::to_vec) };
            dce::run(program, list, &options)? != dce::Report::default()
        }
    })
}

/// Holds what is known of values against a run, and the program against what passes make of it.
///
/// # Panics
///
/// If something that is known is not so, if a program does something else after a pass, or if a pass fails.
pub fn check_values(case: &ValuesCase) {
    let mut machine = Machine { steps: STEPS, ..case.machine.clone() };
    let expected = match run(case, &machine) {
        Ok(outcome) => outcome,
        Err(Fault { reason: Reason::Steps, .. }) => return,
        Err(fault) => panic!("a generated program is safe: {fault}\n{case:?}"),
    };
    machine.steps *= 2;
    let mut now = case.clone();
    for &pass in &case.passes {
        let before = now;
        now = before.run_pass(pass);
        let fail = |what: &dyn fmt::Display| panic!("{pass:?}: {what}\n{before:?}\nbecame\n{now:?}");
        match run(&now, &machine) {
            Ok(outcome) if outcome == expected => {}
            Ok(outcome) => fail(&format_args!("{outcome:?} is not {expected:?}")),
            Err(fault) => fail(&fault),
        }
        let again = now.run_pass(pass);
        if matches!(pass, Pass::Dce | Pass::DeadStores | Pass::Fold) {
            assert_eq!(again.program.insns, now.program.insns, "{pass:?} is a fixpoint\n{before:?}\n{now:?}");
        }
    }
}

/// The steps of a run.
const STEPS: u64 = 100_000;

/// Runs a program, and checks what is known before each instruction.
fn run(case: &ValuesCase, machine: &Machine) -> core::result::Result<Outcome, Fault> {
    let cfg = Cfg::new(&case.program).unwrap_or_else(|error| panic!("{error}\n{case:?}"));
    let facts = case.facts();
    let every_way = Options { every_way: true, ..case.options() };
    let states = [case.options(), every_way].map(|options| {
        let values = Values::new(&case.program, &cfg, &facts, &options).expect("the roots are there");
        states(case, &cfg, &values)
    });
    machine.run_watched(&case.loaded(), &mut |sight| {
        for states in &states {
            let Some(state) = &states[sight.slot] else {
                panic!("slot {} is not reached, they say\n{case:?}", sight.slot);
            };
            if let Err(what) = check_state(state, sight) {
                panic!("slot {}: {what} in {state:?}\n{case:?}", sight.slot);
            }
        }
    })
}

/// What is known before each instruction.
fn states(case: &ValuesCase, cfg: &Cfg, values: &Values<'_>) -> Vec<Option<State>> {
    let mut states = vec![None; case.program.insns.len()];
    for block in (0..).take(cfg.blocks().len()) {
        let Some(mut walk) = values.walk(block) else { continue };
        while let Some(at) = walk.slot() {
            states[at as usize] = Some(walk.state().clone());
            walk.step();
        }
    }
    states
}

fn check_state(state: &State, sight: &Sight<'_>) -> core::result::Result<(), &'static str> {
    let frame = sight.regs[usize::from(FRAME_POINTER)].ok_or("no frame")?;
    for reg in 0..FRAME_POINTER {
        match sight.regs[usize::from(reg)] {
            Some(value) if !holds(state.reg(reg), value, frame) => return Err("a register"),
            None if state.written().contains(reg) => return Err("a register without a value"),
            _ => {}
        }
    }
    for (offset, value) in state.slots() {
        let held = sight.load(frame.wrapping_add_signed(offset.into()));
        if !held.is_some_and(|held| holds(value, held, frame)) {
            return Err("a stack slot");
        }
    }
    Ok(())
}

/// Whether a number is what is known of it.
fn holds(known: Value, value: u64, frame: u64) -> bool {
    let pointer = match known {
        Value::Bits(bits) => return bits.contains(value),
        Value::Pointer(pointer) => pointer,
    };
    let base = match pointer.base {
        Base::Frame => frame,
        Base::Context => Machine::context_address(),
        Base::Object(_) => Machine::value_address(READ_ONLY.unsigned_abs()),
    };
    pointer.offset.is_none_or(|offset| base.wrapping_add_signed(offset.into()) == value)
}

impl fmt::Debug for ValuesCase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { immediates, data, roots, knows_facts, passes, machine, .. } = self;
        writeln!(f, "{passes:?} facts: {knows_facts}, roots {roots:?}, {:?}, {data:x?}", machine.endian)?;
        writeln!(f, "loader writes {immediates:x?}; subprograms {:?}", self.program.subprogs)?;
        let mut at = 0;
        while at < self.program.insns.len() {
            let line = dis(&self.program.insns[at..]);
            writeln!(f, "{at:5}: {line}")?;
            at += line.slots();
        }
        Ok(())
    }
}
