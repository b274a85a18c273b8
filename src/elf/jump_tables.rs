//! Jump tables: data that is made of positions in code, without a relocation that says so.
//!
//! clang puts them into a section `.jumptables`, as 8-byte offsets from the start of the code section
//! that jumps through them; that section loads the address of the table, whose symbol gives its place
//! and its length. libbpf makes maps of them (`create_jt_map`).

use alloc::vec::Vec;
use core::ops::Range;

use super::bytes::Bytes;
use super::code::{CodeSection, R_BPF_64_64};
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
    /// The slots of the code that load its address.
    pub(crate) users: Vec<u32>,
}

impl JumpTable {
    /// The length of an entry in bytes.
    pub(crate) const ENTRY: usize = 8;

    /// Where in the section the entries are, in bytes.
    pub(crate) fn entries(&self) -> impl Iterator<Item = usize> {
        self.range.clone().step_by(Self::ENTRY)
    }
}

/// What the jump tables that a code section loads lead to.
#[derive(Clone, Debug, Default)]
pub(crate) struct JumpTargets {
    /// Of each table the slots of its entries, ascending, each once.
    tables: Vec<Vec<u32>>,
    /// The slots that load the address of a table, ascending, and which one.
    loads: Vec<(u32, usize)>,
}

impl CodeSection {
    /// The slots that the tables which code in a range loads lead to, ascending. If any leads out of the range, no more
    /// than two of each such table are given, so that many functions that load one long table cost no time.
    ///
    /// O(loads in the range + entries).
    pub(crate) fn jump_targets(&self, range: Range<u32>) -> Vec<u32> {
        let JumpTargets { tables, loads } = &self.jump_targets;
        let first = loads.partition_point(|&(slot, _)| slot < range.start);
        let loads = loads[first..].iter().take_while(|&&(slot, _)| slot < range.end);
        let mut loaded: Vec<usize> = loads.map(|&(_, table)| table).collect();
        loaded.sort_unstable();
        loaded.dedup();
        let mut targets = Vec::new();
        for table in loaded {
            match tables[table][..] {
                [first, .., last] if first < range.start || last >= range.end => {
                    targets.extend([first, last]);
                }
                ref all => targets.extend(all),
            }
        }
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    /// What a `gotox` of the functions that are analysed may lead to.
    pub(crate) fn analysed_jump_targets(&self) -> Vec<Option<u32>> {
        let parts = self.parts.iter().enumerate().filter(|(_, part)| part.is_analysed());
        let targets = parts.flat_map(|(part, _)| self.jump_targets(self.subprogram_range(part)));
        targets.map(Some).collect()
    }
}

impl Object<'_> {
    /// Tells each code section what its jump tables lead to.
    ///
    /// Where that cannot be said, no entry is known, and functions with a `gotox` cannot be analysed.
    ///
    /// O(symbols + relocations + entries), and a sort of the tables and entries.
    pub(crate) fn read_jump_tables(&mut self) {
        let tables = self.jump_tables().unwrap_or_default();
        for code in &mut self.code {
            code.jump_targets = JumpTargets::default();
        }
        for table in tables {
            let mut targets: Vec<u32> = table.entries().map(|at| self.jump_target(&table, at)).collect();
            targets.sort_unstable();
            targets.dedup();
            let known = &mut self.code[table.code].jump_targets;
            known.loads.extend(table.users.iter().map(|&slot| (slot, known.tables.len())));
            known.tables.push(targets);
        }
        for code in &mut self.code {
            code.jump_targets.loads.sort_unstable();
        }
    }

    /// The slot that the entry of a jump table at byte `at` of its section leads to: one that no program has, if it is not
    /// the start of a slot.
    fn jump_target(&self, table: &JumpTable, at: usize) -> u32 {
        let data = self.image.sections[table.section].data().unwrap_or_default();
        let offset = Bytes::new(data, self.image.endian).u64(at).filter(|offset| offset % 8 == 0);
        offset.and_then(|offset| u32::try_from(offset / 8).ok()).unwrap_or(u32::MAX)
    }

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
                tables.push((start, size, code, relocation.slot));
            }
        }
        tables.sort_unstable();
        let mut found: Vec<JumpTable> = Vec::new();
        for (start, size, code, slot) in tables {
            let [Ok(from), Ok(to)] = [start, start + size].map(usize::try_from) else { continue };
            match found.last_mut() {
                Some(last) if (&last.range, last.code) == (&(from..to), code) => last.users.push(slot),
                Some(last) if last.range.end > from => {
                    let reason = "a jump table that overlaps another, or is of two code sections";
                    return Err(fail(start, reason));
                }
                _ => found.push(JumpTable { code, section, range: from..to, users: alloc::vec![slot] }),
            }
        }
        Ok(found)
    }
}
