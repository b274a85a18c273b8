//! [`Rules`]: what each instruction makes of what is known.

use super::alu::{arithmetic, immediate};
use super::compare;
use super::{Base, Bits, Fact, Facts, Pointer, State, Value};
use crate::bpf::opcode::{
    ADD, ALU64, ATOMIC, B, CALL_HELPER, CALL_LOCAL, H, LD, LD_NUMBER, LDX, LOAD_ACQ, MEMSX, MOV, ST,
    STORE_REL, STX, SUB, W, XOR,
};
use crate::bpf::{CALLBACK_HELPERS, Cfg, Effects, Endian, Insn, Program, RegSet, is_pinned};

/// What there is to know besides the state.
#[derive(Debug)]
pub(super) struct Rules<'a, T> {
    pub(super) program: &'a Program<T>,
    pub(super) cfg: &'a Cfg,
    pub(super) facts: &'a Facts<'a>,
    pub(super) endian: Option<Endian>,
}

/// What is known of an instruction apart from its operands.
#[derive(Clone, Copy)]
struct Site<'a> {
    insn: Insn,
    at: u32,
    fact: Option<Fact<'a>>,
    /// A loader writes something else here, and nobody said what.
    is_open: bool,
}

impl Site<'_> {
    /// The immediate operand.
    fn immediate(&self) -> Bits {
        match self.fact {
            Some(Fact::Immediate(value)) => immediate(self.insn.with_imm(value)),
            _ if self.is_open => Bits::UNKNOWN,
            _ => immediate(self.insn),
        }
    }

    /// The operands of a conditional jump.
    fn operands(&self, state: &State) -> (Bits, Bits) {
        let src = if self.insn.is_reg() { state.reg(self.insn.src()).bits() } else { self.immediate() };
        (state.reg(self.insn.dst()).bits(), src)
    }

    /// The offset of the memory that it accesses.
    fn offset(&self) -> Option<i64> {
        match self.fact {
            Some(Fact::Offset(offset)) => Some(offset.into()),
            _ if self.is_open => None,
            _ => Some(self.insn.off.into()),
        }
    }

    /// The bytes that it loads or stores.
    fn len(&self) -> i32 {
        match self.insn.size() {
            B => 1,
            H => 2,
            W => 4,
            _ => 8,
        }
    }
}

impl<T> Clone for Rules<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Rules<'_, T> {}

impl<'a, T> Rules<'a, T> {
    fn site(&self, at: u32) -> Site<'a> {
        let fact = self.facts.get(at);
        let is_open = fact.is_none() && is_pinned(self.program, at);
        Site { insn: self.program.insns[at as usize], at, fact, is_open }
    }

    /// The subprogram that the instruction calls, if that is what it does in the end.
    pub(super) fn callee(&self, at: u32) -> Option<u32> {
        let insn = self.program.insns[at as usize];
        if !insn.is_call() || insn.src() != CALL_LOCAL || self.site(at).is_open {
            return None;
        }
        self.cfg.referenced(self.program, at)
    }

    /// What is known after an instruction, of what is known before it. `returned` is what each subprogram returns.
    pub(super) fn step(&self, state: &mut State, at: u32, returned: &[Option<Value>]) {
        let site = self.site(at);
        let effects = Effects::of(site.insn);
        if site.insn.is_call() {
            return self.call(state, &site, returned);
        }
        if !site.insn.is_exit() {
            state.note_written(effects.reads);
        }
        let result = match site.fact {
            Some(Fact::Result(value)) => Value::constant(value),
            _ => self.result(state, &site),
        };
        match site.insn.class() {
            LD if !site.insn.is_wide() => state.clear(RegSet::CALLER_SAVED),
            ST | STX => self.store(state, &site),
            _ => {}
        }
        if site.insn.is_alu() && loses_frame(state, site.insn, effects, result) {
            state.escape();
        }
        let defined = if site.insn.class() == LD { RegSet::of(site.insn.dst()) } else { effects.writes };
        for reg in defined.iter() {
            state.set(reg, result);
        }
        state.note_written(defined);
    }

    /// What the instruction leaves in the register that it writes, if it writes one.
    fn result(&self, state: &State, site: &Site<'_>) -> Value {
        let Site { insn, .. } = *site;
        let zero_extended = Value::Bits(Bits::UNKNOWN.low(8 * site.len().unsigned_abs()));
        match insn.class() {
            LD if insn.is_wide() => self.address(site),
            LDX => self.load(state, site),
            STX if insn.mode() == ATOMIC && insn.imm == LOAD_ACQ => self.load(state, site),
            LD | STX => zero_extended,
            _ if insn.is_alu() => self.arithmetic(state, site),
            _ => Value::UNKNOWN,
        }
    }

    fn address(&self, site: &Site<'_>) -> Value {
        match site.fact {
            Some(Fact::Pointer { object, offset }) => Value::pointer(Base::Object(object), offset),
            _ if site.is_open || site.insn.src() != LD_NUMBER => Value::UNKNOWN,
            _ => {
                let high = self.program.insns[site.at as usize + 1].imm;
                let [low, high] = [site.insn.imm, high].map(|half| u64::from(half.cast_unsigned()));
                Value::constant(high << 32 | low)
            }
        }
    }

    fn arithmetic(&self, state: &State, site: &Site<'_>) -> Value {
        let Site { insn, .. } = *site;
        let dst = state.reg(insn.dst());
        let src = if insn.is_reg() { state.reg(insn.src()) } else { Value::Bits(site.immediate()) };
        if site.is_open && insn.is_reg() {
            return Value::UNKNOWN;
        }
        let signed = |value: Value| value.as_constant().map(u64::cast_signed);
        match (insn.class(), insn.op(), dst, src) {
            (ALU64, MOV, _, Value::Pointer(pointer)) if insn.off == 0 => Value::Pointer(pointer),
            (ALU64, ADD, Value::Pointer(pointer), Value::Bits(_)) => {
                Value::Pointer(pointer.plus(signed(src)))
            }
            (ALU64, ADD, Value::Bits(_), Value::Pointer(pointer)) => {
                Value::Pointer(pointer.plus(signed(dst)))
            }
            (ALU64, SUB, Value::Pointer(pointer), Value::Bits(_)) => {
                Value::Pointer(pointer.plus(signed(src).and_then(i64::checked_neg)))
            }
            _ => Value::Bits(arithmetic(insn, dst.bits(), src.bits(), self.endian)),
        }
    }

    fn load(&self, state: &State, site: &Site<'_>) -> Value {
        let (len, bits) = (site.len(), 8 * site.len().unsigned_abs());
        let value = match (site.fact, state.reg(site.insn.src())) {
            (Some(Fact::Bytes(bytes)), _) => {
                bytes.get(..bits as usize / 8).and_then(|bytes| self.number(bytes))
            }
            (_, Value::Pointer(pointer)) => self.load_from(state, pointer.plus(site.offset()), len),
            _ => None,
        };
        // A field of four bytes in a context may be an address in the kernel, such as the `data` of an `__sk_buff`.
        let is_whole =
            len < 4 || state.reg(site.insn.src()).as_pointer().is_some_and(|at| at.base != Base::Context);
        let unknown = if is_whole { Bits::UNKNOWN.low(bits) } else { Bits::UNKNOWN };
        match value.unwrap_or(Value::Bits(unknown)) {
            Value::Bits(bytes) if site.insn.mode() == MEMSX => Value::Bits(bytes.sign_extend(bits)),
            value => value,
        }
    }

    fn load_from(&self, state: &State, pointer: Pointer, len: i32) -> Option<Value> {
        match (pointer.base, pointer.offset?) {
            (Base::Frame, offset) => Some(state.load(offset, len, self.endian)),
            (Base::Object(object), offset) => {
                let bytes = self.facts.bytes(object, offset.into(), usize::try_from(len).ok()?)?;
                self.number(bytes)
            }
            (Base::Context, _) => None,
        }
    }

    /// The number that bytes of memory are.
    fn number(&self, bytes: &[u8]) -> Option<Value> {
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let value = match (self.endian, bytes) {
            (None, [byte]) => u64::from(*byte),
            (None, _) => return None,
            (Some(Endian::Little), _) => bytes.iter().rev().fold(0, fold),
            (Some(Endian::Big), _) => bytes.iter().fold(0, fold),
        };
        Some(Value::constant(value))
    }

    /// What becomes of the frame when the instruction stores to memory.
    fn store(&self, state: &mut State, site: &Site<'_>) {
        let Site { insn, .. } = *site;
        let is_atomic = insn.class() == STX && insn.mode() == ATOMIC;
        if is_atomic && insn.imm == LOAD_ACQ {
            return;
        }
        let (base, len) = (state.reg(insn.dst()), site.len());
        let mut value =
            if insn.class() == ST { Value::Bits(site.immediate()) } else { state.reg(insn.src()) };
        let is_frame = value.is_frame();
        let place = base.as_pointer().map(|pointer| pointer.plus(site.offset()));
        if is_atomic && insn.imm != STORE_REL {
            // It may take an address out of memory, to where it is not seen.
            let old = place.and_then(Pointer::frame_offset).map(|offset| state.load(offset, 8, None));
            if is_frame || old.is_some_and(Value::is_frame) {
                state.escape();
            }
            value = Value::UNKNOWN;
        }
        let is_seen = match place {
            Some(Pointer { base: Base::Frame, offset: Some(offset) }) => {
                state.store(offset, len, value, self.endian)
            }
            Some(pointer) if pointer.base != Base::Frame => false,
            None if !state.is_escaped() => false,
            _ => {
                state.forget_slots(None);
                false
            }
        };
        if is_frame && !is_seen {
            state.escape();
        }
    }

    /// A helper may use memory from an address that it is passed upwards, any other code all of the frame, and
    /// may keep the address.
    fn call(&self, state: &mut State, site: &Site<'_>, returned: &[Option<Value>]) {
        let Site { insn, .. } = *site;
        let pointers = RegSet::ARGS.iter().filter_map(|reg| state.reg(reg).as_pointer());
        let lowest = pointers
            .filter(|pointer| pointer.base == Base::Frame)
            .map(|pointer| pointer.offset.unwrap_or(i32::MIN))
            .min();
        let is_plain = insn.src() == CALL_HELPER && !site.is_open && !CALLBACK_HELPERS.contains(&insn.imm);
        if state.is_escaped() {
            state.forget_slots(None);
        } else if let Some(lowest) = lowest {
            if is_plain {
                state.forget_slots(Some(lowest));
            } else {
                state.forget_slots(None);
                state.escape();
            }
        }
        let callee = self.callee(site.at);
        let result = callee.and_then(|callee| returned[callee as usize]);
        state.clear(RegSet::CALLER_SAVED);
        state.set(0, result.unwrap_or(Value::UNKNOWN));
        if callee.is_some() {
            state.note_written(RegSet::of(0));
        }
    }

    /// Whether a conditional jump is taken, if that is certain.
    pub(super) fn is_taken(&self, state: &State, at: u32) -> Option<bool> {
        let site = self.site(at);
        if site.is_open {
            return None;
        }
        let (dst, src) = site.operands(state);
        compare::is_taken(site.insn, dst, src)
    }

    /// What is known on one of the ways of a conditional jump, of what is known before it.
    pub(super) fn follow(&self, state: &mut State, at: u32, taken: bool) {
        let site = self.site(at);
        if site.is_open {
            return;
        }
        let (dst, src) = site.operands(state);
        let (new_dst, new_src) = compare::refine(site.insn, taken, dst, src);
        if new_dst != dst {
            state.set(site.insn.dst(), refined(state.reg(site.insn.dst()), new_dst));
        }
        if site.insn.is_reg() && new_src != src {
            state.set(site.insn.src(), refined(state.reg(site.insn.src()), new_src));
        }
    }
}

/// Of a pointer, its kind is worth more than its bits.
fn refined(value: Value, bits: Bits) -> Value {
    if value.as_pointer().is_some() { value } else { Value::Bits(bits) }
}

/// Whether arithmetic takes an address in the frame and leaves something that is not known to be one.
fn loses_frame(state: &State, insn: Insn, effects: Effects, result: Value) -> bool {
    let zeroes = insn.is_reg() && insn.dst() == insn.src() && matches!(insn.op(), SUB | XOR);
    !zeroes && !result.is_frame() && effects.reads.iter().any(|reg| state.reg(reg).is_frame())
}
