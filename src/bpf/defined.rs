//! [`Defined`]: which registers hold a value.

use alloc::vec;
use alloc::vec::Vec;

use super::opcode::{CALL_HELPER, LD};
use super::scratch::Context;
use super::signature::arguments;
use super::{Arguments, Cfg, Effects, Program, RegSet};

/// What is known of registers at a point of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct State {
    /// Registers that hold a value on every way to the point, or a verifier would have refused the program.
    pub(super) sure: RegSet,
    /// Registers that hold a value on some way to the point.
    pub(super) most: RegSet,
}

impl State {
    /// On no way at all.
    const UNREACHED: Self = Self { sure: RegSet::GENERAL, most: RegSet::EMPTY };

    fn of_arguments(args: Arguments) -> Self {
        Self { sure: arguments(args.sure), most: arguments(args.most) }
    }

    fn join(self, other: Self) -> Self {
        Self { sure: self.sure.intersection(other.sure), most: self.most.union(other.most) }
    }

    /// The registers of `read` were read, so they hold a value.
    fn with(self, read: RegSet) -> Self {
        let read = read.intersection(RegSet::GENERAL);
        Self { sure: self.sure.union(read), most: self.most.union(read) }
    }

    fn only(self, some: RegSet) -> Self {
        Self { sure: self.sure.intersection(some), most: self.most.intersection(some) }
    }

    fn without(self, gone: RegSet) -> Self {
        Self { sure: self.sure.minus(gone), most: self.most.minus(gone) }
    }
}

/// Which registers hold a value before each instruction of a program.
///
/// A verifier refuses to read a register that nothing was written to, on any way that it follows. So a register
/// that was read on the way to a point holds a value there, and so does one that the rest of its block
/// reads. A call leaves nothing in `r1` to `r5`; in `r0` it leaves a value if its signature says so. `exit`
/// reads `r0` only if the function gives a value, which the context says.
pub(super) struct Defined {
    before: Vec<State>,
}

impl Defined {
    /// Finds which registers hold a value.
    ///
    /// O(slots + 22 · (edges + calls)): at most 22 times something new is known at the entry of a block.
    pub(super) fn new<T>(program: &Program<T>, cfg: &Cfg, context: &Context) -> Self {
        let mut search = Search {
            program,
            cfg,
            context,
            into: vec![State::UNREACHED; cfg.blocks().len()],
            queued: vec![false; cfg.blocks().len()],
            by_table: vec![State::UNREACHED; cfg.subprogs() as usize],
            work: Vec::new(),
        };
        for (subprog, args) in (0..cfg.subprogs()).zip(&context.entries) {
            let state = args.map_or(State::UNREACHED, State::of_arguments);
            search.enter(cfg.blocks_of(subprog).start, state, true);
        }
        while let Some(block) = search.work.pop() {
            search.queued[block as usize] = false;
            search.run(block);
        }
        let mut defined = Self { before: vec![State::UNREACHED; program.insns.len()] };
        for block in 0..cfg.blocks().len() {
            defined.fill(&search, block);
        }
        defined
    }

    /// What is known before the instruction at a slot. O(1).
    pub(super) fn before(&self, slot: u32) -> State {
        self.before[slot as usize]
    }

    fn fill<T>(&mut self, search: &Search<'_, T>, number: usize) {
        let Search { program, cfg, context, into, .. } = search;
        let block = cfg.blocks()[number];
        let mut state = into[number];
        for at in block.insns(program) {
            self.before[at as usize] = state;
            state = search.step(state, at);
        }
        // What the rest of the block reads.
        let mut read = RegSet::EMPTY;
        let insns: Vec<u32> = block.insns(program).collect();
        for &at in insns.iter().rev() {
            let insn = program.insns[at as usize];
            let Effects { reads, writes, .. } = Effects::of(insn);
            read = if insn.is_exit() {
                let returns = context.returns.get(block.subprog as usize).copied().unwrap_or_default();
                if returns { reads } else { RegSet::EMPTY }
            } else if insn.is_call() {
                let signature = context.signature(program, cfg, at);
                // What is called may not return, unless it is a helper.
                let later = if insn.src() == CALL_HELPER { read } else { RegSet::EMPTY };
                later.minus(writes).union(arguments(signature.needs))
            } else {
                read.minus(writes).union(reads)
            };
            let state = &mut self.before[at as usize];
            *state = state.with(read);
        }
    }
}

struct Search<'a, T> {
    program: &'a Program<T>,
    cfg: &'a Cfg,
    context: &'a Context,
    /// What is known at the entry of each block.
    into: Vec<State>,
    queued: Vec<bool>,
    /// What is known at each of the indirect jumps of a subprogram.
    by_table: Vec<State>,
    work: Vec<u32>,
}

impl<T> Search<'_, T> {
    /// Control comes into a block with this.
    fn enter(&mut self, block: u32, from: State, first: bool) {
        let at = block as usize;
        let joined = self.into[at].join(from);
        if joined == self.into[at] && !first {
            return;
        }
        self.into[at] = joined;
        if !core::mem::replace(&mut self.queued[at], true) {
            self.work.push(block);
        }
    }

    fn run(&mut self, number: u32) {
        let block = self.cfg.blocks()[number as usize];
        let mut state = self.into[number as usize];
        for at in block.insns(self.program) {
            if self.program.insns[at as usize].is_call()
                && let Some(callee) = self.cfg.referenced(self.program, at)
            {
                let passed = state.only(RegSet::ARGS);
                self.enter(self.cfg.blocks_of(callee).start, passed, false);
            }
            state = self.step(state, at);
        }
        for to in block.successors() {
            self.enter(to, state, false);
        }
        let all = &mut self.by_table[block.subprog as usize];
        let joined = if block.is_indirect { all.join(state) } else { *all };
        if core::mem::replace(all, joined) != joined {
            for &to in self.cfg.indirect_targets(block.subprog) {
                self.enter(to, joined, false);
            }
        }
    }

    /// What is known after an instruction.
    fn step(&self, state: State, at: u32) -> State {
        let insn = self.program.insns[at as usize];
        let Effects { reads, writes, .. } = Effects::of(insn);
        let result = RegSet::of(0);
        if insn.is_call() {
            let left = state.without(writes);
            let returns = self.context.signature(self.program, self.cfg, at).returns;
            State {
                sure: if returns { left.sure.union(result) } else { left.sure },
                most: left.most.union(result),
            }
        } else if insn.class() == LD && !insn.is_wide() {
            state.with(reads).without(writes).with(result)
        } else if insn.is_exit() {
            state
        } else {
            state.with(reads.union(writes))
        }
    }
}
