//! [`Error`]: why an edit or a linearization was refused.

use core::fmt;

use super::Handle;

/// Why an edit or a linearization was refused. Whatever refused it left the list as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The program, with what was inserted, would have more units than handles can name.
    TooLong {
        /// How many units that would be.
        units: usize,
    },
    /// The list has as many patches as it can tell apart.
    TooManyEdits {
        /// How many that is, with those that labels took.
        limit: usize,
    },
    /// The allocator refused.
    OutOfMemory,
    /// The original program holds no instruction at this unit, or one cut short.
    BadInsn {
        /// The unit.
        at: u32,
    },
    /// The patch is empty.
    EmptyPatch,
    /// The patch holds no instruction at this unit, or one cut short.
    BadPatchInsn {
        /// The unit of the patch.
        unit: u32,
    },
    /// A branch of the patch leads to no instruction of the patch, nor to its end, and was given no
    /// [`Target`](super::Target).
    LeavesPatch {
        /// The unit of the patch that holds the branch.
        unit: u32,
        /// The displacement field.
        field: u32,
    },
    /// A target was given for a unit and field of the patch that is no branch, twice for one, or out of order.
    BadTarget {
        /// The unit of the patch it was given for.
        unit: u32,
        /// The displacement field it was given for.
        field: u32,
    },
    /// The handle names no instruction of this list.
    NoSuchInsn(Handle),
    /// The instruction was deleted before.
    Deleted(Handle),
    /// A branch leads out of the program.
    BranchOutside {
        /// The branch: its position in the original program, or that of the instruction it was inserted for.
        origin: u32,
        /// The position in the original program that it leads to.
        target: i64,
    },
    /// A branch leads into the middle of an instruction.
    BranchIntoInsn {
        /// The branch: its position in the original program, or that of the instruction it was inserted for.
        origin: u32,
        /// The position in the original program that it leads to.
        target: i64,
    },
    /// A branch leads to deleted code, and no live instruction follows for it to land on.
    DeletedTail {
        /// The branch: its position in the original program, or that of the instruction it was inserted for.
        origin: u32,
        /// What it leads to.
        target: Handle,
    },
    /// A branch leads to the end of the program, or an inserted one to the end of its patch, and no instruction is there.
    PastEnd {
        /// The branch: its position in the original program, or that of the instruction it was inserted for.
        origin: u32,
    },
    /// A displacement does not fit the field that holds it.
    OutOfRange {
        /// The branch: its position in the original program, or that of the instruction it was inserted for.
        origin: u32,
        /// The new position of the branch.
        from: u32,
        /// The new position of its target.
        to: u32,
        /// The displacement from one to the other.
        displacement: i64,
        /// The least displacement the field holds.
        min: i64,
        /// The greatest displacement the field holds.
        max: i64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::TooLong { units } => {
                write!(
                    f,
                    "{units} units are more than the limit of the arena, or the {} that handles can name",
                    Handle::MAX
                )
            }
            Self::TooManyEdits { limit } => write!(f, "a list takes no more than {limit} patches"),
            Self::OutOfMemory => f.write_str("out of memory"),
            Self::BadInsn { at } => write!(f, "no whole instruction at unit {at}"),
            Self::EmptyPatch => f.write_str("the patch is empty"),
            Self::BadPatchInsn { unit } => write!(f, "no whole instruction at unit {unit} of the patch"),
            Self::LeavesPatch { unit, field } => {
                write!(f, "field {field} of the branch at unit {unit} of the patch leads out of the patch")
            }
            Self::BadTarget { unit, field } => write!(
                f,
                "the target given for field {field} of unit {unit} of the patch is out of order, or there is no such branch"
            ),
            Self::NoSuchInsn(handle) => write!(f, "{handle} names no instruction of this list"),
            Self::Deleted(handle) => write!(f, "{handle} was deleted before"),
            Self::BranchOutside { origin, target } => {
                write!(f, "the branch at {origin} leads to {target}, out of the program")
            }
            Self::BranchIntoInsn { origin, target } => {
                write!(f, "the branch at {origin} leads to {target}, into the middle of an instruction")
            }
            Self::DeletedTail { origin, target } => {
                write!(
                    f,
                    "the branch at {origin} leads to {target}, which is deleted with all that follows it"
                )
            }
            Self::PastEnd { origin } => {
                write!(f, "the branch at {origin} leads to the end of the program, where no instruction is")
            }
            Self::OutOfRange { origin, from, to, displacement, min, max } => write!(
                f,
                "the branch at {origin}, now at {from}, leads to {to}: displacement {displacement} is not in {min}..={max}"
            ),
        }
    }
}

impl core::error::Error for Error {}
