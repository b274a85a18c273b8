//! Which constants registers hold, and which ways control can go then (conditional constant
//! propagation, Wegman and Zadeck 1991, on whole blocks).

use alloc::vec;
use alloc::vec::Vec;

use super::eval;
use crate::bpf::opcode::{FRAME_POINTER, LD_NUMBER};
use crate::bpf::{Block, Cfg, Effects, Program, RegSet, is_pinned};

/// The registers whose values are known, and the values.
#[derive(Clone, Copy)]
struct Known {
    regs: RegSet,
    values: [u64; FRAME_POINTER as usize],
}

impl Known {
    const NOTHING: Self = Self { regs: RegSet::EMPTY, values: [0; FRAME_POINTER as usize] };

    fn get(&self, reg: u8) -> Option<u64> {
        self.regs.contains(reg).then(|| self.values[reg as usize])
    }

    fn set(&mut self, reg: u8, value: u64) {
        if let Some(place) = self.values.get_mut(reg as usize) {
            *place = value;
            self.regs = self.regs.union(RegSet::of(reg));
        }
    }

    /// Forgets what another way in does not agree on. Whether anything was forgotten.
    fn meet(&mut self, other: &Self) -> bool {
        let differ = |&reg: &u8| other.get(reg) != self.get(reg);
        let lost = self.regs.iter().filter(differ).fold(RegSet::EMPTY, |set, reg| set.union(RegSet::of(reg)));
        self.regs = self.regs.minus(lost);
        lost != RegSet::EMPTY
    }
}

/// Where control can go from a block.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Ways {
    /// Into the block at all.
    pub(super) reached: bool,
    /// From it by its jump.
    pub(super) taken: bool,
    /// From it to the next block.
    pub(super) falls: bool,
}

/// Finds the ways control can go, one subprogram at a time.
pub(super) struct Search<'a, T> {
    program: &'a Program<T>,
    cfg: &'a Cfg,
    entries: Vec<Known>,
    ways: Vec<Ways>,
    queued: Vec<bool>,
    work: Vec<u32>,
}

impl<'a, T> Search<'a, T> {
    pub(super) fn new(program: &'a Program<T>, cfg: &'a Cfg) -> Self {
        let blocks = cfg.blocks().len();
        Self {
            program,
            cfg,
            entries: vec![Known::NOTHING; blocks],
            ways: vec![Ways::default(); blocks],
            queued: vec![false; blocks],
            work: Vec::new(),
        }
    }

    /// The ways found so far.
    pub(super) fn ways(&self) -> &[Ways] {
        &self.ways
    }

    /// Follows control from the entry of a subprogram, where nothing is known of any register.
    ///
    /// O(slots of the subprogram): a block is walked when control first comes into it, and again each
    /// time one of ten registers turns out to hold no constant there.
    pub(super) fn run(&mut self, subprog: u32) {
        // What is known where control goes on by the jump tables of the subprogram.
        let mut by_table: Option<Known> = None;
        self.enter(self.cfg.blocks_of(subprog).start, &Known::NOTHING);
        while let Some(number) = self.work.pop() {
            self.queued[number as usize] = false;
            let block = self.cfg.blocks()[number as usize];
            let mut known = self.entries[number as usize];
            let jumps = self.walk(&block, &mut known);
            let ways = &mut self.ways[number as usize];
            ways.taken |= block.taken.is_some() && jumps != Some(false);
            ways.falls |= block.falls_to.is_some() && jumps != Some(true);
            let Ways { taken, falls, .. } = *ways;
            for to in block.taken.filter(|_| taken).into_iter().chain(block.falls_to.filter(|_| falls)) {
                self.enter(to, &known);
            }
            if !block.is_indirect {
                continue;
            }
            let news = by_table.as_mut().is_none_or(|all| all.meet(&known));
            let all = by_table.get_or_insert(known);
            if news {
                for &to in self.cfg.indirect_targets(subprog) {
                    self.enter(to, all);
                }
            }
        }
    }

    fn enter(&mut self, block: u32, known: &Known) {
        let at = block as usize;
        let first = !core::mem::replace(&mut self.ways[at].reached, true);
        if first {
            self.entries[at] = *known;
        }
        let news = first || self.entries[at].meet(known);
        if news && !core::mem::replace(&mut self.queued[at], true) {
            self.work.push(block);
        }
    }

    /// Goes through a block. Whether its last instruction jumps, if that is certain.
    fn walk(&self, block: &Block, known: &mut Known) -> Option<bool> {
        let insns = &self.program.insns;
        let mut jumps = None;
        for at in block.insns(self.program) {
            let insn = insns[at as usize];
            let mut result = None;
            if is_pinned(self.program, at) {
                // A loader writes something else here.
            } else if insn.is_cond() {
                let src = if insn.is_reg() { known.get(insn.src()) } else { Some(0) };
                jumps = known.get(insn.dst()).zip(src).and_then(|(dst, src)| eval::is_taken(insn, dst, src));
            } else if insn.is_alu() {
                result = eval::arithmetic(insn, known.get(insn.dst()), known.get(insn.src()));
            } else if insn.is_wide() && insn.src() == LD_NUMBER {
                let [low, high] =
                    [insn, insns[at as usize + 1]].map(|slot| u64::from(slot.imm.cast_unsigned()));
                result = Some(high << 32 | low);
            }
            known.regs = known.regs.minus(Effects::of(insn).writes);
            if let Some(value) = result {
                known.set(insn.dst(), value);
            }
        }
        jumps
    }
}
