//! [`State`]: what is known at one point of a program.

use alloc::vec::Vec;

use super::{Base, Bits, Pointer, Value};
use crate::bpf::opcode::FRAME_POINTER;
use crate::bpf::{Endian, MAX_STACK, RegSet};

const REGS: usize = FRAME_POINTER as usize;
/// The bytes of a stack slot.
const SLOT: i32 = 8;
/// Below the lowest byte of a frame.
const FLOOR: i32 = -(MAX_STACK as i32);

/// What is known before an instruction, on every way to it that control can take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    regs: [Value; REGS],
    written: RegSet,
    /// What is known of aligned eight bytes of the frame, by their offset from the frame pointer; ascending. Of
    /// those that are not here, nothing is known.
    slots: Vec<(i32, Value)>,
    escaped: bool,
}

impl State {
    /// Nothing is known but where the frame is.
    pub(super) const NOTHING: Self =
        Self { regs: [Value::UNKNOWN; REGS], written: RegSet::EMPTY, slots: Vec::new(), escaped: false };

    /// What a register holds. One that has no value holds [`Value::UNKNOWN`].
    ///
    /// O(1).
    #[must_use]
    pub fn reg(&self, reg: u8) -> Value {
        match self.regs.get(usize::from(reg)) {
            Some(value) => *value,
            None if reg == FRAME_POINTER => Value::pointer(Base::Frame, 0),
            None => Value::UNKNOWN,
        }
    }

    /// The registers that have a value for sure: they were written on every way here, or read since, which a
    /// verifier allows only then.
    #[must_use]
    pub const fn written(&self) -> RegSet {
        self.written.union(RegSet::of(FRAME_POINTER))
    }

    /// What eight bytes of the frame hold, read as one number; `offset` is from the frame pointer, and a
    /// multiple of 8, or else nothing is known of them.
    ///
    /// O(log of the slots of which something is known).
    #[must_use]
    pub fn slot(&self, offset: i32) -> Value {
        self.find(offset).map_or(Value::UNKNOWN, |at| self.slots[at].1)
    }

    /// The stack slots of which something is known: their offsets from the frame pointer, ascending, and what.
    pub fn slots(&self) -> impl Iterator<Item = (i32, Value)> + '_ {
        self.slots.iter().copied()
    }

    /// Whether an address in the frame may be where the analysis does not see it. As long as it is not, an unknown
    /// address is none of the frame.
    #[must_use]
    pub const fn is_escaped(&self) -> bool {
        self.escaped
    }

    pub(super) fn set(&mut self, reg: u8, value: Value) {
        if let Some(place) = self.regs.get_mut(usize::from(reg)) {
            *place = value;
        }
    }

    /// These registers have no value.
    pub(super) fn clear(&mut self, regs: RegSet) {
        self.written = self.written.minus(regs);
        for reg in regs.iter() {
            self.set(reg, Value::UNKNOWN);
        }
    }

    pub(super) fn note_written(&mut self, regs: RegSet) {
        self.written = self.written.union(regs);
    }

    pub(super) const fn escape(&mut self) {
        self.escaped = true;
    }

    fn find(&self, offset: i32) -> Option<usize> {
        self.slots.binary_search_by_key(&offset, |slot| slot.0).ok()
    }

    fn set_slot(&mut self, offset: i32, value: Value) {
        match self.slots.binary_search_by_key(&offset, |slot| slot.0) {
            Ok(at) if value == Value::UNKNOWN => _ = self.slots.remove(at),
            Ok(at) => self.slots[at].1 = value,
            Err(at) if value != Value::UNKNOWN && (FLOOR..0).contains(&offset) => {
                self.slots.insert(at, (offset, value));
            }
            Err(_) => {}
        }
    }

    /// Nothing is known of the frame from `offset` on, or of all of it. An address in the frame that was there may
    /// be there still.
    pub(super) fn forget_slots(&mut self, offset: Option<i32>) {
        let from = offset.map_or(i32::MIN, |offset| offset.saturating_sub(SLOT - 1));
        let at = self.slots.partition_point(|slot| slot.0 < from);
        self.escaped |= self.slots.drain(at..).any(|slot| slot.1.is_frame());
    }

    /// What `len` bytes of the frame hold, as a load gives it: with zeroes above.
    pub(super) fn load(&self, offset: i32, len: i32, endian: Option<Endian>) -> Value {
        let Some((slot, shift)) = place(offset, len, endian) else { return Value::UNKNOWN };
        match self.slot(slot) {
            value if len == SLOT => value,
            value => Value::Bits(value.bits().shr(shift).low(len.unsigned_abs() * 8)),
        }
    }

    /// Stores the low `len` bytes of a value to the frame. Whether it is all there, to be loaded again.
    pub(super) fn store(&mut self, offset: i32, len: i32, value: Value, endian: Option<Endian>) -> bool {
        let Some((slot, shift)) = place(offset, len, endian) else {
            // The one or two slots that it touches.
            for slot in [offset, offset + len - 1].map(|at| at.div_euclid(SLOT) * SLOT) {
                self.set_slot(slot, Value::UNKNOWN);
            }
            return false;
        };
        if len == SLOT {
            self.set_slot(slot, value);
            return (FLOOR..0).contains(&slot);
        }
        let ones = Bits::UNKNOWN.low(len.unsigned_abs() * 8).unknown();
        let kept = self.slot(slot).bits().and(Bits::constant(!(ones << shift)));
        let stored = value.bits().and(Bits::constant(ones)).shl(shift);
        self.set_slot(slot, Value::Bits(kept.or(stored)));
        false
    }

    /// Forgets what another way here does not agree on; with `widen`, what it does not agree on at all. Whether
    /// anything was forgotten.
    pub(super) fn join(&mut self, other: &Self, widen: bool) -> bool {
        let mut worse = false;
        let mut lost_frame = false;
        let mut joined = |here: Value, there: Value| {
            let both = here.join(there);
            lost_frame |= (here.is_frame() || there.is_frame()) && !both.is_frame();
            if both == here {
                return here;
            }
            worse = true;
            if widen { both.widened() } else { both }
        };
        for (here, there) in self.regs.iter_mut().zip(other.regs) {
            *here = joined(*here, there);
        }
        for (offset, there) in other.slots() {
            if self.find(offset).is_none() {
                _ = joined(Value::UNKNOWN, there);
            }
        }
        for (offset, here) in &mut self.slots {
            *here = joined(*here, other.slot(*offset));
        }
        self.slots.retain(|slot| slot.1 != Value::UNKNOWN);
        let (written, escaped) = (self.written, self.escaped);
        self.written = self.written.intersection(other.written);
        self.escaped |= other.escaped | lost_frame;
        worse || written != self.written || escaped != self.escaped
    }
}

/// The slot that `len` bytes of the frame lie in, and by how many bits a number of the whole slot is shifted right to
/// have theirs in its lowest ones. `None` if they are in two, or the byte order matters and is not known.
fn place(offset: i32, len: i32, endian: Option<Endian>) -> Option<(i32, u32)> {
    let slot = offset.div_euclid(SLOT) * SLOT;
    let first = offset - slot;
    let shift = match endian {
        _ if first + len > SLOT => return None,
        _ if len == SLOT => 0,
        None => return None,
        Some(Endian::Little) => first,
        Some(Endian::Big) => SLOT - first - len,
    };
    Some((slot, 8 * shift.unsigned_abs()))
}

impl Pointer {
    /// The offset from the frame pointer, if this is an address in the frame for sure.
    #[must_use]
    pub fn frame_offset(self) -> Option<i32> {
        self.offset.filter(|_| self.base == Base::Frame)
    }
}
