//! [`Facts`]: what others know of instructions and of read-only memory.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use crate::core::Map;

/// What is known of instructions of a program and of memory that never changes, besides what the program says.
///
/// A loader knows what it will write into an instruction, and the bytes of a section that it makes read-only; nobody
/// can tell that from the program alone. The caller answers for all of it.
///
/// ```
/// use relinear::bpf::values::{Fact, Facts, Values};
/// use relinear::bpf::{Cfg, Program, asm};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let program = asm::parse("r1 = map[fd:0x1][4] ll\nr0 = *(u16 *)(r1 + 2)\nexit")?;
/// let mut facts = Facts::default();
/// let object = facts.add_object(&[0, 0, 0, 0, 0, 0, 0x34, 0x12], Some(0..8));
/// facts.set(0, Fact::Pointer { object, offset: 4 });
/// let cfg = Cfg::new(&program)?;
/// let options = relinear::bpf::values::Options { endian: Some(relinear::bpf::Endian::Little), ..Default::default() };
/// let values = Values::new(&program, &cfg, &facts, &options)?;
/// assert_eq!(values.before(3).map(|state| state.reg(0).as_constant()), Some(Some(0x1234)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Facts<'a> {
    insns: BTreeMap<u32, Fact<'a>>,
    objects: Vec<Object<'a>>,
}

/// What is known of an instruction. It holds although the instruction is [pinned](crate::bpf::Program::pinned).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact<'a> {
    /// It leaves this number in its destination register.
    Result(u64),
    /// Its immediate operand is this one.
    Immediate(i32),
    /// The offset of the memory that it loads or stores is this one, in bytes.
    Offset(i16),
    /// It is an `ld_imm64` of an address in an object.
    Pointer {
        /// What [`add_object`](Facts::add_object) returned.
        object: u32,
        /// Bytes from the start of the object.
        offset: i32,
    },
    /// It loads from memory that begins with these bytes and never changes.
    Bytes(&'a [u8]),
}

/// Memory that never changes, of which some bytes are known.
#[derive(Clone, Debug)]
struct Object<'a> {
    bytes: &'a [u8],
    /// Ascending, and apart from each other.
    known: Vec<Range<usize>>,
}

impl<'a> Facts<'a> {
    /// Says what is known of the instruction at a slot, instead of what was said before.
    ///
    /// O(log of the facts).
    pub fn set(&mut self, slot: u32, fact: Fact<'a>) {
        self.insns.insert(slot, fact);
    }

    /// What is known of the instruction at a slot.
    ///
    /// O(log of the facts).
    #[must_use]
    pub fn get(&self, slot: u32) -> Option<Fact<'a>> {
        self.insns.get(&slot).copied()
    }

    /// What is known of the program that a list was linearized to, if this is known of the one that it was made from:
    /// facts of instructions that are left, where they stand now.
    ///
    /// O(facts · log of the facts).
    #[must_use]
    pub fn moved(&self, map: &Map) -> Self {
        let moved = self.iter().filter_map(|(slot, fact)| Some((map.position_of(slot)?, fact)));
        Self { insns: moved.collect(), objects: self.objects.clone() }
    }

    /// All that is known of instructions, by slot.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Fact<'a>)> {
        self.insns.iter().map(|(&slot, &fact)| (slot, fact))
    }

    /// Adds an object, of whose bytes those in the ranges `known` never change. Returns the number that stands
    /// for it.
    ///
    /// O(ranges · log of the ranges).
    ///
    /// # Panics
    ///
    /// If there are 2^32 objects already.
    pub fn add_object(&mut self, bytes: &'a [u8], known: impl IntoIterator<Item = Range<usize>>) -> u32 {
        let mut ranges: Vec<Range<usize>> = known.into_iter().filter(|range| !range.is_empty()).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let touches = next.start <= last.end;
            if touches {
                last.end = last.end.max(next.end);
            }
            touches
        });
        let object = u32::try_from(self.objects.len()).expect("there are too many objects");
        self.objects.push(Object { bytes, known: ranges });
        object
    }

    /// The known bytes of an object from `offset` on, if there are as many as `len`.
    ///
    /// O(log of the ranges).
    #[must_use]
    pub fn bytes(&self, object: u32, offset: i64, len: usize) -> Option<&'a [u8]> {
        let object = self.objects.get(object as usize)?;
        let start = usize::try_from(offset).ok()?;
        let end = start.checked_add(len)?;
        let range = object.known.partition_point(|range| range.end < end);
        let is_known = object.known.get(range).is_some_and(|range| range.start <= start);
        object.bytes.get(start..end).filter(|_| is_known)
    }
}
