//! Side tables: records that name positions of a program, moved to where a [`Map`] says these are now.
//!
//! There are three kinds, each with its own rule: [points](Map::adjust_points), of which each is a record
//! at one position (line information, relocations); [starts](Map::adjust_starts), which divide a program
//! into parts (subprograms); and [ranges](Map::adjust_ranges). All of them work in place, and leave
//! a table as it was if they refuse it. Positions are units.

use alloc::vec::Vec;
use core::fmt;

use super::Map;

/// Where a record of an instruction that is live goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// To the instruction itself, or the first of what replaced it: for what is known of the instruction,
    /// like a relocation.
    Insn,
    /// To where a branch to it lands, on the first of what was prepended: for what is known of the place,
    /// like where an exception handler takes over.
    Label,
    /// To where what stands there begins, with what runs when control falls in from above: for what is known of
    /// the place and of all that was put before it, like its line in the source.
    Start,
}

/// What becomes of a record of an instruction that was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is dropped.
    Drop,
    /// It moves to where a branch to the instruction lands, or all that stands there begins. It is dropped if a record is there that
    /// belongs there, or if there is nothing; of several that move to one place, the last one stays.
    ///
    /// This is the rule of the Linux kernel for line information, in `bpf_adj_linfo_after_remove`.
    Slide,
}

/// Why a table is refused. Records are named by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// A record names a position that the program does not have.
    Outside {
        /// The record.
        record: usize,
        /// The position.
        position: u32,
        /// The greatest position it may name.
        limit: u32,
    },
    /// A record is not above the one before it, in a table that has to ascend.
    Order {
        /// The record.
        record: usize,
    },
    /// A range ends before it begins.
    Inverted {
        /// The record.
        record: usize,
    },
    /// The allocator refused.
    OutOfMemory,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Outside { record, position, limit } => {
                write!(f, "record {record} is at {position}, and the last place for one is {limit}")
            }
            Self::Order { record } => write!(f, "record {record} is not in ascending order"),
            Self::Inverted { record } => write!(f, "record {record} ends before it begins"),
            Self::OutOfMemory => f.write_str("out of memory"),
        }
    }
}

impl core::error::Error for TableError {}

impl Map {
    /// Moves records that are at one instruction each. `position` gives the field that says which.
    ///
    /// With [`Deleted::Slide`] the table has to be in ascending order. It need not be strict: all records
    /// of a live instruction stay. The order of what is kept does not change.
    ///
    /// O(records), or O(records · log prepends) but with [`At::Label`].
    ///
    #[cfg_attr(feature = "bpf", doc = "```")]
    #[cfg_attr(not(feature = "bpf"), doc = "```ignore")]
    /// # use relinear::bpf::{Bpf, Insn};
    /// # use relinear::{Arena, At, Deleted, Handle, List, Patch};
    /// # let program = [Insn::mov64_imm(0, 0); 5];
    /// # let arena = Arena::new();
    /// # let mut list = List::<Bpf>::new(&arena, &program).unwrap();
    /// list.prepend(Handle::new(1), Patch::new(&[Insn::mov64_imm(1, 0)])).unwrap();
    /// list.delete(Handle::new(3)).unwrap();
    /// let out = list.linearize().unwrap();
    ///
    /// let mut lines = vec![(0, "a.c:1"), (1, "a.c:2"), (3, "a.c:7")];
    /// out.map.adjust_points(&mut lines, At::Label, Deleted::Slide, |line| &mut line.0).unwrap();
    /// assert_eq!(lines, [(0, "a.c:1"), (1, "a.c:2"), (4, "a.c:7")]);
    ///
    /// let mut relocations = vec![(1, "map"), (3, "helper")];
    /// out.map.adjust_points(&mut relocations, At::Insn, Deleted::Drop, |reloc| &mut reloc.0).unwrap();
    /// assert_eq!(relocations, [(2, "map")]);
    /// ```
    ///
    /// # Errors
    ///
    /// [`TableError::Outside`] for a record at or past the end of the old program; [`TableError::Order`].
    pub fn adjust_points<T>(
        &self,
        records: &mut Vec<T>,
        at: At,
        deleted: Deleted,
        mut position: impl FnMut(&mut T) -> &mut u32,
    ) -> Result<(), TableError> {
        let mut before = 0;
        for (index, record) in records.iter_mut().enumerate() {
            let old = *position(record);
            self.check_insn(index, old)?;
            if deleted == Deleted::Slide && old < before {
                return Err(TableError::Order { record: index });
            }
            before = old;
        }
        let mut kept = 0;
        // Where the last record that was kept has slid to.
        let mut slid = None;
        for index in 0..records.len() {
            let place = position(&mut records[index]);
            let slides_to = if at == At::Start { self.start_of(*place) } else { self.new_of(*place) };
            let own = match at {
                At::Insn => self.position_of(*place),
                At::Label | At::Start => Some(slides_to).filter(|_| !self.is_deleted(*place)),
            };
            let new = own.unwrap_or(slides_to);
            if own.is_none() && (deleted == Deleted::Drop || new == self.new_len()) {
                continue;
            }
            *place = new;
            if slid == Some(new) {
                kept -= 1;
            }
            slid = own.is_none().then_some(new);
            records.swap(kept, index);
            kept += 1;
        }
        records.truncate(kept);
        Ok(())
    }

    /// Moves the starts of parts of a program, of which each one ends where the next one starts, and the
    /// last one at the end. `position` gives the field with the start.
    ///
    /// All that was prepended to the first instruction of a part belongs to it, on whichever way in, and code
    /// that was added at the end of the program belongs to the last one. A part that starts with the program
    /// goes on doing so. If nothing is left in a part it is removed: the result
    /// says which, by their old indexes, ascending.
    ///
    /// This is the rule of the Linux kernel for subprograms, in `bpf_adj_subprogs` and
    /// `adjust_subprog_starts_after_remove`.
    ///
    /// O(records · log prepends).
    ///
    /// # Errors
    ///
    /// [`TableError::Outside`] for a start at or past the end of the old program; [`TableError::Order`] if
    /// the table does not strictly ascend; [`TableError::OutOfMemory`].
    pub fn adjust_starts<T>(
        &self,
        starts: &mut Vec<T>,
        mut position: impl FnMut(&mut T) -> &mut u32,
    ) -> Result<Vec<usize>, TableError> {
        let mut before = None;
        for (index, start) in starts.iter_mut().enumerate() {
            let old = *position(start);
            self.check_insn(index, old)?;
            if before >= Some(old) {
                return Err(TableError::Order { record: index });
            }
            before = Some(old);
        }
        let new_start = |old| if old == 0 { 0 } else { self.start_of(old) };
        let mut empty = 0;
        for index in 0..starts.len() {
            let start = new_start(*position(&mut starts[index]));
            let end = starts.get_mut(index + 1).map_or(self.new_len(), |next| new_start(*position(next)));
            empty += usize::from(start == end);
        }
        let mut removed = Vec::new();
        removed.try_reserve_exact(empty).map_err(|_| TableError::OutOfMemory)?;
        for start in &mut *starts {
            let start = position(start);
            *start = new_start(*start);
        }
        let mut kept = 0;
        for index in 0..starts.len() {
            let start = *position(&mut starts[index]);
            let end = starts.get_mut(index + 1).map_or(self.new_len(), |next| *position(next));
            if start == end {
                removed.push(index);
            } else {
                starts.swap(kept, index);
                kept += 1;
            }
        }
        starts.truncate(kept);
        Ok(removed)
    }

    /// Moves half-open ranges of positions. `ends` gives the fields with the start, and with the end, which
    /// is one past the last position.
    ///
    /// Both move to where a branch to them lands: what was prepended to the first instruction of a range
    /// belongs to it, and what was prepended to the instruction after it does not, nor does code that was
    /// added at the end of the program. Ranges that are empty then are dropped. The order of the rest does
    /// not change; ranges may overlap, and come in any order.
    ///
    /// O(records).
    ///
    /// # Errors
    ///
    /// [`TableError::Outside`] for a range that goes past the end of the old program;
    /// [`TableError::Inverted`].
    pub fn adjust_ranges<T>(
        &self,
        ranges: &mut Vec<T>,
        mut ends: impl FnMut(&mut T) -> (&mut u32, &mut u32),
    ) -> Result<(), TableError> {
        for (record, range) in ranges.iter_mut().enumerate() {
            let (start, end) = ends(range);
            if *start > *end {
                return Err(TableError::Inverted { record });
            }
            if *end > self.old_len() {
                return Err(TableError::Outside { record, position: *end, limit: self.old_len() });
            }
        }
        ranges.retain_mut(|range| {
            let (start, end) = ends(range);
            // Of an empty map there is no label to ask for.
            if *start == *end {
                return false;
            }
            (*start, *end) = (self.new_of(*start), self.new_of(*end));
            *start < *end
        });
        Ok(())
    }

    fn check_insn(&self, record: usize, position: u32) -> Result<(), TableError> {
        if position < self.old_len() {
            return Ok(());
        }
        Err(TableError::Outside { record, position, limit: self.old_len().saturating_sub(1) })
    }
}
