//! [`Values`]: what registers and stack slots hold, at each point of a program.
//!
//! A forward analysis of a whole program, by conditional constant propagation (Wegman and Zadeck, "Constant
//! propagation with conditional branches", 1991): control is followed from the roots along the ways that branches
//! can take with what is known of their operands, and only what arrives along those ways counts.
//!
//! # Lattice
//!
//! A [`State`] is a product of
//!
//! - for each register and each aligned eight bytes of the frame, a [`Value`]: either the [`Bits`] of a number (each
//!   bit 0, 1 or unknown; with all unknown it may be an address as well), or a [`Pointer`] of a known kind, with
//!   or without its offset;
//! - the set of registers that surely have a value;
//! - whether an address in the frame may have [escaped](State::is_escaped).
//!
//! Where ways meet, bits stay known on which they agree, pointers keep their kind if it is the same and their offset
//! if it is, the sets are intersected, and an address in the frame that is lost for the analysis has escaped.
//!
//! # Transfer
//!
//! - Arithmetic of 32 and 64 bits as RFC 9669 has it: division by zero gives zero, a remainder by zero leaves the
//!   dividend, shifts count modulo the width. On constants it is exact, on bits it takes the rules that
//!   [`Bits`] states.
//! - A jump goes one way if the ranges of its operands, or a bit in which they differ, decide it. Behind `==`, both
//!   operands have what is known of either; behind `&` of a constant that was not taken, its bits are 0.
//! - Loads and stores of the frame with a known offset go to its slots. A store through an address that is not known
//!   forgets the frame only if an address in it has escaped, or the store is into the frame for sure. A helper uses
//!   memory from an address that it is passed upwards; other subprograms, kernel functions, and helpers with
//!   callbacks get at all of the frame.
//! - Loads from objects of the [`Facts`] give their bytes. Loads of one and two bytes leave zeroes above; those of four
//!   do so only if they are not from a context, where such a field may be a whole address (`data` of an `__sk_buff`).
//! - A subprogram that is no root and whose address is not taken is entered with what all its calls that control
//!   reaches agree on, and a call gives what all its exits agree on. Code after a call is reached once the callee
//!   returns; if none of its exits is reached, nothing is known of what it returns. Of roots, nothing is known.
//! - A `gotox` leads to all [indirect targets](Cfg::indirect_targets) of its subprogram, with what all that control
//!   reaches agree on.
//! - A pinned instruction without a fact leaves something unknown.
//!
//! # Guarantees
//!
//! What is known is true in every run of the program, if the facts are, if it starts at a root, and if it accesses
//! memory as the verifier of the kernel allows: it makes no address out of numbers and stays within its frame. It
//! is not the strongest truth: ways that exclude each other are taken together, and a comparison for less or
//! greater says nothing of its operands afterwards.
//!
//! # Cost and termination
//!
//! O(slots) for most programs, where a block is walked once or twice. What is known at the entry of a block only ever
//! gets worse: by as little as needed eight times, and after that each of its places (10 registers, at most 64 slots,
//! two sets) is given up in at most two steps, so that no block is walked more than 190 times, and the search ends.
//! The same holds for what a subprogram returns. The memory is a state for each block that control reaches.

mod alu;
mod bits;
mod compare;
mod exact;
mod facts;
mod search;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod value;
mod walk;

use alloc::vec::Vec;
use core::fmt;

pub use self::bits::Bits;
pub use self::facts::{Fact, Facts};
use self::search::{Found, Search};
pub use self::state::State;
use self::step::Rules;
pub use self::value::{Base, Pointer, Value};
pub use self::walk::Walk;
use super::{Cfg, Endian, Program};

/// What [`Values::new`] is to take for granted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'o> {
    /// The indexes of the subprograms that may be entered from outside of the program, called or replaced: nothing is
    /// known of their arguments, nor of what they return. `None`: all of them are.
    pub roots: Option<&'o [u32]>,
    /// Roots that are entered with the address of the context in `r1`.
    pub programs: &'o [u32],
    /// The byte order of the machine. Without it, nothing is known of parts of a stack slot or of numbers of several
    /// bytes in an object.
    pub endian: Option<Endian>,
    /// Whether every conditional jump is taken to go both ways, as one may that is left in the program for a verifier
    /// that knows less.
    pub every_way: bool,
}

/// A root that is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RootError {
    /// What was given as a root; `None` if nothing was.
    pub root: Option<u32>,
    /// How many subprograms there are.
    pub subprogs: u32,
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { root, subprogs } = self;
        match root {
            Some(root) => write!(f, "root {root} is none of the {subprogs} subprograms"),
            None => write!(f, "none of the {subprogs} subprograms is a root"),
        }
    }
}

impl core::error::Error for RootError {}

/// Where control can go from a block.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Ways {
    /// Into the block at all.
    pub reached: bool,
    /// From it by its jump.
    pub taken: bool,
    /// From it to the next block.
    pub falls: bool,
}

/// What registers and stack slots hold at each point of a program. See the [module](self).
#[derive(Debug)]
pub struct Values<'a, T = ()> {
    rules: Rules<'a, T>,
    /// What is known at the entry of each block that control reaches.
    entries: Vec<Option<State>>,
    ways: Vec<Ways>,
    returned: Vec<Option<Value>>,
}

impl<'a, T> Values<'a, T> {
    /// Analyses a program, whose graph is `cfg`.
    ///
    /// # Errors
    ///
    /// If a root is no subprogram, or there is none.
    pub fn new(
        program: &'a Program<T>,
        cfg: &'a Cfg,
        facts: &'a Facts<'a>,
        options: &Options<'_>,
    ) -> Result<Self, RootError> {
        let subprogs = cfg.subprogs();
        let roots = options.roots.unwrap_or_default().iter().chain(options.programs);
        let unknown = roots.copied().find(|&root| root >= subprogs);
        let is_empty = options.roots.is_some_and(<[u32]>::is_empty) && options.programs.is_empty();
        if is_empty || unknown.is_some() {
            return Err(RootError { root: unknown, subprogs });
        }
        let rules = Rules { program, cfg, facts, endian: options.endian };
        let Found { entries, ways, returned } = Search::new(rules, options).run(options.programs);
        Ok(Self { rules, entries, ways, returned })
    }

    /// Where control can go from a block.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If there is no such block.
    #[must_use]
    pub fn ways(&self, block: u32) -> Ways {
        self.ways[block as usize]
    }

    /// Whether control comes into a subprogram: it is a root, or code that control reaches calls it or takes its
    /// address.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If there is no such subprogram.
    #[must_use]
    pub fn is_entered(&self, subprog: u32) -> bool {
        self.ways(self.rules.cfg.blocks_of(subprog).start).reached
    }

    /// What a subprogram returns. `None` if no call of it was seen to return.
    ///
    /// O(1).
    ///
    /// # Panics
    ///
    /// If there is no such subprogram.
    #[must_use]
    pub fn returned(&self, subprog: u32) -> Option<Value> {
        self.returned[subprog as usize]
    }

    /// What is known before each instruction of a block, one after the other; `None` if control does not reach it.
    ///
    /// O(instructions of the block) for all of them.
    ///
    /// # Panics
    ///
    /// If there is no such block.
    #[must_use]
    pub fn walk(&self, block: u32) -> Option<Walk<'_, T>> {
        let state = self.entries[block as usize].clone()?;
        Some(Walk::new(&self.rules, &self.returned, self.rules.cfg.blocks()[block as usize], state))
    }

    /// What is known before the instruction at a slot; `None` if control does not reach it.
    ///
    /// O(instructions of the block before it): use [`walk`](Values::walk) for all of them.
    ///
    /// # Panics
    ///
    /// If the program has no such slot.
    #[must_use]
    pub fn before(&self, slot: u32) -> Option<State> {
        let mut walk = self.walk(self.rules.cfg.block_at(slot))?;
        while walk.slot().is_some_and(|at| at < slot) {
            walk.step();
        }
        walk.slot().map(|_| walk.into_state())
    }
}
