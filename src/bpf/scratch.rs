//! [`Scratch`]: registers and stack slots that inserted code may use.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use super::chains::{self, Chains};
use super::defined::Defined;
use super::opcode::{CALL_LOCAL, DW, FRAME_POINTER, LD_FUNC};
use super::signature::arguments;
use super::{Arguments, Cfg, Effects, Frame, Frames, Insn, Liveness, MAX_STACK, Program, RegSet, Signature};

/// A place where code is to be inserted. Positions are slots of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// Before an instruction: what [`List::prepend`](crate::List::prepend) inserts.
    Before(u32),
    /// After an instruction: what [`List::append`](crate::List::append) inserts.
    After(u32),
    /// In the place of the instructions from the first slot to the last one, of which control comes to the first
    /// only, and leaves the last only: what [`List::replace`](crate::List::replace) inserts.
    Instead(u32, u32),
    /// Before the first instruction of a subprogram, named by its index, when it is called: what
    /// [`List::prepend_fallthrough`](crate::List::prepend_fallthrough) inserts.
    Entry(u32),
}

/// What is known of a program beyond its instructions.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Context {
    /// What each subprogram is entered with from outside of the program, `None` if it is not.
    pub entries: Vec<Option<Arguments>>,
    /// By how many bytes the stack frame of each subprogram may grow.
    pub growths: Vec<u16>,
    /// Of each subprogram, whether `r0` holds a value for sure wherever it is left. A verifier wants one of what
    /// the kernel runs.
    pub returns: Vec<bool>,
    /// What the calls at these slots call, which their encoding does not say.
    pub calls: BTreeMap<u32, Signature>,
    /// Whether other calls of helpers call those of Linux, by their numbers.
    pub linux_helpers: bool,
    /// Registers that other inserted code reads, by the slot of the instruction it is inserted for.
    pub reads: BTreeMap<u32, RegSet>,
}

/// How often it is looked again which subprograms return a value, as those that they call turn out to: calls are nested
/// 8 deep at most.
const ROUNDS: usize = 8;

impl Context {
    /// What holds of a program for Linux with all its code in `program`, whose graph is `cfg`: the kernel runs its
    /// first subprogram, and all other subprograms are called by the program itself, or by the kernel if their
    /// addresses are taken. The frames of each chain of calls may have `stack` bytes together.
    ///
    /// O(slots + references).
    #[must_use]
    pub fn of<T>(program: &Program<T>, cfg: &Cfg, stack: u16) -> Self {
        let limit = stack.min(chains::stack_limit(program));
        let growths = Chains::of(program, cfg, &Frames::new(program, cfg)).growths(limit.into());
        let mut returns = vec![false; cfg.subprogs() as usize];
        returns[0] = true;
        let entries = entries(program, cfg);
        let mut context = Self { entries, growths, returns, linux_helpers: true, ..Self::default() };
        for _ in 0..ROUNDS {
            let found = context.returning(program, cfg);
            if found == context.returns {
                break;
            }
            context.returns = found;
        }
        context
    }

    /// What holds of any program at all, but that its frames may grow by what fits into `stack` bytes for each chain of
    /// calls: its helpers are not known, and its subprograms may be entered from anywhere.
    ///
    /// O(slots + references).
    #[must_use]
    pub fn unknown<T>(program: &Program<T>, cfg: &Cfg, stack: u16) -> Self {
        let limit = stack.min(chains::stack_limit(program));
        let growths = Chains::of(program, cfg, &Frames::new(program, cfg)).growths(limit.into());
        let entries = vec![Some(Arguments::UNKNOWN); cfg.subprogs() as usize];
        Self { entries, growths, ..Self::default() }
    }

    /// Of each subprogram, whether `r0` holds a value for sure wherever it is left, if that is so of those that it calls by
    /// [`returns`](Context::returns).
    ///
    /// O(slots + 22 · (edges + calls)).
    #[must_use]
    pub fn returning<T>(&self, program: &Program<T>, cfg: &Cfg) -> Vec<bool> {
        let defined = Defined::new(program, cfg, self);
        let mut found = vec![true; cfg.subprogs() as usize];
        for block in cfg.blocks() {
            let last = block.last(program);
            let is_left = program.insns[last as usize].is_exit();
            found[block.subprog as usize] &= !is_left || defined.before(last).sure.contains(0);
        }
        found
    }

    /// What the call `insn` at a slot calls.
    pub(super) fn signature<T>(&self, program: &Program<T>, cfg: &Cfg, at: u32) -> Signature {
        if let Some(signature) = self.calls.get(&at) {
            return *signature;
        }
        if let Some(callee) = cfg.referenced(program, at) {
            let returns = self.returns.get(callee as usize).copied().unwrap_or_default();
            return Signature { returns, ..Signature::UNKNOWN };
        }
        if self.linux_helpers { Signature::of_call(program.insns[at as usize]) } else { Signature::UNKNOWN }
    }
}

fn entries<T>(program: &Program<T>, cfg: &Cfg) -> Vec<Option<Arguments>> {
    let mut entries = vec![Some(Arguments::UNKNOWN); cfg.subprogs() as usize];
    let mut taken = vec![false; entries.len()];
    for at in cfg.blocks().iter().flat_map(|block| block.insns(program)) {
        let insn = program.insns[at as usize];
        let Some(to) = cfg.referenced(program, at).map(|to| to as usize) else { continue };
        taken[to] |= insn.is_wide() && insn.src() == LD_FUNC;
        if insn.is_call() && insn.src() == CALL_LOCAL && !taken[to] {
            entries[to] = None;
        }
    }
    for (entry, _) in entries.iter_mut().zip(taken).filter(|(_, taken)| *taken) {
        *entry = Some(Arguments::UNKNOWN);
    }
    if let Some(first) = entries.first_mut() {
        *first = Some(Arguments::CONTEXT);
    }
    entries
}

/// What code that is to be inserted needs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Request {
    /// How many registers it wants.
    pub registers: usize,
    /// Registers that it must not be given, as it names them.
    pub avoid: RegSet,
    /// Registers that its calls leave without a value: what the program has in them is kept, and none of them is
    /// given.
    pub clobbers: RegSet,
    /// Whether only dead registers may be given: control may leave the code other than by its end, where nothing
    /// could be restored.
    pub only_dead: bool,
}

/// What inserted code may use, and what has to stand around it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Claim {
    /// The registers, as many as were asked for.
    pub registers: Vec<u8>,
    /// What has to run before the code: moves and stores that keep values.
    pub before: Vec<Insn>,
    /// What has to run after it: moves and loads that bring the values back.
    pub after: Vec<Insn>,
    /// How many registers are kept in the stack frame meanwhile.
    pub spilled: usize,
}

/// Why registers or a slot could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScratchError {
    /// Where.
    pub place: Place,
    /// Why.
    pub reason: ScratchReason,
}

/// Why registers or a slot could not be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ScratchReason {
    /// Not that many registers are dead, and too few hold a value that could be kept on the stack.
    Registers {
        /// How many were asked for.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// A register may be in use, so that its value has to be kept, but it is not sure that it has one. The
    /// verifier refuses to store a register without a value.
    MayHaveNoValue {
        /// The register.
        reg: u8,
    },
    /// The stack frame has no room for so many values: with its own bytes, those that may grow are too few.
    NoStack {
        /// How many slots of 8 bytes were asked for.
        slots: usize,
        /// The bytes that the frame has.
        depth: u16,
        /// By how many bytes it may grow, so that no chain of calls takes too much.
        growth: u16,
    },
    /// Other code gets an address in the stack frame, and may use any bytes of it.
    FrameEscapes,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(at) => write!(f, "before slot {at}"),
            Self::After(at) => write!(f, "after slot {at}"),
            Self::Instead(first, last) => write!(f, "instead of slots {first} to {last}"),
            Self::Entry(subprog) => write!(f, "at the entry of subprogram {subprog}"),
        }
    }
}

impl fmt::Display for ScratchReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Registers { wanted, found } => {
                write!(f, "{wanted} registers are needed, and {found} can be had")
            }
            Self::MayHaveNoValue { reg } => {
                write!(f, "r{reg} may be in use, but it cannot be kept, as it may hold no value")
            }
            Self::NoStack { slots, depth, growth } => write!(
                f,
                "{slots} stack slots are needed, and the frame of {depth} bytes may grow by {growth} bytes only"
            ),
            Self::FrameEscapes => {
                f.write_str("no stack slot is free for sure, as other code gets an address in the frame")
            }
        }
    }
}

impl fmt::Display for ScratchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

impl core::error::Error for ScratchError {}

/// Which registers and stack slots are free at places of a program.
///
/// A register that no later code reads is dead, and may be overwritten. Where too few are dead, the value of
/// another one is kept in a stack slot that the program does not use meanwhile. The verifier refuses to store a register that
/// holds no value, so only those are spilled that were written, or that code around reads; that `exit` reads
/// `r0` says nothing, as a function may give no value.
///
/// Places are those of the program as it was: code that was inserted before does not count, so it must keep all that the program
/// holds. Code that got its registers here does. What else it reads is to be told ([`Context::reads`]).
///
/// ```
/// use relinear::bpf::scratch::{Context, Place, Request, Scratch};
/// use relinear::bpf::{Cfg, Program, asm};
///
/// let insns = asm::parse("r0 = 0\nr2 = *(u32 *)(r1 + 0)\nr0 += r2\nexit")?;
/// let program = Program::<()> { insns, subprogs: vec![0], ..Program::default() };
/// let cfg = Cfg::new(&program)?;
/// let mut scratch = Scratch::new(&program, &cfg, Context::of(&program, &cfg, 512));
/// let claim = scratch.claim(Place::Before(2), &Request { registers: 2, ..Request::default() })?;
/// assert_eq!(claim.registers, [1, 3]); // r1 is not read again, r3 not used at all
/// assert!(claim.before.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Scratch<'a, T = ()> {
    program: &'a Program<T>,
    cfg: &'a Cfg,
    liveness: Liveness,
    defined: Defined,
    frames: Vec<Slots>,
    /// The registers that instructions of each subprogram name.
    named: Vec<RegSet>,
    /// Those that inserted code of each subprogram has for itself.
    reserved: Vec<RegSet>,
}

/// The stack slots of a subprogram.
#[derive(Clone, Debug)]
struct Slots {
    frame: Frame,
    growth: u16,
    /// Slots in which values are kept while inserted code runs.
    spills: Vec<i16>,
    /// How deep the frame is with all slots that were given.
    depth: u16,
}

impl Slots {
    /// Adds a slot below all others.
    fn add(&mut self) -> Option<i16> {
        let depth = self.depth.checked_next_multiple_of(8)?.checked_add(8)?;
        let grown = Frame { depth, ..self.frame };
        let fits = depth <= MAX_STACK && grown.charged() - self.frame.charged() <= self.growth;
        if self.frame.escapes || !fits {
            return None;
        }
        self.depth = depth;
        i16::try_from(depth).ok().map(|depth| -depth)
    }

    fn refusal(&self, slots: usize) -> ScratchReason {
        if self.frame.escapes {
            return ScratchReason::FrameEscapes;
        }
        ScratchReason::NoStack { slots, depth: self.frame.depth, growth: self.growth }
    }
}

/// What is known at a place.
#[derive(Clone, Copy)]
struct Here {
    live: RegSet,
    sure: RegSet,
    subprog: usize,
}

impl<'a, T> Scratch<'a, T> {
    /// Finds out what is free in a program; `cfg` is its graph.
    ///
    /// O((slots + 22 · edges) · log calls).
    #[must_use]
    pub fn new(program: &'a Program<T>, cfg: &'a Cfg, mut context: Context) -> Self {
        let subprogs = cfg.subprogs() as usize;
        context.entries.resize(subprogs, Some(Arguments::UNKNOWN));
        context.growths.resize(subprogs, 0);
        let liveness = Liveness::with(program, cfg, |at| {
            let insn = program.insns[at as usize];
            let mut effects = Effects::of(insn);
            if insn.is_call() {
                let taken = arguments(context.signature(program, cfg, at).takes);
                effects = Effects { reads: taken, reads_high: taken, ..effects };
            }
            let more = context.reads.get(&at).copied().unwrap_or_default();
            let (reads, reads_high) = (effects.reads.union(more), effects.reads_high.union(more));
            Effects { reads, reads_high, ..effects }
        });
        let defined = Defined::new(program, cfg, &context);
        let frames = Frames::new(program, cfg);
        let slots = |(frame, growth): (&Frame, u16)| Slots {
            frame: *frame,
            growth,
            spills: Vec::new(),
            depth: frame.depth,
        };
        let frames = frames.all().iter().zip(context.growths).map(slots).collect();
        let mut named = vec![RegSet::EMPTY; subprogs];
        for block in cfg.blocks() {
            for at in block.insns(program) {
                let Effects { reads, writes, .. } = Effects::of(program.insns[at as usize]);
                let more = context.reads.get(&at).copied().unwrap_or_default();
                let all = &mut named[block.subprog as usize];
                *all = all.union(reads).union(writes).union(more);
            }
        }
        Self { program, cfg, liveness, defined, frames, named, reserved: vec![RegSet::EMPTY; subprogs] }
    }

    /// The registers of `r0` to `r9` that are dead at a place. O(1).
    ///
    /// # Panics
    ///
    /// If the program has no such place.
    #[must_use]
    pub fn dead(&self, place: Place) -> RegSet {
        RegSet::GENERAL.minus(self.here(place).live)
    }

    /// The registers of `r0` to `r9` that hold a value at a place for sure. O(1).
    ///
    /// # Panics
    ///
    /// If the program has no such place.
    #[must_use]
    pub fn holding(&self, place: Place) -> RegSet {
        self.here(place).sure.intersection(RegSet::GENERAL)
    }

    /// Registers for code that is to be inserted at a place: dead ones first.
    ///
    /// Slots in which values are kept are used again by later claims of the subprogram. O(registers).
    ///
    /// # Errors
    ///
    /// [`ScratchError`], if there are too few.
    ///
    /// # Panics
    ///
    /// If the program has no such place.
    pub fn claim(&mut self, place: Place, request: &Request) -> Result<Claim, ScratchError> {
        let fail = |reason| ScratchError { place, reason };
        let Here { live, sure, subprog } = self.here(place);
        let kept = request.clobbers.intersection(live);
        if let Some(reg) = kept.minus(sure).iter().next() {
            return Err(fail(ScratchReason::MayHaveNoValue { reg }));
        }
        let taken = request.avoid.union(request.clobbers).union(self.reserved[subprog]);
        let usable = RegSet::GENERAL.minus(taken);
        let mut dead = usable.minus(live).iter();
        let mut claim = Claim::default();
        claim.registers.extend(dead.by_ref().take(request.registers));
        let missing = request.registers - claim.registers.len();
        let spillable =
            if request.only_dead { RegSet::EMPTY } else { usable.intersection(live).intersection(sure) };
        let spilled: Vec<u8> = spillable.iter().take(missing).collect();
        if spilled.len() < missing {
            let found = claim.registers.len() + spilled.len();
            return Err(fail(ScratchReason::Registers { wanted: request.registers, found }));
        }
        claim.registers.extend(&spilled);
        let mut to_stack = Vec::new();
        for reg in kept.iter() {
            // A dead register outlives calls if it is none that they use.
            match dead.by_ref().find(|&other| !RegSet::CALLER_SAVED.contains(other)) {
                Some(other) => {
                    claim.before.push(Insn::mov64_reg(other, reg));
                    claim.after.push(Insn::mov64_reg(reg, other));
                }
                None => to_stack.push(reg),
            }
        }
        to_stack.extend(spilled);
        let slots = &mut self.frames[subprog];
        while slots.spills.len() < to_stack.len() {
            let slot = slots.add().ok_or_else(|| fail(slots.refusal(to_stack.len())))?;
            slots.spills.push(slot);
        }
        for (&reg, &slot) in to_stack.iter().zip(&slots.spills) {
            claim.before.push(Insn::stx(DW, FRAME_POINTER, reg, slot));
            claim.after.push(Insn::ldx(DW, reg, FRAME_POINTER, slot));
        }
        claim.spilled = to_stack.len();
        Ok(claim)
    }

    /// A register of `r6` to `r9` for inserted code of a subprogram alone, which keeps its value across calls: one
    /// that no instruction of the subprogram names. Later claims do not give it. O(1).
    ///
    /// # Panics
    ///
    /// If there is no such subprogram.
    pub fn reserve_register(&mut self, subprog: u32) -> Option<u8> {
        let reserved = &mut self.reserved[subprog as usize];
        let kept = RegSet::GENERAL.minus(RegSet::CALLER_SAVED);
        let reg = kept.minus(self.named[subprog as usize]).minus(*reserved).iter().next()?;
        *reserved = reserved.union(RegSet::of(reg));
        Some(reg)
    }

    /// A stack slot of 8 bytes for inserted code of a subprogram alone: its offset from the frame pointer, in bytes.
    ///
    /// O(1).
    ///
    /// # Errors
    ///
    /// [`ScratchError`], if there is no room.
    ///
    /// # Panics
    ///
    /// If there is no such subprogram.
    pub fn reserve(&mut self, subprog: u32) -> Result<i16, ScratchError> {
        let slots = &mut self.frames[subprog as usize];
        slots.add().ok_or_else(|| ScratchError { place: Place::Entry(subprog), reason: slots.refusal(1) })
    }

    fn here(&self, place: Place) -> Here {
        let before = |at: u32| {
            let state = self.defined.before(at);
            (self.liveness.before(at).low.intersection(state.most), state.sure, self.subprog_of(at))
        };
        let (live, sure, subprog) = match place {
            Place::Before(at) => before(at),
            Place::Entry(subprog) => {
                before(self.cfg.blocks()[self.cfg.blocks_of(subprog).start as usize].start)
            }
            Place::After(at) => {
                let next = at.saturating_add(if self.program.insns[at as usize].is_wide() { 2 } else { 1 });
                let goes_on = (next as usize) < self.program.insns.len()
                    && self.subprog_of(next) == self.subprog_of(at);
                if goes_on { before(next) } else { (RegSet::EMPTY, RegSet::EMPTY, self.subprog_of(at)) }
            }
            Place::Instead(first, last) => {
                let (_, sure, subprog) = before(first);
                (self.liveness.after(last).low, sure, subprog)
            }
        };
        Here { live, sure, subprog: subprog as usize }
    }

    fn subprog_of(&self, at: u32) -> u32 {
        self.cfg.blocks()[self.cfg.block_at(at) as usize].subprog
    }
}
