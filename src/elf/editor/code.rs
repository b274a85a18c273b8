//! [`CodeEditor`]: the code of one section under edit, with what its instructions refer to.

use alloc::collections::BTreeMap;

use super::Reference;
use crate::bpf::{self, Aux, Bpf, EditError, Insn, LineInfo, Program};
use crate::core::{Arena, Error, Handle, Inserted, List, Patch};

/// The code of one section of an object under edit.
///
/// It is a [`bpf::Editor`] over the code of the section, and the references of its instructions: relocations and
/// CO-RE records. The references of original instructions stay with them. An instruction that was inserted has
/// those that [`refer`](CodeEditor::refer) gives it.
pub struct CodeEditor<'o> {
    pub(super) editor: bpf::Editor<'o>,
    /// What instructions were given, by the index of their handle.
    pub(super) references: BTreeMap<u32, Given>,
}

/// The reference that an instruction was given.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Reference(Reference),
    /// That of the original instruction at this slot.
    Original(u32),
}

impl<'o> CodeEditor<'o> {
    pub(super) fn new(program: &'o Program, arena: &'o Arena) -> Result<Self, EditError> {
        Ok(Self { editor: bpf::Editor::of_section(program, arena)?, references: BTreeMap::new() })
    }

    /// The code of the section as it was.
    #[must_use]
    pub fn program(&self) -> &'o Program {
        self.editor.program()
    }

    /// The list, to edit. Its handles below the length of the program are slots of the section.
    #[must_use]
    pub fn list(&mut self) -> &mut List<'o, Bpf, Aux> {
        self.editor.list()
    }

    /// Says what the instruction at `at` refers to, instead of what it referred to before.
    ///
    /// The instruction is an `ld_imm64` (of kind 0) for an address, a call (not one by displacement) for a call, one
    /// with an offset or an immediate for a CO-RE record. The fields that a loader fills in need not be set. If the
    /// instruction is deleted later, the reference goes with it. O(log references that were given).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInsn`] if the handle names no live instruction.
    pub fn refer(&mut self, at: Handle, reference: Reference) -> Result<(), Error> {
        self.give(at, Given::Reference(reference))
    }

    /// Says that the instruction at `at` is a copy of the one at `from`, and refers to what that refers to now, if it refers
    /// to anything. `from` may have been deleted or replaced.
    ///
    /// O(log references that were given).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInsn`] if `at` names no live instruction.
    pub fn copy_reference(&mut self, at: Handle, from: Handle) -> Result<(), Error> {
        let slots = self.list().original_len();
        let given = match self.references.get(&from.index()) {
            Some(given) => given.clone(),
            None if from.index() < slots => Given::Original(from.index()),
            None => return Ok(()),
        };
        self.give(at, given)
    }

    fn give(&mut self, at: Handle, given: Given) -> Result<(), Error> {
        self.list().insn(at).ok_or(Error::NoSuchInsn(at))?;
        self.references.insert(at.index(), given);
        Ok(())
    }

    /// Gives a line to an instruction: see [`bpf::Editor::set_line`].
    ///
    /// # Errors
    ///
    /// As [`bpf::Editor::set_line`].
    pub fn set_line(&mut self, at: Handle, line: LineInfo) -> Result<(), Error> {
        self.editor.set_line(at, line)
    }

    pub(super) fn add_subprog(
        &mut self,
        patch: Patch<'_, Insn>,
        type_id: Option<u32>,
    ) -> Result<Inserted, Error> {
        self.editor.add_subprog(patch, type_id)
    }
}
