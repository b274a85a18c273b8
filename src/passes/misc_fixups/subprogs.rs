//! [`Subprogs`]: which subprogram an instruction is in, and its stack.

use super::super::Error;
use crate::core::Handle;

/// The subprograms of a list, and the stack of each one.
#[derive(Debug)]
pub struct Subprogs<'a> {
    /// Where each one starts in the program that the list was made from: strictly ascending, the first
    /// one 0.
    pub starts: &'a [u32],
    /// How much stack each one uses, in bytes. A pass adds to it what it takes.
    pub stack: &'a mut [u32],
}

impl Subprogs<'_> {
    pub(super) fn check(&self) -> Result<(), Error> {
        let ascending = self.starts.windows(2).all(|pair| pair[0] < pair[1]);
        if self.starts.first() == Some(&0) && ascending && self.starts.len() == self.stack.len() {
            return Ok(());
        }
        Err(Error::BadSubprogs { starts: self.starts.len(), stacks: self.stack.len() })
    }

    /// The stack of a subprogram with `more` bytes at its end, and the offset of these from the frame
    /// pointer.
    pub(super) fn grown(&self, subprog: usize, more: u32) -> Result<(u32, i16), Error> {
        let used = self.stack[subprog];
        let depth = used.checked_next_multiple_of(8).and_then(|used| used.checked_add(more));
        let slot = depth.and_then(|depth| i16::try_from(-i64::from(depth)).ok());
        depth.zip(slot).ok_or(Error::StackTooDeep { subprog, used, more })
    }
}

/// A walk over a list, in its order.
pub(super) struct Walk<'a> {
    starts: &'a [u32],
    end: Handle,
    /// The subprogram the walk is in.
    pub(super) subprog: usize,
    /// The first live instruction of it.
    pub(super) first: Option<Handle>,
}

impl<'a> Walk<'a> {
    /// `end` is the handle of the end of the program: those above it were inserted.
    pub(super) fn new(starts: &'a [u32], end: Handle) -> Self {
        Self { starts, end, subprog: 0, first: None }
    }

    /// Steps on the next instruction. An inserted one is taken to be in the subprogram of what stands
    /// before it, as the passes of the kernel insert behind the first instruction of a subprogram.
    pub(super) fn step(&mut self, at: Handle) {
        let before = self.subprog;
        if at < self.end {
            while self.starts.get(self.subprog + 1).is_some_and(|&start| start <= at.index()) {
                self.subprog += 1;
            }
        }
        if self.subprog != before {
            self.first = None;
        }
        self.first.get_or_insert(at);
    }
}
