//! [`Fault`]: why a program was stopped.

use core::fmt;

use crate::bpf::InsnReason;

/// What stopped a program, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The instruction, in slots.
    pub at: usize,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with an instruction, or with what it was about to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// It is no valid instruction.
    Insn(InsnReason),
    /// It is valid, but this interpreter does not have it: a kernel function, a cast of address spaces.
    Unsupported,
    /// Control would leave the program, to this slot.
    Outside(i64),
    /// It reads a register that nothing was written to.
    Unwritten(u8),
    /// It writes the frame pointer.
    FramePointer,
    /// It accesses memory that there is not.
    Access {
        /// The first byte.
        address: u64,
        /// How many.
        bytes: usize,
    },
    /// It calls a helper that there is not.
    Helper(i32),
    /// It names a map that there is not.
    Map(i32),
    /// It passes to a helper what is no function.
    Function(u64),
    /// It accesses the packet, but `r6` is not the context.
    Context(u64),
    /// More calls within calls than the kernel allows.
    Depth,
    /// The budget of steps is spent.
    Steps,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}: {}", self.at, self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Insn(reason) => reason.fmt(f),
            Self::Unsupported => f.write_str("an instruction that is not interpreted"),
            Self::Outside(to) => write!(f, "control leaves the program, to slot {to}"),
            Self::Unwritten(reg) => write!(f, "r{reg} is read, but was not written"),
            Self::FramePointer => f.write_str("the frame pointer is written"),
            Self::Access { address, bytes } => write!(f, "there are no {bytes} bytes at {address:#x}"),
            Self::Helper(number) => write!(f, "there is no helper {number}"),
            Self::Map(number) => write!(f, "there is no map {number}"),
            Self::Function(address) => write!(f, "there is no function at {address:#x}"),
            Self::Context(value) => write!(f, "r6 is {value:#x}, not the context"),
            Self::Depth => f.write_str("too many calls within calls"),
            Self::Steps => f.write_str("the budget of steps is spent"),
        }
    }
}

impl core::error::Error for Fault {}
