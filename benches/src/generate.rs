//! Makes works: the same ones from the same size, everywhere.

use relinear::bpf::opcode::{
    ADD, AND, CALL_CODE, DW, GOTOL, JEQ, JGT, JNE, JSLT, LD_IMM64, MUL, OR, W, X, XOR,
};
use relinear::bpf::{Insn, Program};

use crate::branch;
use crate::rng::{Eighths, OneIn, Rng};
use crate::tables::Line;
use crate::work::{Edit, Kind, Pass, Patch, Shape, Work};

/// The hidden register that kernel-made patches use.
const AX: u8 = 11;

impl Work {
    /// The work of this shape on a program of `n` units, with line info and subprograms or without.
    ///
    /// # Panics
    ///
    /// If `n` is below 16.
    #[must_use]
    pub fn new(shape: Shape, n: u32, tables: bool) -> Self {
        assert!(n >= 16, "a work has at least 16 units");
        let mut rng = Rng::new(u64::from(n) << 8 | shape as u64);
        let program = insns(n, true, &mut rng);
        let patches = Patches::new();
        let mut work = Self {
            shape,
            lines: Vec::new(),
            subprogs: Vec::new(),
            passes: Vec::new(),
            patches: Vec::new(),
            ordered: shape != Shape::F,
            program,
        };
        if tables {
            side_tables(&mut work, &mut rng);
        }
        work.passes = match shape {
            Shape::E => three_passes(&work.program, &patches, &mut rng),
            Shape::D => vec![deleted_runs(&work.program, &mut rng)],
            _ => vec![one_pass(shape, &work.program, &patches, &mut rng)],
        };
        work.patches = patches.all;
        work
    }
}

/// A program of one subprogram that has a control flow graph, for analyses and passes.
///
/// # Panics
///
/// If `n` is below 16.
#[must_use]
pub fn program(n: u32) -> Program {
    assert!(n >= 16, "a program has at least 16 units");
    let insns = insns(n, false, &mut Rng::new(u64::from(n)));
    Program { insns, subprogs: vec![0], ..Program::default() }
}

fn inner(program: &[Insn], at: u32) -> bool {
    at > 0 && program[at as usize - 1].code == LD_IMM64
}

/// An eighth branches: of those three in four lead less than 100 slots away, one in eight up to 4,000,
/// one in eight anywhere. One in 32 instructions is wide.
#[expect(clippy::cast_possible_truncation, reason = "small numbers, and random ones")]
fn insns(n: u32, calls: bool, rng: &mut Rng) -> Vec<Insn> {
    let mut program = Vec::with_capacity(n as usize);
    // What to make is dealt from a shuffled deck, so that programs of all sizes are made alike.
    let mut deck: [u8; 32] = core::array::from_fn(|card| card as u8);
    let mut dealt = deck.len();
    while program.len() < n as usize - 1 {
        let room = n as usize - 1 - program.len();
        let (dst, src) = (rng.below(10) as u8, rng.below(10) as u8);
        let imm = rng.next() as i32;
        if dealt == deck.len() {
            (1..deck.len()).rev().for_each(|last| deck.swap(last, rng.below(last as u32 + 1) as usize));
            dealt = 0;
        }
        dealt += 1;
        match deck[dealt - 1] {
            0..4 => program.push(Insn::jmp_imm(JEQ, dst, imm, 0)),
            4 if room > 1 => program.extend(Insn::ld_imm64(dst, rng.next())),
            5..10 => program.push(Insn::mov64_imm(dst, imm)),
            10..18 => program.push(Insn::alu64_imm([ADD, AND, OR, MUL][rng.below(4) as usize], dst, imm)),
            18..22 => program.push(Insn::ldx(DW, dst, src, (imm & 0xff) as i16)),
            22..26 => program.push(Insn::stx(W, dst, src, (imm & 0xff) as i16)),
            _ => program.push(Insn::mov64_reg(dst, src)),
        }
    }
    program.push(Insn::exit());
    for at in 0..n {
        if branch::is_branch(&program[at as usize]) {
            program[at as usize] = aimed(&program, at, calls, rng);
        }
    }
    program
}

fn aimed(program: &[Insn], at: u32, calls: bool, rng: &mut Rng) -> Insn {
    let n = u32::try_from(program.len()).expect("a work fits in 32 bits");
    let insn = program[at as usize];
    let (mut branch, reach) = match rng.below(8) {
        0 if rng.one_in(2) && calls => (Insn::call_local(0), n),
        0 => (Insn::gotol(0), n),
        1 => (Insn::jmp_imm(JGT, insn.dst(), insn.imm, 0), 4000),
        2..5 => (Insn::jmp_imm(JNE, insn.dst(), insn.imm, 0), 100),
        _ => (Insn::jmp32_imm(JSLT, insn.dst(), insn.imm, 0), 100),
    };
    let low = at.saturating_sub(reach);
    let high = (at + reach).min(n - 1);
    let mut to = low + rng.below(high - low + 1);
    if inner(program, to) {
        to -= 1;
    }
    branch::aim(&mut branch, at, to);
    branch
}

/// A line record at one instruction in five, a subprogram every 200 slots or so.
fn side_tables(work: &mut Work, rng: &mut Rng) {
    for at in instructions(&work.program) {
        if at == 0 || rng.one_in(200) {
            work.subprogs.push(at);
        }
        if at == 0 || rng.one_in(5) {
            work.lines.push(Line { off: at, file: 1, line: rng.below(1 << 20), col: at << 10 });
        }
    }
}

fn instructions(program: &[Insn]) -> impl Iterator<Item = u32> {
    let mut next = 0;
    core::iter::from_fn(move || {
        let at = next;
        next += u32::from(program.get(at as usize)?.code == LD_IMM64) + 1;
        Some(at)
    })
}

fn len_at(program: &[Insn], at: u32) -> u16 {
    1 + u16::from(program[at as usize].code == LD_IMM64)
}

fn one_pass(shape: Shape, program: &[Insn], patches: &Patches, rng: &mut Rng) -> Pass {
    let mut edits = Vec::new();
    let (mut in_4, mut in_10, mut in_100) = (OneIn::new(4), OneIn::new(10), OneIn::new(100));
    for at in instructions(program) {
        let insn = program[at as usize];
        // Nothing can branch past the last instruction, so it stays where other patches may do that.
        let last = at as usize + 1 == program.len();
        let (kind, patch) = match shape {
            Shape::A => (Kind::Replace, patches.blind(insn)),
            Shape::B if in_10.pick(rng) && !last => (Kind::Replace, patches.any_replacement(insn, rng)),
            Shape::C if in_100.pick(rng) => (Kind::Prepend, patches.prefix(rng)),
            Shape::F if in_4.pick(rng) && !last => match rng.below(20) {
                0..12 => (Kind::Replace, patches.any_replacement(insn, rng)),
                12..17 => (Kind::Prepend, patches.prefix(rng)),
                _ => (Kind::Delete, 0),
            },
            _ => continue,
        };
        edits.push(Edit { pos: at, at, len: len_at(program, at), patch, kind });
    }
    if shape == Shape::F {
        for last in (1..edits.len()).rev() {
            edits.swap(last, rng.below(u32::try_from(last + 1).expect("edits fit in 32 bits")) as usize);
        }
    }
    Pass { edits, within: None }
}

/// Runs of 1 to 40 instructions.
fn deleted_runs(program: &[Insn], rng: &mut Rng) -> Pass {
    let mut edits = Vec::new();
    let (mut counts, mut gaps) = (Eighths::of(5), Eighths::of(12));
    let mut starts = instructions(&program[..program.len() - 1]);
    while let Some(at) = starts.next() {
        let count = counts.next(rng);
        let run = core::iter::once(at).chain(starts.by_ref().take(count as usize - 1));
        let len = run.map(|at| len_at(program, at)).sum();
        edits.push(Edit { pos: at, at, len, patch: 0, kind: Kind::Delete });
        let kept = gaps.next(rng);
        if starts.nth(kept as usize).is_none() {
            break;
        }
    }
    Pass { edits, within: None }
}

fn three_passes(program: &[Insn], patches: &Patches, rng: &mut Rng) -> Vec<Pass> {
    let mut passes = vec![Pass::default(), Pass { edits: Vec::new(), within: Some(1) }, Pass::default()];
    // What earlier passes added before the instruction.
    let (mut first, mut second) = (0, 0);
    let (mut in_4, mut in_10) = (OneIn::new(4), OneIn::new(10));
    for at in instructions(program) {
        let insn = program[at as usize];
        let (mut len, was) = (len_at(program, at), (first, second));
        if in_4.pick(rng) {
            let edit = Edit { pos: at, at, len, patch: patches.blind(insn), kind: Kind::Replace };
            let number = u32::try_from(passes[0].edits.len()).expect("edits fit in 32 bits");
            passes[0].edits.push(edit);
            first += 3 - u32::from(len);
            second += 3 - u32::from(len);
            len = 1;
            if rng.one_in(2) {
                let kind = if rng.one_in(2) { Kind::Replace } else { Kind::Prepend };
                let patch = patches.inside;
                passes[1].edits.push(Edit { pos: at + was.0 + 1, at: number, len: 1, patch, kind });
                second += if kind == Kind::Replace { 1 } else { 2 };
            }
        }
        if in_10.pick(rng) && at as usize + 1 < program.len() {
            passes[2].edits.push(Edit { pos: at + was.1, at, len, patch: 0, kind: Kind::Delete });
        }
    }
    passes
}

/// The patches, by what they are for.
struct Patches {
    all: Vec<Patch>,
    /// For instructions that are no branch: by one to six units, `blind` among them.
    plain: core::ops::Range<u8>,
    prefixes: core::ops::Range<u8>,
    inside: u8,
}

/// Where in [`Patches::all`] the patches for branches are.
const CODES: [u8; 5] = [JEQ | 5, JNE | 5, JGT | 5, JSLT | 6, GOTOL];
const CALLS: u8 = 5;
const PLAIN_BLIND: u8 = 6;
/// Patches of one unit for branches, in the order of the codes.
const SHORT: u8 = 7;

impl Patches {
    fn new() -> Self {
        let blind = |last: Insn| vec![Insn::mov64_imm(AX, 0x5eed), Insn::alu64_imm(XOR, AX, 0x0bad), last];
        let by_register = |code: u8| {
            let x = if code == GOTOL { 0 } else { X };
            Insn::new(code | x, 1, if code == CALL_CODE { 1 } else { AX }, 0, 0)
        };
        let branches = CODES.iter().chain(&[CALL_CODE]);
        let mut all: Vec<Patch> = branches
            .clone()
            .map(|&code| {
                let last = if code == CALL_CODE { Insn::call_local(0) } else { by_register(code) };
                Patch { units: blind(last), keep: Some(2) }
            })
            .collect();
        all.push(Patch { units: blind(Insn::alu64_reg(ADD, 1, AX)), keep: None });
        all.extend(branches.map(|&code| {
            let only = if code == CALL_CODE { Insn::call_local(0) } else { by_register(code) };
            Patch { units: vec![only], keep: Some(0) }
        }));
        let plain = |len: u8| {
            let units = (0..len).map(|unit| Insn::alu64_imm(ADD, unit, i32::from(unit))).collect();
            Patch { units, keep: None }
        };
        let here = |all: &Vec<Patch>| u8::try_from(all.len()).expect("few patches");
        let first_plain = here(&all);
        all.extend([1, 2, 3, 6].map(plain));
        // A division guarded as the kernel does it: two jumps inside the patch, one of them to its end.
        let guarded = vec![
            Insn::jmp_imm(JNE, 2, 0, 2),
            Insn::alu32_reg(XOR, 1, 1),
            Insn::ja(1),
            Insn::alu64_reg(relinear::bpf::opcode::DIV, 1, 2),
        ];
        all.push(Patch { units: guarded, keep: None });
        let plain_range = first_plain..here(&all);
        let first_prefix = here(&all);
        all.extend([1, 2, 4].map(plain));
        // A counter: a wide instruction and an addition.
        let mut counter = Insn::ld_imm64(AX, 0x1234_5678_9abc).to_vec();
        counter.push(Insn::alu64_imm(ADD, AX, 1));
        all.push(Patch { units: counter, keep: None });
        let prefixes = first_prefix..here(&all);
        let inside = here(&all);
        all.push(plain(2));
        Self { all, plain: plain_range, prefixes, inside }
    }

    fn branch_number(insn: Insn) -> Option<u8> {
        branch::is_branch(&insn).then(|| {
            let known = CODES.iter().position(|&code| code == insn.code);
            known.map_or(CALLS, |number| u8::try_from(number).expect("few codes"))
        })
    }

    fn blind(&self, insn: Insn) -> u8 {
        debug_assert!(self.all.len() > usize::from(PLAIN_BLIND));
        Self::branch_number(insn).unwrap_or(PLAIN_BLIND)
    }

    fn any_replacement(&self, insn: Insn, rng: &mut Rng) -> u8 {
        match Self::branch_number(insn) {
            Some(number) if rng.one_in(2) => number,
            Some(number) => SHORT + number,
            None => pick(&self.plain, rng),
        }
    }

    fn prefix(&self, rng: &mut Rng) -> u8 {
        pick(&self.prefixes, rng)
    }
}

fn pick(range: &core::ops::Range<u8>, rng: &mut Rng) -> u8 {
    range.start + u8::try_from(rng.below(u32::from(range.end - range.start))).expect("few patches")
}
