//! [`Signature`] and [`Arguments`]: which registers calls and callers fill.

use super::{Insn, RegSet, helper};
use crate::bpf::opcode::CALL_HELPER;

/// How many arguments something that is called takes, and whether it gives a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature {
    /// The most arguments it takes, at most 5: registers above are no concern of the call.
    pub takes: u8,
    /// The least: a verifier refuses the call if one of these registers holds nothing.
    pub needs: u8,
    /// Whether `r0` holds a value for sure after the call.
    pub returns: bool,
}

impl Signature {
    /// All that is known of a call if nothing is known of what it calls.
    pub const UNKNOWN: Self = Self { takes: 5, needs: 0, returns: false };

    /// The signature of what a call in a program for Linux calls, as far as its encoding tells.
    ///
    /// O(1).
    #[must_use]
    pub fn of_call(call: Insn) -> Self {
        let helper = (call.src() == CALL_HELPER).then_some(call.imm);
        helper.and_then(helper::signature).unwrap_or(Self::UNKNOWN)
    }
}

/// What the argument registers of a subprogram hold when it is entered from outside of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arguments {
    /// How many of `r1` to `r5` hold a value for sure.
    pub sure: u8,
    /// How many may hold one.
    pub most: u8,
}

impl Arguments {
    /// Of a subprogram that the kernel runs: the context in `r1`.
    pub const CONTEXT: Self = Self { sure: 1, most: 1 };
    /// Of a subprogram of whose callers nothing is known.
    pub const UNKNOWN: Self = Self { sure: 0, most: 5 };
}

/// The registers of the first `count` arguments.
pub(super) fn arguments(count: u8) -> RegSet {
    (1..=count.min(5)).fold(RegSet::EMPTY, |set, reg| set.union(RegSet::of(reg)))
}
