//! Jump tables: data that is made of positions in code, without a relocation that says so.
//!
//! clang puts them into a section `.jumptables`, as 8-byte offsets from the start of the code section
//! that jumps through them; that section loads the address of the table, whose symbol gives its place
//! and its length. libbpf makes maps of them (`create_jt_map`).

use alloc::vec::Vec;
use core::ops::Range;

use super::code::R_BPF_64_64;
use super::error::ElfError;
use super::object::Object;

const SECTION: &[u8] = b".jumptables";

/// The entries of the tables of one code section.
pub(crate) struct JumpTable {
    /// Which of [`Object::code`].
    pub(crate) code: usize,
    /// The section that the table is in.
    pub(crate) section: usize,
    /// The entries, in bytes of that section; a whole number of them.
    pub(crate) range: Range<usize>,
}

impl JumpTable {
    /// The length of an entry in bytes.
    pub(crate) const ENTRY: usize = 8;

    /// Where in the section the entries are, in bytes.
    pub(crate) fn entries(&self) -> impl Iterator<Item = usize> {
        self.range.clone().step_by(Self::ENTRY)
    }
}

impl Object<'_> {
    /// The jump tables, none of which overlap.
    ///
    /// O(symbols + relocations), and a sort of the tables.
    ///
    /// # Errors
    ///
    /// If it cannot be said of which code section the entries are.
    pub(crate) fn jump_tables(&self) -> Result<Vec<JumpTable>, ElfError> {
        let Some(section) = self.image.sections.iter().position(|section| *section.name == *SECTION) else {
            return Ok(Vec::new());
        };
        let fail = |offset, reason| ElfError::section(SECTION, offset, reason);
        // Entries with relocations of their own move with those.
        if self.image.relocs().any(|(_, of, relocs)| of == section && !relocs.is_empty()) {
            return Ok(Vec::new());
        }
        let len = self.image.sections[section].data().map_or(0, <[u8]>::len) as u64;
        let mut tables = Vec::new();
        for (code, found) in self.code.iter().enumerate() {
            for relocation in found.relocations.iter().filter(|relocation| relocation.kind == R_BPF_64_64) {
                let symbol = &self.image.symbols[relocation.symbol];
                if symbol.section != Some(section) {
                    continue;
                }
                let (start, size) = (symbol.value, symbol.size);
                let end = start.checked_add(size).filter(|&end| end <= len && size > 0 && size % 8 == 0);
                if end.is_none() || found.insn(relocation.slot).imm != 0 {
                    return Err(fail(start, "a jump table of unknown extent"));
                }
                tables.push((start, size, code));
            }
        }
        tables.sort_unstable();
        tables.dedup();
        if let Some(pair) = tables.windows(2).find(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
            return Err(fail(pair[1].0, "a jump table that overlaps another, or is of two code sections"));
        }
        let table = |(start, size, code)| {
            let (start, size) = (usize::try_from(start).ok()?, usize::try_from(size).ok()?);
            Some(JumpTable { code, section, range: start..start + size })
        };
        Ok(tables.into_iter().filter_map(table).collect())
    }
}
