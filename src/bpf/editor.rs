//! [`Editor`]: a program under edit, out of which every table comes right.

use alloc::vec::Vec;
use core::fmt;

use super::{Aux, Bpf, Cpu, Insn, LineInfo, Program, tables};
use crate::core::{Arena, Error, Handle, Inserted, Linear, List, Map, Patch, TableError};

/// A [`Program`] under edit: its list, and what becomes of its tables.
///
/// | table | what becomes of a record of | the kernel's rule |
/// | --- | --- | --- |
/// | `subprogs` | a subprogram without code that is left: removed. Code before its first instruction belongs to it | `adjust_subprog_starts`, `adjust_subprog_starts_after_remove` |
/// | `func_info` | a removed subprogram: removed | the same |
/// | `line_info` | an edited instruction: on the first of what stands for it. Of deleted code, the last one goes to the next instruction that is left, unless that has one; at the end of the program, or before a subprogram that was added, it is removed | `bpf_adj_linfo`, `bpf_adj_linfo_after_remove` |
/// | `aux` | as the [fact](crate::Fact) of the list | [`passes::kernel::patch`](crate::passes::kernel::patch) does as `adjust_insn_aux_data` |
/// | `pinned`, `pokes` | stay with the instruction; of a deleted one: removed | of pokes, `adjust_poke_descs`, but for what is prepended to the call, which would mislead it |
/// | `insn_array` | lead to what is prepended to the instruction, like a jump; of a deleted one: `None` | `bpf_insn_array_adjust` |
///
/// The kernel only ever removes code that nothing refers to. Where something does:
///
/// - A jump into the middle of deleted code leads to the next instruction that is left, like one to its first.
///   If that belongs to another subprogram, it is an error ([`EditError::LeavesSubprog`]).
/// - A subprogram that loses its head starts with what is left, whatever else was deleted around.
/// - A call or callback whose subprogram is removed has no meaning ([`EditError::DeadSubprog`]), and neither has
///   a program without its first subprogram, where it is entered ([`EditError::EntryDeleted`]). The kernel
///   lets such a callback lead to the following subprogram.
///
/// ```
/// use relinear::bpf::{FuncInfo, Insn, LineInfo, Program};
/// use relinear::{Arena, Handle, Patch};
///
/// # fn main() -> Result<(), relinear::bpf::EditError> {
/// let line = |insn_off, number: u32| LineInfo { insn_off, line_col: number << 10, ..LineInfo::default() };
/// let program = Program {
///     // call +2;  r0 = 0;  exit;  r0 = 7;  exit
///     insns: vec![Insn::call_local(2), Insn::mov64_imm(0, 0), Insn::exit(), Insn::mov64_imm(0, 7), Insn::exit()],
///     subprogs: vec![0, 3],
///     func_info: vec![FuncInfo { insn_off: 0, type_id: 1 }, FuncInfo { insn_off: 3, type_id: 2 }],
///     line_info: vec![line(0, 10), line(2, 12), line(3, 20)],
///     ..Program::<()>::default()
/// };
/// let arena = Arena::new();
/// let mut editor = program.edit(&arena)?;
/// let added = editor.list().append(Handle::new(0), Patch::new(&[Insn::mov64_imm(1, 0)]))?;
/// editor.set_line(added.first(), line(0, 999))?; // instead of line 10, which goes on after it
/// editor.list().delete(Handle::new(2))?;
/// let out = editor.linearize()?;
/// assert_eq!(out.subprogs, [0, 3]);
/// assert_eq!(out.func_info[1].insn_off, 3);
/// assert_eq!(out.line_info, [line(0, 10), line(1, 999), line(2, 10), line(3, 20)]);
/// # Ok(())
/// # }
/// ```
pub struct Editor<'a, T = ()> {
    pub(super) program: &'a Program<T>,
    pub(super) list: List<'a, Bpf, Aux<T>>,
    pub(super) lines: Vec<(Handle, LineInfo)>,
    pub(super) added: Vec<Added>,
    /// Whether this is a program that the kernel enters at its first subprogram, rather than a code section of an object.
    pub(super) whole: bool,
}

/// What an [`Editor`] has made of a program.
#[cfg(feature = "elf")]
pub(crate) struct Edited<T> {
    pub(crate) program: Program<T>,
    pub(crate) map: Map,
    /// How many branches took a longer form.
    pub(crate) lengthened: u32,
    /// Where each subprogram that was added starts; `None` if all of it was deleted since.
    pub(crate) added: Vec<Option<u32>>,
}

/// A subprogram that was added.
#[derive(Clone, Copy)]
pub(super) struct Added {
    pub(super) first: Handle,
    pub(super) type_id: Option<u32>,
}

impl<'a, T: Copy + Default> Editor<'a, T> {
    pub(super) fn new(program: &'a Program<T>, arena: &'a Arena) -> Result<Self, EditError> {
        tables::check(program)?;
        Self::unchecked(program, arena, true)
    }

    /// Begins to edit all the code of one section of an object. Any of its subprograms may be entered from
    /// elsewhere, and may go, the first one included; not all of them need have function information; and a
    /// jump that has always led into another subprogram is nobody's edit.
    #[cfg(feature = "elf")]
    pub(crate) fn of_section(program: &'a Program<T>, arena: &'a Arena) -> Result<Self, EditError> {
        tables::check_section(program)?;
        Self::unchecked(program, arena, false)
    }

    fn unchecked(program: &'a Program<T>, arena: &'a Arena, whole: bool) -> Result<Self, EditError> {
        let list = List::with_aux(arena, &program.insns, &program.aux)?;
        Ok(Self { program, list, lines: Vec::new(), added: Vec::new(), whole })
    }

    /// All that comes of the edits; jumps that do not reach take what `cpu` has for them.
    #[cfg(feature = "elf")]
    pub(crate) fn finish(&mut self, cpu: Cpu) -> Result<Edited<T>, EditError> {
        let mut linear = Linear::default();
        let lengthened = self.list.linearize_relaxed(&cpu, &mut linear)?.lengthened;
        let (program, Moves { map, subprogs }) = tables::adjust(self, linear)?;
        let added = subprogs[self.program.subprogs.len()..].iter();
        let added = added.map(|&number| Some(program.subprogs[number? as usize])).collect();
        Ok(Edited { program, map, lengthened, added })
    }

    /// The program as it was.
    #[must_use]
    pub fn program(&self) -> &'a Program<T> {
        self.program
    }

    /// The list, to edit. Its handles below the length of the program are positions of the program.
    #[must_use]
    pub fn list(&mut self) -> &mut List<'a, Bpf, Aux<T>> {
        &mut self.list
    }

    /// Gives a line to an instruction, most often an inserted one, instead of the line that it would
    /// inherit from what stands before it.
    ///
    /// The line goes on through inserted code that follows and has no line of its own; the next instruction of
    /// the original program goes on with its own line, for which a record is added if need be. Of several
    /// lines for one instruction, the last one counts, and with the instruction deleted, none. The
    /// `insn_off` of the record does not count.
    ///
    /// O(1).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInsn`] if the handle names no live instruction.
    pub fn set_line(&mut self, at: Handle, line: LineInfo) -> Result<(), Error> {
        self.list.insn(at).ok_or(Error::NoSuchInsn(at))?;
        self.lines.push((at, line));
        Ok(())
    }

    /// Adds a subprogram at the end of the program. Its function has the type `type_id` in BTF, or it is one
    /// that the kernel would hide.
    ///
    /// O(slots of the patch), amortized.
    ///
    /// # Errors
    ///
    /// As [`List::prepend`].
    pub fn add_subprog(&mut self, patch: Patch<'_, Insn>, type_id: Option<u32>) -> Result<Inserted, Error> {
        let inserted = self.list.prepend(self.list.end(), patch)?;
        self.added.push(Added { first: inserted.first(), type_id });
        Ok(inserted)
    }

    /// The program with all edits, and all tables as they are then. The program that was edited is free again, so that
    /// the new one may take its place:
    ///
    /// ```
    /// # use relinear::Arena;
    /// # use relinear::bpf::{Insn, Program};
    /// # fn main() -> Result<(), relinear::bpf::EditError> {
    /// let mut program = Program::<()> { insns: vec![Insn::exit()], subprogs: vec![0], ..Program::default() };
    /// let mut arena = Arena::new();
    /// for number in 0..3 {
    ///     let mut editor = program.edit(&arena)?;
    ///     let end = editor.list().iter().last().expect("there is an exit");
    ///     editor.list().prepend(end, &[Insn::mov64_imm(0, number)][..])?;
    ///     program = editor.linearize()?;
    ///     arena.reset();
    /// }
    /// assert_eq!(program.insns.len(), 4);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// O(slots + inserted slots + records).
    ///
    /// # Errors
    ///
    /// [`EditError::Core`] as [`List::linearize`]; [`EditError::EntryDeleted`], [`EditError::DeadSubprog`],
    /// [`EditError::LeavesSubprog`].
    pub fn linearize(self) -> Result<Program<T>, EditError> {
        self.linearize_with_map().map(|(program, _)| program)
    }

    /// As [`linearize`](Editor::linearize), and where everything went, for tables of the caller's own. The edits stay, and
    /// others may follow.
    ///
    /// # Errors
    ///
    /// As [`linearize`](Editor::linearize).
    pub fn linearize_with_map(&self) -> Result<(Program<T>, Moves), EditError> {
        let linear = self.list.linearize()?;
        tables::adjust(self, linear)
    }

    /// As [`linearize_with_map`](Editor::linearize_with_map), for jumps that do not reach, with what `cpu` has for
    /// them: see [`List::linearize_relaxed`].
    ///
    /// # Errors
    ///
    /// As [`linearize`](Editor::linearize).
    pub fn linearize_relaxed(&mut self, cpu: Cpu) -> Result<(Program<T>, Moves), EditError> {
        let mut linear = Linear::default();
        self.list.linearize_relaxed(&cpu, &mut linear)?;
        tables::adjust(self, linear)
    }
}

/// Where the slots and the subprograms of an edited program went.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Moves {
    /// Where each slot went.
    pub map: Map,
    /// The new number of each subprogram, by its old one; those that were added follow, in their order. `None` if it was
    /// deleted.
    pub subprogs: Vec<Option<u32>>,
}

/// One of the tables of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Table {
    /// [`Program::subprogs`].
    Subprogs,
    /// [`Program::line_info`].
    LineInfo,
    /// [`Program::pokes`].
    Pokes,
    /// [`Program::insn_array`].
    InsnArray,
}

/// Why a program was not edited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EditError {
    /// The list refused.
    Core(Error),
    /// A table is not in order.
    Table {
        /// Which one.
        table: Table,
        /// What is wrong with it.
        error: TableError,
    },
    /// The first subprogram does not start with the program.
    NoEntry {
        /// Where it starts.
        start: u32,
    },
    /// A record of function information has no subprogram, or is not at its start.
    FuncInfo {
        /// The index of the record, and of its subprogram.
        record: usize,
        /// Where the record is.
        insn_off: u32,
        /// Where the subprogram starts, if there is one.
        start: Option<u32>,
    },
    /// The instruction refers to a subprogram by its number, and not by a displacement: the program is what the kernel
    /// shows of one that it has loaded.
    ///
    /// A call has then a part of the displacement in `off`, and the number in `imm`; an `ld_imm64` of kind
    /// [`LD_FUNC`](super::opcode::LD_FUNC) has the number in its second slot.
    KernelDump {
        /// The slot of the instruction.
        at: u32,
    },
    /// All of the first subprogram was deleted, where the program is entered.
    EntryDeleted,
    /// A call or callback that is left refers to a subprogram of which all was deleted.
    DeadSubprog {
        /// Its position in the original program, or that of the instruction it was inserted for.
        origin: u32,
        /// The index of the subprogram; those that were added come after all others.
        subprog: usize,
    },
    /// A jump leads into another subprogram.
    LeavesSubprog {
        /// Its position in the original program, or that of the instruction it was inserted for.
        origin: u32,
        /// The new position of the jump.
        from: u32,
        /// The new position it leads to.
        to: i64,
    },
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subprogs => "the table of subprograms",
            Self::LineInfo => "line information",
            Self::Pokes => "the table of poke descriptors",
            Self::InsnArray => "the instruction array",
        })
    }
}

impl fmt::Display for EditError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Core(error) => error.fmt(f),
            Self::Table { table, error } => write!(f, "{table}: {error}"),
            Self::NoEntry { start } => write!(f, "the first subprogram starts at {start}, not at 0"),
            Self::FuncInfo { record, insn_off, start: Some(start) } => {
                write!(f, "function {record} is at {insn_off}, but subprogram {record} starts at {start}")
            }
            Self::FuncInfo { record, insn_off, start: None } => {
                write!(f, "function {record} is at {insn_off}, but there is no subprogram {record}")
            }
            Self::KernelDump { at } => write!(
                f,
                "slot {at} refers to a subprogram by its number, as the kernel shows programs that it has loaded: \
                 put displacements in the place of numbers first"
            ),
            Self::EntryDeleted => {
                f.write_str("all of the first subprogram was deleted, where the program is entered")
            }
            Self::DeadSubprog { origin, subprog } => {
                write!(
                    f,
                    "the instruction at {origin} refers to subprogram {subprog}, of which all was deleted"
                )
            }
            Self::LeavesSubprog { origin, from, to } => {
                write!(f, "the jump at {origin}, now at {from}, leads to {to}, in another subprogram")
            }
        }
    }
}

impl core::error::Error for EditError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Core(error) => Some(error),
            Self::Table { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<Error> for EditError {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}
