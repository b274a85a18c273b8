//! Dead stores: deletes instructions whose results nothing uses.
//!
//! These go, if no way on from them reads what they write before it is written again:
//!
//! - moves and other arithmetic, loads of numbers and of the addresses of maps and kernel objects;
//! - loads from the frame and from objects of the [`Facts`];
//! - stores to bytes of the frame at a known offset.
//!
//! Other loads stay, as does an `ld_imm64` of a subprogram, which would be left without a reference. A result
//! that only such instructions use goes with them, around loops as well.
//!
//! Every branch is taken to go both ways: a verifier may look into what never runs, and must find there what is
//! read. A call is taken to read all its argument registers. A helper reads the frame from an address that it is
//! passed upwards, other subprograms, kernel functions and callbacks all of it; so does whatever follows an unknown
//! address once one in the frame has [escaped](crate::bpf::values::State::is_escaped). In a subprogram
//! that stores an address in its frame anywhere, a helper that is passed one reads all of it, as it may follow
//! one address to another.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::{AddAssign, Range};

use super::Error;
use super::unreached::check_untouched;
use crate::bpf::opcode::{ATOMIC, B, CALL_HELPER, H, LD_FUNC, LDX, LOAD_ACQ, ST, STX, W};
use crate::bpf::values::{Base, Fact, Facts, Options, Pointer, State, Value, Values};
use crate::bpf::{Bpf, CALLBACK_HELPERS, Cfg, Effects, Insn, MAX_STACK, Program, RegSet, is_pinned};
use crate::core::{Handle, List};

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Moves and other arithmetic, and loads of numbers, that went.
    pub moves: u32,
    /// Loads of the addresses of maps and kernel objects that went.
    pub addresses: u32,
    /// Loads from memory that went.
    pub loads: u32,
    /// Stores to the frame that went.
    pub stores: u32,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        let Self { moves, addresses, loads, stores } = other;
        self.moves += moves;
        self.addresses += addresses;
        self.loads += loads;
        self.stores += stores;
    }
}

/// Deletes instructions whose results nothing uses.
///
/// `list` must be over `program`, and no edit may have touched it. The result is a fixpoint: running the pass on
/// its own result changes nothing.
///
/// O(slots) for most programs: the cost of [`Values`], and a backward analysis that walks a block again when one of
/// 10 registers or 512 bytes turns out to be read after it.
///
/// # Errors
///
/// [`Error::Cfg`], [`Error::BadRoot`], [`Error::Edited`] for a list that was edited, or [`Error::Edit`] if the
/// allocator refuses.
pub fn run<T, A: Copy + Default>(
    program: &Program<T>,
    list: &mut List<'_, Bpf, A>,
    facts: &Facts<'_>,
    options: &Options<'_>,
) -> Result<Report, Error> {
    let cfg = Cfg::new(program)?;
    check_untouched(program, list)?;
    let values = Values::new(program, &cfg, facts, &Options { every_way: true, ..*options })?;
    let search = Search { program, cfg: &cfg, uses: find_uses(program, &cfg, facts, &values) };
    let before = search.run();
    let mut report = Report::default();
    for number in (0..).take(cfg.blocks().len()) {
        search.walk(number, search.after(number, &before), |at, is_dead| {
            if !is_dead {
                return Ok(());
            }
            let insn = program.insns[at as usize];
            *match insn.class() {
                LDX => &mut report.loads,
                ST | STX => &mut report.stores,
                _ if insn.is_wide() && insn.src() != 0 => &mut report.addresses,
                _ => &mut report.moves,
            } += 1;
            list.delete(Handle::new(at)).map_err(Error::from)
        })?;
    }
    Ok(report)
}

/// What an instruction does to the frame, and whether it may go if nothing reads what it writes.
#[derive(Clone, Default)]
struct Use {
    /// The bytes that it reads; all bytes are counted from the lowest of the frame.
    reads: Range<u16>,
    /// The bytes that it writes for sure.
    writes: Range<u16>,
    may_go: bool,
}

const ALL: Range<u16> = 0..MAX_STACK;

/// Finds the uses of all instructions, by slot. Where control never comes, none may go.
fn find_uses<T>(program: &Program<T>, cfg: &Cfg, facts: &Facts<'_>, values: &Values<'_, T>) -> Vec<Use> {
    let mut uses = vec![Use::default(); program.insns.len()];
    for subprog in 0..cfg.subprogs() {
        let mut keeps_addresses = false;
        for block in cfg.blocks_of(subprog) {
            let Some(mut walk) = values.walk(block) else { continue };
            while let Some(at) = walk.slot() {
                let insn = program.insns[at as usize];
                keeps_addresses |= insn.class() == STX && is_frame(walk.state().reg(insn.src()));
                uses[at as usize] = use_of(program, facts, walk.state(), at);
                walk.step();
            }
        }
        let blocks = cfg.blocks_of(subprog).map(|block| cfg.blocks()[block as usize]);
        for at in blocks.filter(|_| keeps_addresses).flat_map(|block| block.insns(program)) {
            let reads = &mut uses[at as usize].reads;
            if program.insns[at as usize].is_call() && reads.start < reads.end {
                *reads = ALL;
            }
        }
    }
    uses
}

fn is_frame(value: Value) -> bool {
    value.as_pointer().is_some_and(|pointer| pointer.base == Base::Frame)
}

fn use_of<T>(program: &Program<T>, facts: &Facts<'_>, state: &State, at: u32) -> Use {
    let insn = program.insns[at as usize];
    let is_acquire = insn.class() == STX && insn.mode() == ATOMIC && insn.imm == LOAD_ACQ;
    match insn.class() {
        _ if insn.is_alu() => Use { may_go: true, ..Use::default() },
        _ if insn.is_wide() => Use { may_go: insn.src() != LD_FUNC, ..Use::default() },
        _ if insn.is_call() => Use { reads: call_reads(program, state, at), ..Use::default() },
        LDX | ST | STX => {
            let base = state.reg(if insn.class() == LDX || is_acquire { insn.src() } else { insn.dst() });
            let bytes = frame_bytes(program, facts, insn, at, base);
            let is_plain = insn.class() != STX || insn.mode() != ATOMIC;
            let is_pure = base.as_pointer().is_some_and(|pointer| pointer.base != Base::Context)
                || matches!(facts.get(at), Some(Fact::Bytes(_)));
            match bytes {
                _ if insn.class() == LDX || !is_plain => {
                    let anywhere = base.as_pointer().is_none() && state.is_escaped();
                    let reads = if anywhere || (is_frame(base) && bytes.is_none()) {
                        ALL
                    } else {
                        bytes.unwrap_or_default()
                    };
                    Use { reads, may_go: insn.class() == LDX && is_pure, ..Use::default() }
                }
                Some(writes) => Use { may_go: true, writes, ..Use::default() },
                None => Use::default(),
            }
        }
        _ => Use::default(),
    }
}

/// The bytes of the frame that a load or store is to, if that is known.
fn frame_bytes<T>(
    program: &Program<T>,
    facts: &Facts<'_>,
    insn: Insn,
    at: u32,
    base: Value,
) -> Option<Range<u16>> {
    let off = match facts.get(at) {
        Some(Fact::Offset(off)) => off,
        None if is_pinned(program, at) => return None,
        _ => insn.off,
    };
    let len = match insn.size() {
        B => 1,
        H => 2,
        W => 4,
        _ => 8,
    };
    let start = base.as_pointer().and_then(Pointer::frame_offset)?.checked_add(off.into())?;
    let start = start.checked_add(MAX_STACK.into())?;
    let range = u16::try_from(start).ok()?..u16::try_from(start.checked_add(len)?).ok()?;
    (range.end <= MAX_STACK).then_some(range)
}

/// The bytes of the frame that a call may read.
fn call_reads<T>(program: &Program<T>, state: &State, at: u32) -> Range<u16> {
    let insn = program.insns[at as usize];
    let passed = RegSet::ARGS.iter().map(|reg| state.reg(reg)).filter(|value| is_frame(*value));
    let lowest = passed.map(|value| value.as_pointer().and_then(Pointer::frame_offset)).min();
    let is_plain =
        insn.src() == CALL_HELPER && !is_pinned(program, at) && !CALLBACK_HELPERS.contains(&insn.imm);
    match lowest {
        _ if state.is_escaped() => ALL,
        None => 0..0,
        Some(Some(lowest)) if is_plain => {
            let start = lowest.saturating_add(MAX_STACK.into()).clamp(0, MAX_STACK.into());
            u16::try_from(start).unwrap_or_default()..MAX_STACK
        }
        Some(_) => ALL,
    }
}

/// The registers and the bytes of the frame that are read later.
#[derive(Clone, PartialEq, Eq, Default)]
struct Live {
    regs: RegSet,
    bytes: [u64; BYTE_WORDS],
}

const BYTE_WORDS: usize = MAX_STACK as usize / 64;

impl Live {
    /// Adds what is live on another way. Whether that is news.
    fn join(&mut self, other: &Self) -> bool {
        let old = self.clone();
        self.regs = self.regs.union(other.regs);
        for (here, there) in self.bytes.iter_mut().zip(other.bytes) {
            *here |= there;
        }
        *self != old
    }

    fn has_any(&self, bytes: &Range<u16>) -> bool {
        masks(bytes).zip(self.bytes).any(|(mask, bytes)| mask & bytes != 0)
    }

    fn add(&mut self, bytes: &Range<u16>) {
        masks(bytes).zip(&mut self.bytes).for_each(|(mask, bytes)| *bytes |= mask);
    }

    fn remove(&mut self, bytes: &Range<u16>) {
        masks(bytes).zip(&mut self.bytes).for_each(|(mask, bytes)| *bytes &= !mask);
    }
}

/// The bits of a range of bytes, for each word.
fn masks(bytes: &Range<u16>) -> impl Iterator<Item = u64> + use<> {
    let (start, end) = (u32::from(bytes.start), u32::from(bytes.end));
    (0..u32::from(MAX_STACK)).step_by(64).map(move |word| {
        let [from, to] = [start, end].map(|at| at.clamp(word, word + 64) - word);
        if from < to { u64::MAX >> (64 - (to - from)) << from } else { 0 }
    })
}

/// What is live at the starts of blocks.
struct Before {
    blocks: Vec<Live>,
    /// What is live before any of the indirect targets of each subprogram.
    by_table: Vec<Live>,
}

struct Search<'a, T> {
    program: &'a Program<T>,
    cfg: &'a Cfg,
    uses: Vec<Use>,
}

impl<T> Search<'_, T> {
    /// What is live before each block.
    fn run(&self) -> Before {
        let blocks = self.cfg.blocks().len();
        let mut before = Before {
            blocks: vec![Live::default(); blocks],
            by_table: vec![Live::default(); self.cfg.subprogs() as usize],
        };
        let mut is_queued = vec![true; blocks];
        let mut queue: BinaryHeap<u32> = (0..).take(blocks).collect();
        while let Some(number) = queue.pop() {
            is_queued[number as usize] = false;
            let live = self.walk(number, self.after(number, &before), |_, _| Ok(())).unwrap_or_default();
            if before.blocks[number as usize] == live {
                continue;
            }
            let mut jumps = &[][..];
            if self.cfg.is_indirect_target(number) {
                let subprog = self.cfg.blocks()[number as usize].subprog;
                if before.by_table[subprog as usize].join(&live) {
                    jumps = self.cfg.indirect_jumps(subprog);
                }
            }
            before.blocks[number as usize] = live;
            for &from in self.cfg.predecessors(number).iter().chain(jumps) {
                if !core::mem::replace(&mut is_queued[from as usize], true) {
                    queue.push(from);
                }
            }
        }
        before
    }

    /// What is live after a block.
    fn after(&self, number: u32, before: &Before) -> Live {
        let block = self.cfg.blocks()[number as usize];
        let mut live = Live::default();
        if block.is_indirect {
            live.join(&before.by_table[block.subprog as usize]);
        }
        for to in block.successors() {
            live.join(&before.blocks[to as usize]);
        }
        live
    }

    /// Goes through a block backwards, tells of each instruction whether it is dead, and gives what is live before.
    fn walk(
        &self,
        number: u32,
        mut live: Live,
        mut visit: impl FnMut(u32, bool) -> Result<(), Error>,
    ) -> Result<Live, Error> {
        let block = self.cfg.blocks()[number as usize];
        let mut insns: Vec<u32> = block.insns(self.program).collect();
        while let Some(at) = insns.pop() {
            let Use { reads, writes, may_go } = &self.uses[at as usize];
            let effects = Effects::of(self.program.insns[at as usize]);
            let is_used = effects.writes.intersection(live.regs) != RegSet::EMPTY || live.has_any(writes);
            let is_dead = *may_go && !is_used;
            visit(at, is_dead)?;
            if !is_dead {
                live.regs = live.regs.minus(effects.writes).union(effects.reads);
                live.remove(writes);
                live.add(reads);
            }
        }
        Ok(live)
    }
}
