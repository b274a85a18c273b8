//! [`Scratch`]: a register that an instruction can be rewritten with.

use alloc::vec::Vec;

use crate::bpf::opcode::LD;
use crate::bpf::{
    Cfg, CfgError, Effects, Frame, Frames, Insn, Liveness, MAX_STACK, Program, RegSet, TAIL_CALL_STACK,
    is_tail_call,
};

/// Finds registers, for the instructions of a program one after the other.
pub(super) struct Scratch<'a, T> {
    program: &'a Program<T>,
    cfg: Cfg,
    liveness: Liveness,
    stack: u16,
    spills: Option<Spills>,
    /// Where [`pass`](Scratch::pass) is.
    block: Option<u32>,
    /// The registers that hold a value for sure: this block wrote or read them before.
    valid: RegSet,
}

impl<'a, T> Scratch<'a, T> {
    /// `stack` is what the frames of all subprograms together may have, in bytes.
    pub(super) fn new(program: &'a Program<T>, stack: u16) -> Result<Self, CfgError> {
        let cfg = Cfg::new(program)?;
        let liveness = Liveness::new(program, &cfg);
        Ok(Self { program, cfg, liveness, stack, spills: None, block: None, valid: RegSet::EMPTY })
    }

    /// A register that may be written before the instruction at `at`, and that it does not name.
    pub(super) fn free(&self, at: u32, insn: Insn) -> Option<u8> {
        unnamed(insn).minus(self.liveness.after(at).low).iter().next()
    }

    /// A register that the instruction at `at` does not name, and the offset from the frame pointer of
    /// 8 bytes to keep its value in.
    pub(super) fn spill(&mut self, at: u32, insn: Insn) -> Option<(u8, i16)> {
        let block = self.cfg.block_at(at);
        if self.block != Some(block) {
            return None;
        }
        let reg = self.valid.intersection(unnamed(insn)).iter().next()?;
        let subprog = self.cfg.blocks()[block as usize].subprog;
        let spills = self.spills.get_or_insert_with(|| Spills::new(self.program, &self.cfg, self.stack));
        Some((reg, spills.slots[subprog as usize]?))
    }

    /// Tells that the instruction `insn` was passed; `at` is its position in the program, or is beyond
    /// its end if it was inserted.
    pub(super) fn pass(&mut self, at: u32, insn: Insn) {
        let block = ((at as usize) < self.program.insns.len()).then(|| self.cfg.block_at(at));
        if block.is_none() || block != self.block {
            self.block = block;
            self.valid = RegSet::EMPTY;
        }
        if block.is_none() {
            return;
        }
        let Effects { reads, writes, .. } = Effects::of(insn);
        self.valid =
            if is_call(insn) { self.valid.minus(writes) } else { self.valid.union(reads).union(writes) };
    }
}

/// Whether an instruction leaves registers it may have written without a value.
fn is_call(insn: Insn) -> bool {
    insn.is_call() || (insn.class() == LD && !insn.is_wide())
}

/// The registers, `r0` to `r9`, that an instruction neither reads nor writes.
fn unnamed(insn: Insn) -> RegSet {
    let effects = Effects::of(insn);
    RegSet::GENERAL.minus(effects.reads).minus(effects.writes)
}

/// Where registers are spilled to.
struct Spills {
    /// For each subprogram the offset of its slot from the frame pointer, if it has one.
    slots: Vec<Option<i16>>,
}

impl Spills {
    /// Gives each subprogram a slot, as long as all frames together stay within `stack` bytes.
    fn new<T>(program: &Program<T>, cfg: &Cfg, stack: u16) -> Self {
        let limit = if cfg.subprogs() > 1 && program.insns.iter().any(|insn| is_tail_call(*insn)) {
            stack.min(TAIL_CALL_STACK)
        } else {
            stack.min(MAX_STACK)
        };
        let frames = Frames::new(program, cfg);
        let mut used: u32 = frames.all().iter().map(|frame| u32::from(frame.charged())).sum();
        let slots = frames.all().iter().map(|frame| {
            let slot = frame.unused_slot()?;
            let grown = Frame { depth: slot.unsigned_abs(), ..*frame };
            let total = used + u32::from(grown.charged() - frame.charged());
            (total <= u32::from(limit)).then(|| {
                used = total;
                slot
            })
        });
        Self { slots: slots.collect() }
    }
}
