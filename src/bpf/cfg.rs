//! [`Cfg`]: the basic blocks of a program and the edges between them.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use bitvec::vec::BitVec;

use super::opcode::FRAME_POINTER;
use super::{Bpf, Insn, InsnError, Program, check_insn};
use crate::core::Isa;

/// The basic blocks of a program, and the edges between them.
///
/// A block is a run of slots that control enters at its first one and leaves at its last instruction.
/// Blocks are numbered in the order of the program, so those of a subprogram are consecutive; every
/// slot lies in exactly one. Positions are slots of the program the graph was built from, and stay so
/// while a list over that program is edited.
///
/// Edges stay inside a subprogram: a call falls through to what follows it, and what it calls is a
/// root of its own ([`subprog_at`] finds it).
///
/// A `gotox` may lead to all that [`Program::insn_array`] names in its subprogram. As that would be a number of edges that
/// is the product of the two, these edges are in no block: the blocks they come from and lead to are in
/// [`indirect_jumps`](Cfg::indirect_jumps) and [`indirect_targets`](Cfg::indirect_targets).
///
/// The kernel wants a subprogram to end with `exit` or a `goto` (`check_subprogs`). Here a call may
/// end it as well: compilers put nothing after a call that does not return, such as `bpf_throw`.
/// Control is then taken to end there.
///
/// [`subprog_at`]: Cfg::subprog_at
#[derive(Clone, Debug)]
pub struct Cfg {
    blocks: Vec<Block>,
    /// The block of each slot.
    block_of: Vec<u32>,
    /// The blocks of each subprogram are those from its entry here to the next one's.
    entries: Vec<u32>,
    /// Where the predecessors of each block start in `preds`; one more entry than blocks.
    pred_starts: Vec<u32>,
    preds: Vec<u32>,
    /// The blocks that end with a `gotox`, ascending.
    indirect_jumps: Vec<u32>,
    /// The blocks that a `gotox` may lead to, ascending.
    indirect_targets: Vec<u32>,
    reachable: BitVec,
}

/// One block: its slots, and where control goes when it leaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// The first slot.
    pub start: u32,
    /// One past the last slot.
    pub end: u32,
    /// The index of its subprogram.
    pub subprog: u32,
    /// The block that its last instruction jumps to.
    pub taken: Option<u32>,
    /// The block that control falls into from its last instruction.
    pub falls_to: Option<u32>,
    /// Whether its last instruction is a `gotox`, which leads to the
    /// [indirect targets](Cfg::indirect_targets) of its subprogram.
    pub is_indirect: bool,
}

impl Block {
    /// The blocks that control may go to next, but by a `gotox`. The two are the same for a conditional jump to the
    /// next instruction.
    pub fn successors(&self) -> impl Iterator<Item = u32> + use<> {
        self.falls_to.into_iter().chain(self.taken)
    }

    /// The positions of its instructions, ascending.
    ///
    /// # Panics
    ///
    /// If the program has no such slots.
    pub fn insns<'p, T>(&self, program: &'p Program<T>) -> impl Iterator<Item = u32> + use<'p, T> {
        positions(&program.insns, self.start..self.end)
    }

    /// The position of its last instruction, the only one that can jump.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If the program has no such slots.
    #[must_use]
    pub fn last<T>(&self, program: &Program<T>) -> u32 {
        last_insn(&program.insns, self.end)
    }
}

/// Why a program has no control flow graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CfgError {
    /// The program has no instruction, or more slots than a `u32` counts.
    BadLength {
        /// How many slots it has.
        slots: usize,
    },
    /// Subprogram starts must begin with 0, ascend strictly, and be first slots of instructions.
    BadSubprog {
        /// The index of the subprogram.
        subprog: usize,
        /// Where it says it starts, if it is there at all.
        start: Option<u32>,
    },
    /// This is no valid instruction.
    BadInsn(InsnError),
    /// A jump leads out of the program.
    OutOfProgram {
        /// The slot of the jump.
        at: u32,
        /// The position it leads to.
        target: i64,
        /// How many slots the program has.
        slots: u32,
    },
    /// A jump leads to the second slot of an instruction.
    IntoInsn {
        /// The slot of the jump.
        at: u32,
        /// The slot it leads to.
        target: u32,
    },
    /// A jump leads into another subprogram.
    LeavesSubprog {
        /// The slot of the jump.
        at: u32,
        /// The slot it leads to.
        target: u32,
    },
    /// A call or a function reference leads to what is no start of a subprogram.
    NoSubprog {
        /// The slot of the call or reference.
        at: u32,
        /// The position it leads to.
        target: i64,
    },
    /// No entry of [`Program::insn_array`] leads into the subprogram of a `gotox`.
    NoTable {
        /// The slot of the `gotox`.
        at: u32,
    },
    /// An entry of [`Program::insn_array`] leads to what is no first slot of an instruction.
    BadEntry {
        /// The index of the entry.
        entry: usize,
        /// The slot it leads to.
        target: u32,
    },
    /// Control falls off the end of a subprogram.
    FallsOff {
        /// The slot of its last instruction.
        at: u32,
        /// The index of the subprogram.
        subprog: u32,
    },
}

impl fmt::Display for CfgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::BadLength { slots } => write!(f, "a program of {slots} slots has no control flow"),
            Self::BadSubprog { subprog, start: Some(start) } => {
                write!(f, "subprogram {subprog} cannot start at slot {start}")
            }
            Self::BadSubprog { subprog, start: None } => write!(f, "there is no subprogram {subprog}"),
            Self::BadInsn(error) => error.fmt(f),
            Self::OutOfProgram { at, target, slots } => {
                write!(f, "the jump at slot {at} leads to {target}, out of a program of {slots} slots")
            }
            Self::IntoInsn { at, target } => {
                write!(f, "the jump at slot {at} leads to the second slot of an instruction, {target}")
            }
            Self::LeavesSubprog { at, target } => {
                write!(f, "the jump at slot {at} leads to slot {target}, in another subprogram")
            }
            Self::NoSubprog { at, target } => {
                write!(f, "slot {at} refers to a subprogram at {target}, where none starts")
            }
            Self::NoTable { at } => {
                write!(f, "no jump table leads into the subprogram of the gotox at slot {at}")
            }
            Self::BadEntry { entry, target } => {
                write!(
                    f,
                    "entry {entry} of the jump tables leads to slot {target}, where no instruction starts"
                )
            }
            Self::FallsOff { at, subprog } => {
                write!(f, "control falls off the end of subprogram {subprog} at slot {at}")
            }
        }
    }
}

impl core::error::Error for CfgError {}

/// The positions of the instructions in a range of slots that starts and ends with whole ones.
fn positions(insns: &[Insn], range: Range<u32>) -> impl Iterator<Item = u32> + use<'_> {
    let first = (range.start < range.end).then_some(range.start);
    core::iter::successors(first, move |&at| {
        let next = at + if insns[at as usize].is_wide() { 2 } else { 1 };
        (next < range.end).then_some(next)
    })
}

/// Where the displacement of the instruction at `at` leads, if it has one.
fn target(insns: &[Insn], at: u32) -> Option<i64> {
    let insn = &insns[at as usize..];
    (Bpf.fields(insn) != 0).then(|| i64::from(at) + Bpf.base(insn, 0) + Bpf.read(insn, 0))
}

impl Cfg {
    /// Finds the blocks of a program.
    ///
    /// O(slots + subprograms + entries of jump tables).
    ///
    /// # Errors
    ///
    /// See [`CfgError`]. Every instruction is looked at, whether control reaches it or not.
    pub fn new<T>(program: &Program<T>) -> Result<Self, CfgError> {
        let slots = program.insns.len();
        let len = u32::try_from(slots).ok().filter(|&len| len != 0);
        let len = len.ok_or(CfgError::BadLength { slots })?;
        check_insns(&program.insns)?;
        let subprog_of = divide(program, len)?;
        let leaders = find_leaders(program, len, &subprog_of)?;
        let mut cfg = Self::lay_blocks(program, len, &leaders);
        cfg.link(program)?;
        cfg.link_tables(program)?;
        cfg.invert();
        cfg.mark_reachable();
        Ok(cfg)
    }

    fn lay_blocks<T>(program: &Program<T>, len: u32, leaders: &BitVec) -> Self {
        let mut blocks: Vec<Block> = Vec::new();
        let mut block_of = Vec::with_capacity(len as usize);
        let mut entries = Vec::with_capacity(program.subprogs.len() + 1);
        for at in 0..len {
            if leaders[at as usize] {
                if let Some(last) = blocks.last_mut() {
                    last.end = at;
                }
                if program.subprogs.get(entries.len()) == Some(&at) {
                    entries.push(index(blocks.len()));
                }
                let subprog = index(entries.len() - 1);
                let block =
                    Block { start: at, end: len, subprog, taken: None, falls_to: None, is_indirect: false };
                blocks.push(block);
            }
            block_of.push(index(blocks.len() - 1));
        }
        entries.push(index(blocks.len()));
        let reachable = BitVec::repeat(false, blocks.len());
        Self {
            blocks,
            block_of,
            entries,
            pred_starts: Vec::new(),
            preds: Vec::new(),
            indirect_jumps: Vec::new(),
            indirect_targets: Vec::new(),
            reachable,
        }
    }

    /// Finds the successors of each block.
    fn link<T>(&mut self, program: &Program<T>) -> Result<(), CfgError> {
        for block in 0..self.blocks.len() {
            let at = self.blocks[block].last(program);
            let subprog = self.blocks[block].subprog;
            let insn = program.insns[at as usize];
            if insn.is_jump() {
                let to = target(&program.insns, at).and_then(|to| usize::try_from(to).ok());
                self.blocks[block].taken = to.map(|to| self.block_of[to]);
            }
            if insn.is_gotox() {
                self.blocks[block].is_indirect = true;
                self.indirect_jumps.push(index(block));
            }
            if insn.ends_flow() {
                continue;
            }
            match self.blocks.get(block + 1) {
                Some(next) if next.subprog == subprog => {
                    self.blocks[block].falls_to = Some(index(block + 1));
                }
                _ if insn.is_call() => {}
                _ => return Err(CfgError::FallsOff { at, subprog }),
            }
        }
        Ok(())
    }

    /// Finds the blocks that each `gotox` may lead to.
    fn link_tables<T>(&mut self, program: &Program<T>) -> Result<(), CfgError> {
        if self.indirect_jumps.is_empty() {
            return Ok(());
        }
        let targets = program.insn_array.iter().flatten();
        self.indirect_targets = targets.map(|&slot| self.block_of[slot as usize]).collect();
        self.indirect_targets.sort_unstable();
        self.indirect_targets.dedup();
        let block = |&number: &u32| &self.blocks[number as usize];
        let mut jumps = self.indirect_jumps.iter().map(block);
        match jumps.find(|block| self.indirect_targets(block.subprog).is_empty()) {
            Some(block) => Err(CfgError::NoTable { at: block.last(program) }),
            None => Ok(()),
        }
    }

    /// Finds the predecessors of each block.
    fn invert(&mut self) {
        let mut starts = vec![0; self.blocks.len() + 1];
        for to in self.blocks.iter().flat_map(Block::successors) {
            starts[to as usize + 1] += 1;
        }
        for block in 1..starts.len() {
            starts[block] += starts[block - 1];
        }
        let mut ends = starts.clone();
        self.preds = vec![0; starts[self.blocks.len()] as usize];
        for (from, block) in self.blocks.iter().enumerate() {
            for to in block.successors() {
                self.preds[ends[to as usize] as usize] = index(from);
                ends[to as usize] += 1;
            }
        }
        self.pred_starts = starts;
    }

    fn mark_reachable(&mut self) {
        let mut work = self.entries[..self.entries.len() - 1].to_vec();
        // The subprogram whose indirect targets were reached last: subprograms are followed one after the other.
        let mut opened = None;
        while let Some(number) = work.pop() {
            if self.reachable.replace(number as usize, true) {
                continue;
            }
            let block = self.blocks[number as usize];
            work.extend(block.successors());
            if block.is_indirect && opened != Some(block.subprog) {
                opened = Some(block.subprog);
                work.extend(self.indirect_targets(block.subprog));
            }
        }
    }

    /// The blocks, in the order of the program.
    ///
    /// O(1).
    #[must_use]
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The number of the block that a slot lies in.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If the program has no such slot.
    #[must_use]
    pub fn block_at(&self, slot: u32) -> u32 {
        self.block_of[slot as usize]
    }

    /// The blocks that control may come from into block `block`, but by a `gotox`; twice from a conditional jump to the
    /// next instruction.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If there is no such block.
    #[must_use]
    pub fn predecessors(&self, block: u32) -> &[u32] {
        let [start, end] = [block as usize, block as usize + 1].map(|at| self.pred_starts[at] as usize);
        &self.preds[start..end]
    }

    /// The blocks of a subprogram that end with a `gotox`, ascending. Each of them may lead to each of the
    /// [`indirect_targets`](Cfg::indirect_targets) of the subprogram.
    ///
    /// O(log of those of the program).
    ///
    /// # Panics
    ///
    /// If there is no such subprogram.
    #[must_use]
    pub fn indirect_jumps(&self, subprog: u32) -> &[u32] {
        within(&self.indirect_jumps, self.blocks_of(subprog))
    }

    /// The blocks of a subprogram that a `gotox` may lead to, ascending. None, if no `gotox` is in the program.
    ///
    /// O(log of those of the program).
    ///
    /// # Panics
    ///
    /// If there is no such subprogram.
    #[must_use]
    pub fn indirect_targets(&self, subprog: u32) -> &[u32] {
        within(&self.indirect_targets, self.blocks_of(subprog))
    }

    /// Whether a `gotox` may lead to a block.
    ///
    /// O(log indirect targets).
    #[must_use]
    pub fn is_indirect_target(&self, block: u32) -> bool {
        self.indirect_targets.binary_search(&block).is_ok()
    }

    /// How many subprograms there are.
    ///
    /// O(1).
    #[must_use]
    pub fn subprogs(&self) -> u32 {
        index(self.entries.len() - 1)
    }

    /// The numbers of the blocks of a subprogram; the first one is its entry.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If there is no such subprogram.
    #[must_use]
    pub fn blocks_of(&self, subprog: u32) -> Range<u32> {
        self.entries[subprog as usize]..self.entries[subprog as usize + 1]
    }

    /// The index of the subprogram that starts at a slot.
    ///
    /// O(1).
    #[must_use]
    pub fn subprog_at(&self, slot: u32) -> Option<u32> {
        let block = self.blocks[*self.block_of.get(slot as usize)? as usize];
        let entry = self.entries[block.subprog as usize];
        (self.blocks[entry as usize].start == slot).then_some(block.subprog)
    }

    /// Whether control can reach a block from the entry of its subprogram, every conditional jump
    /// taken to go both ways.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If there is no such block.
    #[must_use]
    pub fn is_reachable(&self, block: u32) -> bool {
        self.reachable[block as usize]
    }

    /// The subprogram that the instruction at a slot calls, or takes the address of.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If the program has no such slot.
    #[must_use]
    pub fn referenced<T>(&self, program: &Program<T>, slot: u32) -> Option<u32> {
        if program.insns[slot as usize].is_jump() {
            return None;
        }
        self.subprog_at(u32::try_from(target(&program.insns, slot)?).ok()?)
    }
}

/// Those of ascending numbers that are in a range.
fn within(numbers: &[u32], range: Range<u32>) -> &[u32] {
    let [start, end] = [range.start, range.end].map(|end| numbers.partition_point(|&number| number < end));
    &numbers[start..end]
}

/// The first slot of the instruction that ends before slot `end`.
pub(super) fn last_insn(insns: &[Insn], end: u32) -> u32 {
    match end.checked_sub(2) {
        // The code of a second slot is 0, so that it is never taken for a first one.
        Some(at) if insns[at as usize].is_wide() => at,
        _ => end - 1,
    }
}

/// How many of something there are, or which one: there is at most one for each slot.
#[expect(clippy::cast_possible_truncation, reason = "the number of slots was checked")]
fn index(at: usize) -> u32 {
    at as u32
}

fn check_insns(insns: &[Insn]) -> Result<(), CfgError> {
    let mut at = 0;
    while at < insns.len() {
        at += check_insn(insns, at, FRAME_POINTER).map_err(CfgError::BadInsn)?;
    }
    Ok(())
}

/// The subprogram of each slot.
fn divide<T>(program: &Program<T>, len: u32) -> Result<Vec<u32>, CfgError> {
    let mut subprog_of = Vec::with_capacity(len as usize);
    for (subprog, &start) in program.subprogs.iter().enumerate() {
        let in_order = subprog == 0 || start > program.subprogs[subprog - 1];
        let first = start == 0 || (start < len && !program.insns[start as usize - 1].is_wide());
        if !in_order || !first || (subprog == 0) != (start == 0) {
            return Err(CfgError::BadSubprog { subprog, start: Some(start) });
        }
        subprog_of.resize(start as usize, index(subprog.saturating_sub(1)));
    }
    let last = program.subprogs.len().checked_sub(1);
    let last = last.ok_or(CfgError::BadSubprog { subprog: 0, start: None })?;
    subprog_of.resize(len as usize, index(last));
    Ok(subprog_of)
}

/// The slots that blocks start at. Checks where jumps and references lead.
fn find_leaders<T>(program: &Program<T>, len: u32, subprog_of: &[u32]) -> Result<BitVec, CfgError> {
    let insns = &program.insns;
    let mut leaders = BitVec::repeat(false, len as usize);
    for &start in &program.subprogs {
        leaders.set(start as usize, true);
    }
    let mut has_gotox = false;
    for at in positions(insns, 0..len) {
        let insn = insns[at as usize];
        if (insn.is_cond() || insn.ends_flow()) && at + 1 < len {
            leaders.set(at as usize + 1, true);
        }
        has_gotox |= insn.is_gotox();
        let Some(to) = target(insns, at) else { continue };
        let slot = u32::try_from(to).ok().filter(|&slot| slot < len);
        if !insn.is_jump() {
            let starts = |slot: usize| slot == 0 || subprog_of[slot] != subprog_of[slot - 1];
            if slot.is_some_and(|slot| starts(slot as usize)) {
                continue;
            }
            return Err(CfgError::NoSubprog { at, target: to });
        }
        let slot = slot.ok_or(CfgError::OutOfProgram { at, target: to, slots: len })?;
        if slot != 0 && insns[slot as usize - 1].is_wide() {
            return Err(CfgError::IntoInsn { at, target: slot });
        }
        if subprog_of[slot as usize] != subprog_of[at as usize] {
            return Err(CfgError::LeavesSubprog { at, target: slot });
        }
        leaders.set(slot as usize, true);
    }
    // Without a `gotox`, tables are for something else.
    let entries = program.insn_array.iter().enumerate().filter(|_| has_gotox);
    for (entry, target) in entries.filter_map(|(entry, &target)| Some((entry, target?))) {
        if target >= len || (target != 0 && insns[target as usize - 1].is_wide()) {
            return Err(CfgError::BadEntry { entry, target });
        }
        leaders.set(target as usize, true);
    }
    Ok(leaders)
}
