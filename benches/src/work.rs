//! [`Work`]: a program and the edits to make, told without reference to how anyone makes them.

use relinear::bpf::Insn;

use crate::tables::Line;

/// The works that are measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Every instruction is replaced by three, as constant blinding does.
    A,
    /// One instruction in ten is replaced, by one to six.
    B,
    /// One in a hundred has one to four prepended.
    C,
    /// 30 % are deleted, in runs.
    D,
    /// Three passes over one list: one in four is replaced by three; half of those patches are
    /// patched again, inside; one in ten of the original instructions is deleted.
    E,
    /// One in four is replaced, prepended to or deleted, in random order.
    F,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F];

    /// The name in reports: one small letter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::C => "c",
            Self::D => "d",
            Self::E => "e",
            Self::F => "f",
        }
    }

    /// A line about it.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::A => "a: all replaced by 3",
            Self::B => "b: 1 in 10 replaced",
            Self::C => "c: 1 in 100 prepended to",
            Self::D => "d: 30 % deleted in runs",
            Self::E => "e: three passes",
            Self::F => "f: 1 in 4 edited, random order",
        }
    }

    /// The shape of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }
}

/// What an edit does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The patch stands where the units did. A branch to them lands on the first of the patch.
    Replace,
    /// The patch runs before the instruction, on every way in.
    Prepend,
    /// The units, whole instructions, are gone. A branch to one lands on the next that is left.
    Delete,
}

/// One edit.
#[derive(Clone, Copy, Debug)]
pub struct Edit {
    /// Where the instruction stands in the array as it is at the start of the pass.
    pub pos: u32,
    /// The name of the instruction for those that have names: see [`Pass::within`].
    pub at: u32,
    /// How many units it has; of a deletion, how many go.
    pub len: u16,
    /// Which of [`Work::patches`].
    pub patch: u8,
    /// What is done with it.
    pub kind: Kind,
}

/// What one pass does.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    /// The edits: at most one to an instruction; ascending if [`Work::ordered`].
    pub edits: Vec<Edit>,
    /// `None`: `at` is a position of the original program. `Some(unit)`: `at` is the number of an
    /// edit of the first pass, and the instruction is at that unit of its patch.
    pub within: Option<u32>,
}

/// The units of an edit. There are few patches and they stay in cache, as do the patches that a pass
/// builds on its stack.
#[derive(Clone, Debug)]
pub struct Patch {
    /// The units. Branches among them lead into the patch or to its end, and no pass edits a patch
    /// that has such branches.
    pub units: Vec<Insn>,
    /// The unit that branches where the replaced instruction did.
    pub keep: Option<u8>,
}

/// A program, and what to do to it.
#[derive(Clone, Debug)]
pub struct Work {
    /// The shape it was made by.
    pub shape: Shape,
    /// The program. An eighth of the instructions are branches.
    pub program: Vec<Insn>,
    /// Line info, or nothing.
    pub lines: Vec<Line>,
    /// Where subprograms start, or nothing.
    pub subprogs: Vec<u32>,
    /// The edits.
    pub passes: Vec<Pass>,
    /// The patches they use.
    pub patches: Vec<Patch>,
    /// Whether the edits of each pass come in the order of the program.
    pub ordered: bool,
}

impl Work {
    /// The patch of an edit.
    #[inline]
    #[must_use]
    pub fn patch(&self, edit: &Edit) -> &Patch {
        &self.patches[usize::from(edit.patch)]
    }

    /// Whether later passes refer to edits of this one.
    #[must_use]
    pub fn is_referred_to(&self, pass: usize) -> bool {
        pass == 0 && self.passes.iter().any(|pass| pass.within.is_some())
    }
}
