//! [`Liveness`]: which registers, and which halves of them, are read later.

use alloc::vec;
use alloc::vec::Vec;

use super::cfg::last_insn;
use super::{Cfg, Effects, Program, RegSet};

/// The registers that are live at a point: some path from it reads them before it writes them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Live {
    /// Registers whose low 32 bits are read.
    pub low: RegSet,
    /// Registers whose high 32 bits are read. A register is in neither set, in `low` only, or in both.
    pub high: RegSet,
}

impl Live {
    /// What is live before an instruction, if this is what is live after it.
    #[inline]
    #[must_use]
    const fn before(self, effects: Effects) -> Self {
        Self {
            low: self.low.minus(effects.writes).union(effects.reads),
            high: self.high.minus(effects.writes).union(effects.reads_high),
        }
    }

    #[inline]
    const fn union(self, other: Self) -> Self {
        Self { low: self.low.union(other.low), high: self.high.union(other.high) }
    }
}

/// Which registers are live before and after each instruction of a program.
///
/// It is conservative: it may call a register live that no path reads, never the reverse. A call
/// reads `r1` to `r5`, `exit` reads `r0`, and control that ends with a call that does not return reads
/// nothing. Every conditional jump may go both ways. Registers `r6` to `r9` belong to a frame, so a
/// subprogram that never reads one may write it.
///
/// Positions are slots of the program the analysis was made from. Deleting code that control does not
/// reach, or turning a conditional jump into one of its two ways, leaves the answers true.
#[derive(Clone, Debug)]
pub struct Liveness {
    /// What is live after each slot; the two slots of an `ld_imm64` have the same.
    after: Vec<Live>,
    /// What is live before each slot.
    before: Vec<Live>,
}

impl Liveness {
    /// Finds what is live in a program, whose graph is `cfg`.
    ///
    /// O(slots + 22 · edges): what is live into a block grows at most 22 times (11 registers of two
    /// halves), and only then are the blocks before it looked at again. All that a `gotox` of a subprogram leads to counts as
    /// one block here.
    #[must_use]
    pub fn new<T>(program: &Program<T>, cfg: &Cfg) -> Self {
        Self::with(program, cfg, |at| Effects::of(program.insns[at as usize]))
    }

    /// As [`new`](Liveness::new), if the instruction at a slot has the effects that `effects` says.
    pub(super) fn with<T>(program: &Program<T>, cfg: &Cfg, effects_of: impl Fn(u32) -> Effects) -> Self {
        let blocks = cfg.blocks();
        let insns = &program.insns;
        // The effects of a block are those of one large instruction.
        let effects: Vec<Effects> = blocks
            .iter()
            .map(|block| {
                let effects = block.insns(program).map(&effects_of);
                effects.fold(Effects::default(), then)
            })
            .collect();
        let mut into = vec![Live::default(); blocks.len()];
        // What is live into any of the indirect targets of each subprogram.
        let mut by_table = vec![Live::default(); cfg.subprogs() as usize];
        let mut queued = vec![true; blocks.len()];
        let mut work: Vec<u32> = (0..).take(blocks.len()).collect();
        while let Some(number) = work.pop() {
            let block = number as usize;
            queued[block] = false;
            let live = out_of(&into, &by_table, cfg, block).before(effects[block]);
            if live == into[block] {
                continue;
            }
            into[block] = live;
            let mut jumps = &[][..];
            if cfg.is_indirect_target(number) {
                let subprog = blocks[block].subprog;
                let all = &mut by_table[subprog as usize];
                let before = core::mem::replace(all, all.union(live));
                if *all != before {
                    jumps = cfg.indirect_jumps(subprog);
                }
            }
            for &from in cfg.predecessors(number).iter().chain(jumps) {
                if !core::mem::replace(&mut queued[from as usize], true) {
                    work.push(from);
                }
            }
        }
        let mut liveness =
            Self { after: vec![Live::default(); insns.len()], before: vec![Live::default(); insns.len()] };
        for (number, block) in blocks.iter().enumerate() {
            let mut live = out_of(&into, &by_table, cfg, number);
            let mut end = block.end;
            while end > block.start {
                let at = last_insn(insns, end);
                liveness.after[at as usize..end as usize].fill(live);
                live = live.before(effects_of(at));
                liveness.before[at as usize..end as usize].fill(live);
                end = at;
            }
        }
        liveness
    }

    /// What is live before the instruction at a slot.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If the program has no such slot.
    #[must_use]
    pub fn before(&self, slot: u32) -> Live {
        self.before[slot as usize]
    }

    /// What is live after the instruction at a slot, on any way out of it.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If the program has no such slot.
    #[must_use]
    pub fn after(&self, slot: u32) -> Live {
        self.after[slot as usize]
    }
}

/// What is live at the end of a block.
fn out_of(into: &[Live], by_table: &[Live], cfg: &Cfg, block: usize) -> Live {
    let block = cfg.blocks()[block];
    let live = if block.is_indirect { by_table[block.subprog as usize] } else { Live::default() };
    block.successors().fold(live, |live, to| live.union(into[to as usize]))
}

/// The effects of one instruction, then another.
const fn then(first: Effects, second: Effects) -> Effects {
    Effects {
        reads: first.reads.union(second.reads.minus(first.writes)),
        reads_high: first.reads_high.union(second.reads_high.minus(first.writes)),
        writes: first.writes.union(second.writes),
    }
}
