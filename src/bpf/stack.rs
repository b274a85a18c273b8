//! [`Frames`]: how much of its stack frame each subprogram uses.

use alloc::vec::Vec;

use super::opcode::{
    ADD, ALU, ALU64, ATOMIC, CALL_HELPER, DW, FRAME_POINTER, LDX, LOAD_ACQ, MOV, ST, STX, SUB,
};
use super::{Cfg, Effects, Insn, Program, RegSet, is_pinned};

/// The bytes of stack that one frame may have, and all frames of a chain of calls together
/// (`MAX_BPF_STACK` in the kernel).
pub const MAX_STACK: u16 = 512;

/// The bytes of stack that a chain of calls may have if one of them makes a tail call
/// (`check_max_stack_depth` in the kernel).
pub(crate) const TAIL_CALL_STACK: u16 = 256;

/// Whether this calls the helper `bpf_tail_call`.
pub(crate) const fn is_tail_call(insn: Insn) -> bool {
    insn.is_call() && insn.src() == CALL_HELPER && insn.imm == 12
}

/// What a subprogram does with its own stack frame.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Frame {
    /// The deepest byte below the frame pointer that its code names, in bytes: at most
    /// [`MAX_STACK`], which is also the answer for arithmetic that is not followed.
    pub depth: u16,
    /// Whether an address in the frame is passed to code that may use bytes below it: another
    /// subprogram, a callback, a kernel function. `depth` says nothing about what that code does.
    pub escapes: bool,
}

impl Frame {
    /// The offset from the frame pointer, in bytes, of the highest aligned 8 bytes that nothing in
    /// the program uses, or `None` if there are no such bytes for sure.
    ///
    /// O(1). Whether the frames of all callers and callees leave that room is another question.
    #[must_use]
    pub fn unused_slot(self) -> Option<i16> {
        let depth = self.depth.checked_next_multiple_of(8).and_then(|depth| depth.checked_add(8))?;
        if self.escapes || depth > MAX_STACK { None } else { i16::try_from(depth).ok().map(|depth| -depth) }
    }

    /// What the kernel counts for the frame: its bytes rounded up to whole 32s, 32 at the least.
    ///
    /// O(1).
    #[must_use]
    pub fn charged(self) -> u16 {
        self.depth.max(1).checked_next_multiple_of(32).unwrap_or(u16::MAX)
    }
}

/// The stack frames of the subprograms of a program.
///
/// An address in the frame is followed through moves, constant additions, spills and fills. A helper
/// is taken to use memory from the address that it is passed upwards.
#[derive(Clone, Debug)]
pub struct Frames {
    frames: Vec<Frame>,
}

impl Frames {
    /// Finds what each subprogram of a program uses of its frame; `cfg` is the graph of the program.
    ///
    /// O(slots): a block is walked at most 20 times, and most are walked once.
    #[must_use]
    pub fn new<T>(program: &Program<T>, cfg: &Cfg) -> Self {
        let mut search = Search {
            program,
            cfg,
            entries: core::iter::repeat_with(|| None).take(cfg.blocks().len()).collect(),
            work: Vec::new(),
            frame: Frame::default(),
        };
        let frames = (0..cfg.subprogs()).map(|subprog| search.run(subprog)).collect();
        Self { frames }
    }

    /// The frame of a subprogram.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If there is no such subprogram.
    #[must_use]
    pub fn of(&self, subprog: u32) -> Frame {
        self.frames[subprog as usize]
    }

    /// The frames of all subprograms, in the order of the program.
    ///
    /// O(1).
    #[must_use]
    pub fn all(&self) -> &[Frame] {
        &self.frames
    }
}

/// Helpers that pass an address on to a callback: `bpf_for_each_map_elem`, `bpf_find_vma`,
/// `bpf_loop`, `bpf_user_ringbuf_drain`.
pub(crate) const CALLBACK_HELPERS: [i32; 4] = [164, 180, 181, 209];

/// How often what is known at the entry of a block may get worse before all that gets worse still is
/// given up. A block is thus walked once, this many times, and once for each of 11 places given up.
const PATIENCE: u8 = 8;

/// As low as an address in the frame can be.
const FLOOR: i16 = -512;

/// The lowest offset from the frame pointer that an address in a place can have.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Lowest {
    regs: [i16; FRAME_POINTER as usize],
    /// All memory together.
    memory: i16,
}

/// Instead of an offset: the place holds no address in the frame.
const NO_ADDRESS: i16 = i16::MAX;

impl Lowest {
    const NOTHING: Self = Self { regs: [NO_ADDRESS; FRAME_POINTER as usize], memory: NO_ADDRESS };

    fn of(&self, reg: u8) -> Option<i16> {
        let low = if reg == FRAME_POINTER { 0 } else { self.regs[reg as usize] };
        (low != NO_ADDRESS).then_some(low)
    }

    fn set(&mut self, reg: u8, low: Option<i16>) {
        if let Some(place) = self.regs.get_mut(reg as usize) {
            *place = low.unwrap_or(NO_ADDRESS);
        }
    }

    fn places(&mut self) -> impl Iterator<Item = &mut i16> {
        self.regs.iter_mut().chain(Some(&mut self.memory))
    }
}

/// What is known where control from several places comes together: at the entry of a block, or where it goes on by the jump
/// tables of a subprogram.
struct Entry {
    lowest: Lowest,
    worsened: u8,
    queued: bool,
}

impl Entry {
    /// Notes what is known on one more way. Whether less is known by that.
    fn meet(&mut self, mut from: Lowest) -> bool {
        let mut worse = false;
        for (old, new) in self.lowest.places().zip(from.places()) {
            if new < old {
                *old = if self.worsened < PATIENCE { *new } else { FLOOR };
                worse = true;
            }
        }
        self.worsened = self.worsened.saturating_add(u8::from(worse));
        worse
    }
}

struct Search<'a, T> {
    program: &'a Program<T>,
    cfg: &'a Cfg,
    entries: Vec<Option<Entry>>,
    work: Vec<u32>,
    frame: Frame,
}

impl<T> Search<'_, T> {
    fn run(&mut self, subprog: u32) -> Frame {
        self.frame = Frame::default();
        let mut by_table: Option<Entry> = None;
        self.enter(self.cfg.blocks_of(subprog).start, Lowest::NOTHING);
        while let Some(number) = self.work.pop() {
            let Some(entry) = &mut self.entries[number as usize] else { continue };
            entry.queued = false;
            let mut lowest = entry.lowest;
            let block = self.cfg.blocks()[number as usize];
            for at in block.insns(self.program) {
                self.step(&mut lowest, at);
            }
            for to in block.successors() {
                self.enter(to, lowest);
            }
            if !block.is_indirect {
                continue;
            }
            let news = match &mut by_table {
                Some(entry) => entry.meet(lowest),
                None => true,
            };
            let entry = by_table.get_or_insert(Entry { lowest, worsened: 0, queued: false });
            if news {
                for &to in self.cfg.indirect_targets(subprog) {
                    self.enter(to, entry.lowest);
                }
            }
        }
        self.frame
    }

    /// Control comes into a block with this.
    fn enter(&mut self, block: u32, from: Lowest) {
        let place = &mut self.entries[block as usize];
        let Some(entry) = place else {
            *place = Some(Entry { lowest: from, worsened: 0, queued: true });
            self.work.push(block);
            return;
        };
        if entry.meet(from) && !core::mem::replace(&mut entry.queued, true) {
            self.work.push(block);
        }
    }

    fn step(&mut self, lowest: &mut Lowest, at: u32) {
        let insn = self.program.insns[at as usize];
        self.note_access(lowest, insn);
        let result = match insn.class() {
            ALU | ALU64 => self.arithmetic(lowest, at, insn),
            LDX if insn.size() == DW => Some(lowest.memory).filter(|&low| low != NO_ADDRESS),
            _ => None,
        };
        if insn.is_call() {
            let helper = insn.src() == CALL_HELPER && !CALLBACK_HELPERS.contains(&insn.imm);
            self.frame.escapes |= !helper && RegSet::ARGS.iter().any(|reg| lowest.of(reg).is_some());
        } else if insn.class() == STX && insn.size() == DW {
            lowest.memory = lowest.memory.min(lowest.of(insn.src()).unwrap_or(NO_ADDRESS));
        }
        for reg in Effects::of(insn).writes.iter() {
            lowest.set(reg, result);
        }
        if let Some(low) = result {
            self.note(low);
        }
    }

    /// The address that an arithmetic instruction leaves in its destination.
    fn arithmetic(&self, lowest: &Lowest, at: u32, insn: Insn) -> Option<i16> {
        let src = if insn.is_reg() { lowest.of(insn.src()) } else { None };
        match (insn.class(), insn.op()) {
            (ALU64, MOV) => return src,
            (_, MOV) => return None,
            _ => {}
        }
        let Some(dst) = lowest.of(insn.dst()) else { return src.map(|_| FLOOR) };
        let delta = match (insn.class(), insn.op()) {
            _ if insn.is_reg() || is_pinned(self.program, at) => return Some(FLOOR),
            (ALU64, ADD) => i64::from(insn.imm),
            (ALU64, SUB) => -i64::from(insn.imm),
            _ => return Some(FLOOR),
        };
        let low = (i64::from(dst) + delta).clamp(i64::from(FLOOR), i64::from(-FLOOR));
        Some(i16::try_from(low).unwrap_or(FLOOR))
    }

    fn note_access(&mut self, lowest: &Lowest, insn: Insn) {
        let base = match insn.class() {
            LDX => insn.src(),
            STX if insn.mode() == ATOMIC && insn.imm == LOAD_ACQ => insn.src(),
            ST | STX => insn.dst(),
            _ => return,
        };
        if let Some(low) = lowest.of(base) {
            self.note(low.saturating_add(insn.off));
        }
    }

    fn note(&mut self, low: i16) {
        let depth = low.min(0).unsigned_abs().min(MAX_STACK);
        self.frame.depth = self.frame.depth.max(depth);
    }
}
