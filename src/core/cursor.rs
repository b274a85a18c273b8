//! [`CursorMut`]: editing in the order of the program, in the manner of
//! `std::collections::linked_list::CursorMut`.

use super::walk::Walk;
use super::{Error, Handle, Inserted, Isa, List, Patch};

/// A cursor over a list that edits it.
///
/// It stands on a live instruction, or past the last one. It moves forwards only; to go anywhere
/// else, [`goto`](CursorMut::goto) a handle.
pub struct CursorMut<'l, 'a, I: Isa, A = ()> {
    list: &'l mut List<'a, I, A>,
    current: Option<Handle>,
    /// Handles from here up were inserted since the cursor came to where it stands.
    fresh: usize,
    /// What came behind the current instruction when the cursor came there, or `None` if that is not known any more.
    held: Option<Walk>,
    /// Whether something was done to the current instruction since.
    edited: bool,
}

impl<'a, I: Isa, A: Copy + Default> List<'a, I, A> {
    /// A cursor on the first live instruction.
    pub fn cursor_mut(&mut self) -> CursorMut<'_, 'a, I, A> {
        let mut walk = self.columns.walk();
        let current = self.columns.advance(&mut walk);
        let fresh = self.columns.fresh();
        CursorMut { list: self, current, fresh, held: Some(walk), edited: false }
    }
}

impl<'a, I: Isa, A: Copy + Default> CursorMut<'_, 'a, I, A> {
    /// The instruction the cursor stands on, or `None` past the last one.
    #[must_use]
    pub fn current(&self) -> Option<Handle> {
        self.current
    }

    /// The units of that instruction.
    #[must_use]
    pub fn insn(&self) -> Option<&[I::Unit]> {
        self.list.insn(self.current?)
    }

    /// The list.
    #[must_use]
    pub fn list(&self) -> &List<'a, I, A> {
        self.list
    }

    /// The list, to edit anywhere.
    ///
    /// The cursor may lose its place, and then seeks it with the next step, in O(1).
    #[must_use]
    pub fn list_mut(&mut self) -> &mut List<'a, I, A> {
        self.held = None;
        self.list
    }

    /// Goes to an instruction, or to the next live one if it was deleted.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchInsn`] if the handle is none of this list.
    pub fn goto(&mut self, handle: Handle) -> Result<(), Error> {
        if !self.list.columns.is_insn(handle) {
            return Err(Error::NoSuchInsn(handle));
        }
        let mut walk = self.list.columns.walk_behind(handle.at());
        let live = self.list.is_live(handle);
        let current = if live { Some(handle) } else { self.list.columns.advance(&mut walk) };
        self.arrive(current, walk);
        Ok(())
    }

    /// Moves to the next live instruction, which may be one that this cursor just inserted.
    ///
    /// O(1).
    #[inline]
    pub fn move_next(&mut self) {
        let Some(current) = self.current else { return };
        let columns = &self.list.columns;
        let mut walk = match self.held {
            Some(walk) if !self.edited => walk,
            _ => columns.walk_behind(current.at()),
        };
        let next = columns.advance(&mut walk);
        self.arrive(next, walk);
    }

    /// Moves to the next live instruction, stepping over what was inserted since the cursor came
    /// to where it stands.
    ///
    /// O(1) if only this cursor edits; else O(1) for each instruction stepped over.
    #[inline]
    pub fn move_past(&mut self) {
        let Some(current) = self.current else { return };
        let columns = &self.list.columns;
        let mut walk = match self.held {
            Some(walk) => walk,
            None => columns.walk_behind(current.at()),
        };
        let mut next = columns.advance(&mut walk);
        while next.is_some_and(|handle| handle.at() >= self.fresh) {
            next = columns.advance(&mut walk);
        }
        self.arrive(next, walk);
    }

    #[inline]
    fn arrive(&mut self, current: Option<Handle>, walk: Walk) {
        self.current = current;
        self.fresh = self.list.columns.fresh();
        self.held = Some(walk);
        self.edited = false;
    }

    /// Inserts before the current instruction, on every way in: see [`List::prepend`]. Past the
    /// last one, it inserts at the end of the program.
    ///
    /// # Errors
    ///
    /// As [`List::prepend`].
    pub fn insert_before<'p>(&mut self, patch: impl Into<Patch<'p, I::Unit>>) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.edited = true;
        self.list.prepend(self.current.unwrap_or(self.list.end()), patch)
    }

    /// Inserts before the current instruction for control that falls in from above: see
    /// [`List::prepend_fallthrough`]. Past the last one, it inserts at the end of the program.
    ///
    /// # Errors
    ///
    /// As [`List::prepend_fallthrough`].
    pub fn insert_before_fallthrough<'p>(
        &mut self,
        patch: impl Into<Patch<'p, I::Unit>>,
    ) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.edited = true;
        self.list.prepend_fallthrough(self.current.unwrap_or(self.list.end()), patch)
    }

    /// Inserts after the current instruction: see [`List::append`].
    ///
    /// # Errors
    ///
    /// As [`List::append`]; [`Error::NoSuchInsn`] past the last one.
    pub fn insert_after<'p>(&mut self, patch: impl Into<Patch<'p, I::Unit>>) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.edited = true;
        self.list.append(self.current.unwrap_or(self.list.end()), patch)
    }

    /// Replaces the current instruction, and stays on the first of the replacement: see
    /// [`List::replace`].
    ///
    /// # Errors
    ///
    /// As [`List::replace`]; [`Error::NoSuchInsn`] past the last one.
    pub fn replace_current<'p>(&mut self, patch: impl Into<Patch<'p, I::Unit>>) -> Result<Inserted, Error>
    where
        I::Unit: 'p,
    {
        self.edited = true;
        self.list.replace(self.current.unwrap_or(self.list.end()), patch)
    }

    /// Deletes the current instruction and moves to the next live one.
    ///
    /// # Errors
    ///
    /// As [`List::delete`]; [`Error::NoSuchInsn`] past the last one.
    pub fn remove_current(&mut self) -> Result<(), Error> {
        self.list.delete(self.current.unwrap_or(self.list.end()))?;
        self.move_next();
        Ok(())
    }
}
