//! [`Host`]: what only a verifier, or whoever runs the program, knows of an instruction.

use super::{AluLimit, ArrayLookup, HashLookup, TailCall};
use crate::bpf::{Aux, Insn};
use crate::core::Handle;

/// An instruction that a [`Host`] is asked about.
///
/// A host that keeps its facts in a table looks them up by the handle, as long as no earlier pass replaced
/// the instruction: the handle then names the first of what replaced it. The [user's](Aux::user) part of
/// the facts goes where the kernel's passes leave the instruction, so that a key to a table in it
/// leads there through any number of passes.
#[derive(Clone, Copy, Debug)]
pub struct Site<'s, T> {
    /// The name of the instruction in the list.
    pub handle: Handle,
    /// Its first slot.
    pub insn: Insn,
    /// Its facts.
    pub aux: &'s Aux<T>,
}

/// What only a verifier, or whoever runs the program, knows of an instruction.
///
/// Each method has a default: nothing is known, and the instruction stays. `()` is a host of that kind.
pub trait Host<T> {
    /// What becomes of a call of a helper or of a kernel function.
    fn call(&self, site: &Site<'_, T>) -> Call<'_> {
        let _ = site;
        Call::Keep
    }

    /// The limit of a 64-bit addition or subtraction of registers, if it is one of a pointer that
    /// speculation has to be kept out of.
    fn alu_limit(&self, site: &Site<'_, T>) -> Option<AluLimit> {
        let _ = site;
        None
    }

    /// The user's part of the facts of a call that a pass puts into the program in the place of an instruction, or before
    /// it: of the function for a packet load or a budget, of an element's lookup, of a loop's callback. A later look at the
    /// list knows by it that the immediate is what this host gave, and no number of a helper.
    ///
    /// A call that takes the place of another one keeps the facts of that one, and so does the last instruction of
    /// [`Call::Code`].
    fn inserted_call(&self, insn: Insn) -> T
    where
        T: Default,
    {
        let _ = insn;
        T::default()
    }

    /// The first instruction of the callback of a call of `bpf_loop`, if the callback is always the same
    /// and the flags are 0.
    fn loop_callback(&self, site: &Site<'_, T>) -> Option<Handle> {
        let _ = site;
        None
    }
}

impl<T> Host<T> for () {}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Call<'h> {
    /// It stays as it is.
    Keep,
    /// It stays a call, with this immediate: the distance of the function from where the host counts.
    Immediate(i32),
    /// `bpf_tail_call`.
    TailCall(TailCall),
    /// `bpf_map_lookup_elem` of an array.
    ArrayLookup(ArrayLookup),
    /// `bpf_map_lookup_elem` of an array per processor.
    PerCpuArrayLookup(ArrayLookup),
    /// `bpf_map_lookup_elem` of a hash table.
    HashLookup(HashLookup),
    /// `bpf_jiffies64`: load the 64-bit number at this address.
    Jiffies {
        /// The address.
        address: u64,
    },
    /// `bpf_get_smp_processor_id`: load the 32-bit number of this processor, of which each processor has
    /// its own.
    ProcessorId {
        /// The address of the variable, as an immediate that is sign-extended.
        address: i32,
    },
    /// Any other instructions instead, the branches of which stay among them.
    Code(&'h [Insn]),
}

/// How an index is kept within an array while a processor speculates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IndexMask {
    /// How many elements there are.
    pub max_entries: u32,
    /// One less than a power of two, and no less than the last index.
    pub index_mask: u32,
}

impl IndexMask {
    pub(super) fn entries(self) -> Result<i32, BadFact> {
        immediate("the number of elements", self.max_entries)
    }

    pub(super) fn mask(self) -> i32 {
        self.index_mask.cast_signed()
    }
}

/// Something a host said that no instruction can hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadFact {
    pub(super) what: &'static str,
    pub(super) value: u32,
}

/// A number as an immediate that is sign-extended and has to stay what it is.
pub(super) fn immediate(what: &'static str, value: u32) -> Result<i32, BadFact> {
    i32::try_from(value).map_err(|_| BadFact { what, value })
}
