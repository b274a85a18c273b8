//! [`Search`]: follows control through a program until nothing new comes to be known.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::step::Rules;
use super::{Options, State, Value, Ways};
use crate::bpf::opcode::LD;
use crate::bpf::{RegSet, is_tail_call};

/// How often what is known at the entry of a block, or is returned by a subprogram, may get worse by as little as
/// needed. After that, all of it that gets worse still is given up.
const PATIENCE: u8 = 8;

/// What is known where control from several places comes together: at the entry of a block, or where it goes on by the
/// jump tables of a subprogram.
struct Entry {
    state: State,
    worsened: u8,
    is_queued: bool,
}

pub(super) struct Search<'a, T> {
    rules: Rules<'a, T>,
    every_way: bool,
    entries: Vec<Option<Entry>>,
    ways: Vec<Ways>,
    /// What is known where control goes on by the jump tables of each subprogram.
    by_table: Vec<Option<Entry>>,
    /// The blocks to walk. The first of the program comes first, as what is known flows down mostly.
    queue: BinaryHeap<Reverse<u32>>,
    /// What each subprogram returns, once it does, and how often that got worse.
    returned: Vec<Option<Value>>,
    worsened: Vec<u8>,
    /// The blocks that call each subprogram.
    callers: Vec<Vec<u32>>,
    /// Subprograms that may be entered from elsewhere.
    is_root: Vec<bool>,
}

/// What a search found.
pub(super) struct Found {
    pub(super) entries: Vec<Option<State>>,
    pub(super) ways: Vec<Ways>,
    pub(super) returned: Vec<Option<Value>>,
}

impl<'a, T> Search<'a, T> {
    pub(super) fn new(rules: Rules<'a, T>, options: &Options<'_>) -> Self {
        let (blocks, subprogs) = (rules.cfg.blocks().len(), rules.cfg.subprogs() as usize);
        let mut is_root = vec![options.roots.is_none(); subprogs];
        for &root in options.roots.unwrap_or_default().iter().chain(options.programs) {
            is_root[root as usize] = true;
        }
        Self {
            rules,
            every_way: options.every_way,
            entries: core::iter::repeat_with(|| None).take(blocks).collect(),
            ways: vec![Ways::default(); blocks],
            by_table: core::iter::repeat_with(|| None).take(subprogs).collect(),
            queue: BinaryHeap::new(),
            // What another program puts in the place of a root may return something else.
            returned: is_root.iter().map(|root| root.then_some(Value::UNKNOWN)).collect(),
            worsened: vec![0; subprogs],
            callers: vec![Vec::new(); subprogs],
            is_root,
        }
    }

    pub(super) fn run(mut self, programs: &[u32]) -> Found {
        for subprog in
            (0..self.rules.cfg.subprogs()).filter(|root| self.is_root[*root as usize]).collect::<Vec<_>>()
        {
            let mut state = State::NOTHING;
            if programs.contains(&subprog) {
                state.set(1, Value::pointer(super::Base::Context, 0));
                state.note_written(RegSet::of(1));
            }
            self.enter_subprog(subprog, &state);
        }
        loop {
            while let Some(Reverse(block)) = self.queue.pop() {
                self.visit(block);
            }
            // What never returns, as far as is seen, may do so all the same: a tail of code after the call stays.
            let silent =
                |subprog: &usize| self.returned[*subprog].is_none() && !self.callers[*subprog].is_empty();
            let silent: Vec<usize> = (0..self.callers.len()).filter(silent).collect();
            if silent.is_empty() {
                break;
            }
            for subprog in silent {
                self.note_return(subprog, Value::UNKNOWN);
            }
        }
        let entries = self.entries.into_iter().map(|entry| entry.map(|entry| entry.state)).collect();
        Found { entries, ways: self.ways, returned: self.returned }
    }

    /// Goes through a block, and into those that follow it.
    fn visit(&mut self, number: u32) {
        let Some(entry) = &mut self.entries[number as usize] else { return };
        entry.is_queued = false;
        let mut state = entry.state.clone();
        let Rules { program, cfg, .. } = self.rules;
        let block = cfg.blocks()[number as usize];
        for at in block.insns(program) {
            if !self.pass(&state, number, at) {
                return;
            }
            if at == block.last(program) && program.insns[at as usize].is_cond() {
                return self.branch(&mut state, number, at);
            }
            self.rules.step(&mut state, at, &self.returned);
        }
        self.ways[number as usize].taken |= block.taken.is_some();
        self.ways[number as usize].falls |= block.falls_to.is_some();
        for to in block.successors() {
            self.enter(to, &state);
        }
        if block.is_indirect {
            self.enter_targets(block.subprog, &state);
        }
    }

    /// Follows what an instruction does to other subprograms. Whether control goes on after it.
    fn pass(&mut self, state: &State, block: u32, at: u32) -> bool {
        let Rules { program, cfg, .. } = self.rules;
        let insn = program.insns[at as usize];
        let subprog = cfg.blocks()[block as usize].subprog as usize;
        if let Some(callee) = self.rules.callee(at) {
            if !self.is_root[callee as usize] {
                self.enter_subprog(callee, &arguments(state));
            }
            let callers = &mut self.callers[callee as usize];
            if callers.last() != Some(&block) {
                callers.push(block);
            }
            return self.returned[callee as usize].is_some();
        }
        if let Some(referenced) = cfg.referenced(program, at) {
            // Whoever gets the address calls it with anything.
            self.enter_subprog(referenced, &State::NOTHING);
        }
        if insn.is_exit() {
            self.note_return(subprog, passed(state.reg(0)));
        } else if is_tail_call(insn) {
            // The program that is called returns instead.
            self.note_return(subprog, Value::UNKNOWN);
        } else if insn.class() == LD && !insn.is_wide() {
            // Packet access beyond the end leaves the function with zero.
            self.note_return(subprog, Value::constant(0));
        }
        true
    }

    /// Goes from a block that ends with a conditional jump into those that it may lead to.
    fn branch(&mut self, state: &mut State, number: u32, at: u32) {
        let block = self.rules.cfg.blocks()[number as usize];
        let decided = if self.every_way { None } else { self.rules.is_taken(state, at) };
        self.rules.step(state, at, &self.returned);
        for (to, taken) in [(block.taken, true), (block.falls_to, false)] {
            let Some(to) = to.filter(|_| decided != Some(!taken)) else { continue };
            let ways = &mut self.ways[number as usize];
            *(if taken { &mut ways.taken } else { &mut ways.falls }) = true;
            let mut state = state.clone();
            self.rules.follow(&mut state, at, taken);
            self.enter(to, &state);
        }
    }

    fn enter_subprog(&mut self, subprog: u32, state: &State) {
        self.enter(self.rules.cfg.blocks_of(subprog).start, state);
    }

    /// Control goes on by the jump tables of a subprogram with this.
    fn enter_targets(&mut self, subprog: u32, state: &State) {
        let place = &mut self.by_table[subprog as usize];
        if !meet(place, state) {
            return;
        }
        // To all targets the same, so that they are entered again only if this gets worse.
        let Some(all) = place.as_ref().map(|entry| entry.state.clone()) else { return };
        for &to in self.rules.cfg.indirect_targets(subprog) {
            self.enter(to, &all);
        }
    }

    /// Control comes into a block with this.
    fn enter(&mut self, block: u32, state: &State) {
        if meet(&mut self.entries[block as usize], state) {
            self.ways[block as usize].reached = true;
            self.enqueue(block);
        }
    }

    fn enqueue(&mut self, block: u32) {
        if let Some(entry) = &mut self.entries[block as usize]
            && !core::mem::replace(&mut entry.is_queued, true)
        {
            self.queue.push(Reverse(block));
        }
    }

    /// A subprogram returns this.
    fn note_return(&mut self, subprog: usize, value: Value) {
        let known = &mut self.returned[subprog];
        let worsened = &mut self.worsened[subprog];
        let joined = match *known {
            None => value,
            Some(old) if old.join(value) == old => return,
            Some(old) if *worsened < PATIENCE => old.join(value),
            Some(old) => old.join(value).widened(),
        };
        *worsened = worsened.saturating_add(1);
        *known = Some(joined);
        for caller in core::mem::take(&mut self.callers[subprog]) {
            self.enqueue(caller);
        }
    }
}

/// Notes what is known on one more way to a place. Whether that is the first way, or less is known by it.
fn meet(place: &mut Option<Entry>, state: &State) -> bool {
    let Some(entry) = place else {
        *place = Some(Entry { state: state.clone(), worsened: 0, is_queued: false });
        return true;
    };
    let worse = entry.state.join(state, entry.worsened >= PATIENCE);
    entry.worsened = entry.worsened.saturating_add(u8::from(worse));
    worse
}

/// What is known at the entry of a subprogram that is called with this.
fn arguments(state: &State) -> State {
    let mut entry = State::NOTHING;
    for reg in RegSet::ARGS.iter() {
        entry.set(reg, passed(state.reg(reg)));
    }
    entry.note_written(state.written().intersection(RegSet::ARGS));
    entry
}

/// What is known of a value in another frame: an address in this one is none in that.
fn passed(value: Value) -> Value {
    if value.is_frame() { Value::UNKNOWN } else { value }
}
