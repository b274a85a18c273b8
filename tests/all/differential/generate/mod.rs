//! Random programs that the verifier accepts, with what it will find out about each instruction.
//!
//! A program is up to 4 functions and some callbacks; a function is a chain of blocks, laid out in any
//! order, where each block leads to the next one and may branch to a later one. A branch is on a value
//! that the verifier cannot know, or on one that it knows: then one of its ways is never walked. What is
//! on no walked way from the start is dead. `r6` holds the context, if the function has it, `r7` a
//! number nobody knows, `r8` a constant, `r9` counts the turns of a loop; the others start each block
//! without a value, so that no fact depends on the way control took.

mod branch;
mod layout;
mod scope;
mod statement;

pub(crate) use scope::Scope;

use relinear::bpf::opcode::{GOTO, GOTOL, JNE, JSGT};
use relinear::bpf::{Aux, Insn, Program};

use super::image::Image;
use crate::random::Rng;
use branch::Condition;

/// Where programs are to run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hook {
    Tracepoint,
    TrafficControl,
    Xdp,
}

impl Hook {
    /// `enum bpf_prog_type`.
    pub(crate) fn kind(self) -> u32 {
        match self {
            Self::Tracepoint => 5,
            Self::TrafficControl => 3,
            Self::Xdp => 6,
        }
    }
}

/// What programs are made of. [`Config::new`] turns everything off.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct Config {
    pub(crate) hook: Hook,
    /// Flags of the load (`BPF_F_*`).
    pub(crate) flags: u32,
    /// The most functions there are, callbacks not counted: 1 to 4.
    pub(crate) functions: usize,
    /// The most blocks of a function.
    pub(crate) blocks: usize,
    /// The most statements of a block.
    pub(crate) statements: usize,
    /// Branches on what the verifier knows, and what dies of them.
    pub(crate) dead: bool,
    /// `goto +0`, at any place.
    pub(crate) nops: bool,
    /// `gotol` in place of some `goto`.
    pub(crate) gotol: bool,
    /// `may_goto +0`, which the kernel removes as well.
    pub(crate) may_goto: bool,
    /// Blocks laid out in any order, rather than one after the other.
    pub(crate) shuffle: bool,
    /// One loop a function, of a few turns.
    pub(crate) loops: bool,
    /// Functions of global linkage, which are verified by themselves.
    pub(crate) globals: bool,
    /// `bpf_loop` and `bpf_for_each_map_elem`. The kernel inlines no such loop, as flags are not known.
    pub(crate) callbacks: bool,
    /// `ld_imm64` of a number.
    pub(crate) wide: bool,
    /// `ld_imm64` of a map.
    pub(crate) maps: bool,
    /// 32-bit arithmetic and comparisons, narrow loads, moves that extend, byte swaps.
    pub(crate) narrow: bool,
    /// Division and remainder of every form that the kernel rewrites.
    pub(crate) div: bool,
    /// Atomic operations on the stack.
    pub(crate) atomics: bool,
    /// Packet loads of classic BPF: for traffic control only.
    pub(crate) ld_abs: bool,
    /// The kernel's number of `bpf_throw`, which is called in place of some `exit` then.
    pub(crate) throw: Option<i32>,
    /// More statements, which are as likely as all others together.
    pub(crate) more: &'static [Statement],
}

/// Writes straight code into a block.
pub(crate) type Statement = fn(&mut Scope<'_>);

impl Config {
    /// Straight programs of one function and little else.
    pub(crate) const fn new(hook: Hook) -> Self {
        Self {
            hook,
            flags: 0,
            functions: 1,
            blocks: 8,
            statements: 5,
            dead: false,
            nops: false,
            gotol: false,
            may_goto: false,
            shuffle: false,
            loops: false,
            globals: false,
            callbacks: false,
            wide: false,
            maps: false,
            narrow: false,
            div: false,
            atomics: false,
            ld_abs: false,
            throw: None,
            more: &[],
        }
    }

    /// Everything that neither needs a pass but those for dead code, nor keeps any from being tested.
    pub(crate) const fn control_flow(hook: Hook) -> Self {
        Self {
            functions: 4,
            dead: true,
            nops: true,
            gotol: true,
            may_goto: true,
            shuffle: true,
            loops: true,
            globals: true,
            callbacks: true,
            wide: true,
            maps: true,
            narrow: true,
            ..Self::new(hook)
        }
    }
}

/// A program for the kernel and for us.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) hook: Hook,
    pub(crate) flags: u32,
    pub(crate) image: Image,
    /// What the verifier finds out about each slot; both slots of an `ld_imm64` are alike.
    pub(crate) facts: Vec<Aux>,
}

impl Sample {
    /// The same as the library has it.
    pub(crate) fn program(&self) -> Program {
        let Image { insns, lines, funcs } = self.image.clone();
        Program {
            insns,
            subprogs: funcs.iter().map(|func| func.insn_off).collect(),
            func_info: funcs,
            line_info: lines,
            aux: self.facts.clone(),
            ..Program::default()
        }
    }
}

/// An instruction that is not laid out yet.
#[derive(Clone, Debug)]
struct Op {
    slots: Vec<Insn>,
    to: Option<To>,
    fact: Aux,
}

/// Where an instruction leads.
#[derive(Clone, Copy, Debug)]
enum To {
    Block(usize),
    Function(usize),
}

/// Instructions that are left at the end only.
#[derive(Clone, Debug, Default)]
struct Block {
    ops: Vec<Op>,
    /// The block that follows, unless the last instruction leaves.
    then: Option<usize>,
    /// Whether the verifier goes on to it.
    goes_on: bool,
}

/// How a function is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// By the kernel, with the context.
    Main,
    /// By another function of the program, with a number and the context.
    Local,
    /// The same, but with a number only.
    Global,
    /// By a helper, once or more. Returns 0 or 1.
    Callback,
}

#[derive(Clone, Debug)]
struct Function {
    role: Role,
    blocks: Vec<Block>,
}

/// A random program. The same seed and configuration give the same one.
pub(crate) fn generate(seed: u64, config: &Config) -> Sample {
    let mut rng = Rng::new(seed);
    // Where there is a `may_goto`, the verifier forgets the counters of loops that go through it.
    let has_loops = config.loops && !(config.may_goto && rng.one_in(2));
    let config = &Config { loops: has_loops, may_goto: config.may_goto && !has_loops, ..*config };
    let mut roles = vec![Role::Main];
    for _ in 0..rng.below(config.functions) {
        roles.push(if config.globals && rng.one_in(4) { Role::Global } else { Role::Local });
    }
    if config.callbacks {
        roles.resize(roles.len() + rng.below(3), Role::Callback);
    }
    let callees = callees(&mut rng, &roles);
    // A function is seen if one that is seen refers to it, so those that refer come first.
    let mut reached = vec![false; roles.len()];
    reached[0] = true;
    let mut functions = Vec::new();
    for (at, callees) in callees.iter().enumerate() {
        functions.push(function(&mut rng, config, &roles, at, callees, &mut reached));
    }
    layout::lay_out(&mut rng, config, &functions)
}

/// What ends a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Next,
    /// A branch to a later block.
    Branch(Way, usize),
    /// A branch over an `exit` to the next block.
    Exit(Way),
    /// A branch to the next block over a `goto` to a later one.
    Skip(Way, usize),
}

/// Which ways of a branch the verifier walks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Both,
    Taken,
    NotTaken,
}

impl Way {
    fn is_taken(self) -> bool {
        self != Self::NotTaken
    }

    fn is_passed(self) -> bool {
        self != Self::Taken
    }
}

/// Which functions each one refers to, all of which come after it. Control flow leads to all of them.
fn callees(rng: &mut Rng, roles: &[Role]) -> Vec<Vec<usize>> {
    let mut called = vec![Vec::new(); roles.len()];
    for (callee, role) in roles.iter().enumerate().skip(1) {
        let may_call = |other: &usize| match roles[*other] {
            Role::Main | Role::Local => true,
            Role::Global => *role != Role::Local,
            Role::Callback => false,
        };
        let others: Vec<usize> = (0..callee).filter(may_call).collect();
        for _ in 0..=rng.below(2) {
            called[others[rng.below(others.len())]].push(callee);
        }
    }
    called
}

fn function(
    rng: &mut Rng,
    config: &Config,
    roles: &[Role],
    this: usize,
    callees: &[usize],
    reached: &mut [bool],
) -> Function {
    let role = roles[this];
    let count = 2 + rng.below(config.blocks.max(1));
    let ends: Vec<End> = (0..count - 1).map(|at| end(rng, config, at, count)).collect();
    let turns = (config.loops && count > 3 && rng.one_in(2)).then(|| {
        let first = 1 + rng.below(count - 2);
        Loop { first, last: first + rng.below(count - 1 - first), turns: 1 + rng.below(3) }
    });
    let walk = Walk::new(&ends, turns, reached[this]);
    let places: Vec<(usize, usize)> = callees.iter().map(|callee| (rng.below(count - 1), *callee)).collect();
    let constant = rng.constant();
    let mut blocks = Vec::new();
    for at in 0..count {
        let mut seen = walk.live[at];
        let mut scope = Scope::new(rng, config, role, seen, constant);
        if at == 0 {
            scope.prologue();
        }
        let statements = scope.rng.below(config.statements + 1);
        for _ in 0..statements {
            scope.statement();
        }
        for (_, callee) in places.iter().filter(|(place, _)| *place == at) {
            scope.call(*callee, roles[*callee]);
            reached[*callee] |= seen;
        }
        let mut block = Block { goes_on: seen, ..Block::default() };
        let next = at + 1;
        match ends.get(at).copied() {
            None => scope.exit(),
            Some(end) => {
                block.then = Some(next);
                if let Some(Loop { first, last, turns }) = turns {
                    if at + 1 == first {
                        scope.push(Insn::mov64_imm(9, i32::try_from(turns).expect("a few")));
                    }
                    if at == last {
                        scope.push(Insn::alu64_imm(0, 9, -1));
                        scope.jump(Insn::jmp_imm(JSGT, 9, 0, 0), To::Block(first));
                        if !walk.leaves_loop {
                            scope.die();
                            seen = false;
                            block.goes_on = false;
                        }
                    }
                }
                if let End::Branch(way, _) | End::Exit(way) | End::Skip(way, _) = end {
                    let to = if let End::Branch(_, to) = end { to } else { next };
                    let condition = Condition::random(&mut scope, way);
                    scope.branch(condition, To::Block(to));
                    if seen && !way.is_passed() {
                        scope.die();
                        block.goes_on = false;
                    }
                }
                match end {
                    End::Exit(_) => {
                        scope.throw();
                        scope.exit();
                        block.then = None;
                    }
                    End::Skip(_, to) => block.then = Some(to),
                    End::Next | End::Branch(..) => {}
                }
            }
        }
        block.ops = scope.finish();
        blocks.push(block);
    }
    Function { role, blocks }
}

fn end(rng: &mut Rng, config: &Config, at: usize, count: usize) -> End {
    let later = at + 1 + rng.below(count - 1 - at);
    let way = if config.dead && rng.one_in(2) {
        if rng.one_in(2) { Way::Taken } else { Way::NotTaken }
    } else {
        Way::Both
    };
    match rng.below(8) {
        0 | 1 => End::Next,
        // A branch whose other way is an exit that always comes would kill all that follows.
        2 if way != Way::NotTaken => End::Exit(way),
        3 => End::Skip(way, later),
        _ => End::Branch(way, later),
    }
}

/// A loop from the end of one block back to the start of another, while the counter is above zero. The
/// block before that sets the counter; there may be ways around either.
#[derive(Clone, Copy)]
struct Loop {
    first: usize,
    last: usize,
    turns: usize,
}

/// Which blocks the verifier walks.
struct Walk {
    live: Vec<bool>,
    leaves_loop: bool,
}

impl Walk {
    /// Follows all ways there are with each value of the counter.
    fn new(ends: &[End], turns: Option<Loop>, is_reached: bool) -> Self {
        let mut walk = Self { live: vec![false; ends.len() + 1], leaves_loop: false };
        let mut seen = vec![[false; 4]; ends.len() + 1];
        let mut left = if is_reached { vec![(0, 0)] } else { Vec::new() };
        while let Some((at, mut counter)) = left.pop() {
            if std::mem::replace(&mut seen[at][counter], true) {
                continue;
            }
            walk.live[at] = true;
            if let Some(Loop { first, last, turns }) = turns {
                if at + 1 == first {
                    counter = turns;
                }
                if at == last {
                    counter = counter.saturating_sub(1);
                    if counter > 0 {
                        left.push((first, counter));
                        continue;
                    }
                    walk.leaves_loop = true;
                }
            }
            if let Some(end) = ends.get(at) {
                left.extend(end.ways(at + 1).into_iter().flatten().map(|to| (to, counter)));
            }
        }
        walk
    }
}

impl End {
    /// The blocks that the verifier goes on to, where `next` is the next one.
    fn ways(self, next: usize) -> [Option<usize>; 2] {
        match self {
            Self::Next => [Some(next), None],
            Self::Branch(way, to) => [way.is_taken().then_some(to), way.is_passed().then_some(next)],
            Self::Exit(way) => [way.is_taken().then_some(next), None],
            Self::Skip(way, to) => [way.is_taken().then_some(next), way.is_passed().then_some(to)],
        }
    }
}

/// A jump that always leads on, of either form.
fn goto(rng: &mut Rng, config: &Config) -> Insn {
    let code = if config.gotol && rng.one_in(4) { GOTOL } else { GOTO };
    Insn::new(code, 0, 0, 0, 0)
}

/// A branch with both ways to the next instruction.
fn branch_nowhere(reg: u8) -> Insn {
    Insn::jmp_imm(JNE, reg, 5, 0)
}
