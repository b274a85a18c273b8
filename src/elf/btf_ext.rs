//! [`BtfExt`]: a `.BTF.ext` section: which function, source line or CO-RE access stands where.
//!
//! The format is that of the kernel's `Documentation/bpf/btf.rst`: a header, then a table for
//! functions, one for lines and one for CO-RE records. A table has the size of its records, then a
//! group a code section. A record begins with the place of an instruction, in bytes from the start
//! of that section.

use alloc::vec::Vec;

use super::btf::{MAGIC, VERSION};
use super::bytes::{Bytes, from_u32};
use super::code::CoreRelo;
use super::error::ElfError;
use crate::bpf::{Endian, FuncInfo, LineInfo};

const SECTION: &[u8] = b".BTF.ext";

/// The header of a section without records: magic number, version, flags, the length of the header, and for each table where
/// it is and how long.
const EMPTY_LITTLE: &[u8] = b"\x9f\xeb\x01\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const EMPTY_BIG: &[u8] = b"\xeb\x9f\x01\0\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A table's place in [`BtfExt::tables`], and in the header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Func,
    Line,
    Core,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Func, Self::Line, Self::Core];

    /// Where in the header the offset of the table is; its length comes next.
    fn field(self) -> usize {
        8 + self as usize * 8
    }

    /// The length of a record as it was first defined; it may have grown.
    fn record(self) -> usize {
        match self {
            Self::Func => 8,
            Self::Line | Self::Core => 16,
        }
    }
}

/// The section, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct BtfExt<'d> {
    endian: Endian,
    header: &'d [u8],
    pub(crate) tables: [Table; 3],
    /// The tables in the order of the file.
    order: [Kind; 3],
}

#[derive(Clone, Default, Debug)]
pub(crate) struct Table {
    record: usize,
    pub(crate) groups: Vec<Group>,
}

/// The records of one code section.
#[derive(Clone, Default, Debug)]
pub(crate) struct Group {
    /// Its name, an offset into the strings of `.BTF`.
    pub(crate) section: u32,
    /// Where the first record starts, in bytes from the start of `.BTF.ext`.
    pub(crate) start: usize,
    pub(crate) records: Records,
}

/// Records of one length, as they stand in the file.
#[derive(Clone, Default, Debug)]
pub(crate) struct Records {
    size: usize,
    bytes: Vec<u8>,
    /// The records by slot, and by index within a slot; empty if that is the order that they stand in.
    order: Vec<u32>,
}

impl Records {
    /// O(records), or O(records · log records) if they do not ascend.
    fn new(size: usize, bytes: Vec<u8>, endian: Endian) -> Self {
        Self { size, bytes, order: Vec::new() }.ordered(endian)
    }

    /// The same records, with their order.
    fn ordered(mut self, endian: Endian) -> Self {
        self.order.clear();
        if !self.slots(endian).is_sorted() {
            let mut order: Vec<(u32, u32)> = self.slots(endian).zip(0..).collect();
            order.sort_unstable();
            self.order = order.into_iter().map(|(_, index)| index).collect();
        }
        self
    }

    /// The index of the last record at or before `slot`. O(log records).
    pub(crate) fn last_at(&self, slot: u32, endian: Endian) -> Option<usize> {
        let index_at = |at: usize| self.order.get(at).map_or(at, |&index| index as usize);
        let is_after = |at: usize| {
            self.get(index_at(at), endian).and_then(|record| record.u32(0)).is_some_and(|at| at / 8 > slot)
        };
        let (mut first, mut end) = (0, self.len());
        while first < end {
            let middle = first + (end - first) / 2;
            if is_after(middle) { end = middle } else { first = middle + 1 }
        }
        first.checked_sub(1).map(index_at)
    }

    /// Record `index`, to read fields from. O(1).
    pub(crate) fn get(&self, index: usize, endian: Endian) -> Option<Bytes<'_>> {
        Some(Bytes::new(self.bytes.get(index * self.size..)?.get(..self.size)?, endian))
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len().checked_div(self.size).unwrap_or_default()
    }

    /// The records, to read fields from.
    pub(crate) fn iter(
        &self,
        endian: Endian,
    ) -> impl ExactSizeIterator<Item = Bytes<'_>> + DoubleEndedIterator {
        self.bytes.chunks_exact(self.size.max(1)).map(move |data| Bytes::new(data, endian))
    }

    /// Where the records stand, in slots.
    pub(crate) fn slots(&self, endian: Endian) -> impl ExactSizeIterator<Item = u32> {
        self.iter(endian).map(|record| record.u32(0).unwrap_or_default() / 8)
    }

    /// The length of a record in bytes, 0 if that is not known yet.
    pub(crate) fn record_len(&self) -> usize {
        self.size
    }

    /// Whether a record says more than was first defined for its kind.
    pub(crate) fn say_more(&self, kind: Kind) -> bool {
        let known = kind.record();
        self.size > known
            && self.bytes.chunks_exact(self.size).any(|record| record[known..].iter().any(|&byte| byte != 0))
    }

    /// Function records, as long as those of `like` are.
    pub(crate) fn of_functions(records: &[FuncInfo], like: &Self, endian: Endian) -> Self {
        Self::of_words(Kind::Func, like, records.iter().map(|it| [it.insn_off * 8, it.type_id]), endian)
    }

    /// Line records, as long as those of `like` are.
    pub(crate) fn of_lines(records: &[LineInfo], like: &Self, endian: Endian) -> Self {
        let words = records.iter().map(|it| [it.insn_off * 8, it.file_name_off, it.line_off, it.line_col]);
        Self::of_words(Kind::Line, like, words, endian)
    }

    fn of_words<const N: usize>(
        kind: Kind,
        like: &Self,
        records: impl Iterator<Item = [u32; N]>,
        endian: Endian,
    ) -> Self {
        let mut made = Self { size: like.size.max(kind.record()), ..Self::default() };
        for words in records {
            made.push(&words, endian);
        }
        made.ordered(endian)
    }

    fn push(&mut self, words: &[u32], endian: Endian) {
        let end = self.bytes.len() + self.size;
        for word in words {
            self.bytes.extend_from_slice(&from_u32(*word, endian));
        }
        self.bytes.resize(end, 0);
    }

    /// Adds a CO-RE record.
    pub(crate) fn push_core(&mut self, record: &CoreRelo, endian: Endian) {
        self.size = self.size.max(Kind::Core.record());
        self.push(&[record.slot * 8, record.type_id, record.access, record.kind], endian);
    }

    /// Puts records in the order of their positions.
    pub(crate) fn sort(&mut self, endian: Endian) {
        let mut order: Vec<(usize, u32)> = self.slots(endian).enumerate().collect();
        if !order.is_sorted_by_key(|&(_, slot)| slot) {
            order.sort_by_key(|&(_, slot)| slot);
            *self = self.repositioned(&order, endian);
        }
    }

    /// The records `kept` names by index, each at its new slot. O(what is kept).
    pub(crate) fn repositioned(&self, kept: &[(usize, u32)], endian: Endian) -> Self {
        let mut bytes = Vec::with_capacity(kept.len() * self.size);
        for &(index, slot) in kept {
            bytes.extend_from_slice(&from_u32(slot * 8, endian));
            bytes.extend_from_slice(&self.bytes[index * self.size..][4..self.size]);
        }
        Self::new(self.size, bytes, endian)
    }
}

impl<'d> BtfExt<'d> {
    /// A section without records.
    pub(crate) fn empty(endian: Endian) -> Self {
        let header = match endian {
            Endian::Little => EMPTY_LITTLE,
            Endian::Big => EMPTY_BIG,
        };
        Self { endian, header, tables: Default::default(), order: Kind::ALL }
    }

    /// Adds a group without records to a table. Its number.
    pub(crate) fn add_group(&mut self, kind: Kind, section: u32, record: usize) -> usize {
        let table = &mut self.tables[kind as usize];
        table.record = table.record.max(record);
        table.groups.push(Group { section, ..Group::default() });
        table.groups.len() - 1
    }

    /// O(bytes).
    pub(crate) fn parse(data: &'d [u8], endian: Endian) -> Result<Self, ElfError> {
        let file = Bytes::new(data, endian);
        let fail = |at: usize, reason| ElfError::section(SECTION, at as u64, reason);
        let header_len = file.u32(4).ok_or(fail(4, "header cut short"))? as usize;
        if file.u16(0) != Some(MAGIC) || data.get(2) != Some(&VERSION) {
            return Err(fail(0, "unknown magic number or version"));
        }
        let header = data.get(..header_len).ok_or(fail(4, "header longer than the section"))?;
        if header_len < Kind::Core.field() {
            return Err(fail(4, "header too short"));
        }
        let mut ext = Self { endian, header, tables: Default::default(), order: Kind::ALL };
        let fields = Bytes::new(header, endian);
        let place = |kind: Kind| Some((fields.u32(kind.field())?, fields.u32(kind.field() + 4)?));
        for kind in Kind::ALL {
            // The CO-RE table came later: an older header ends before it.
            let Some((offset, len)) = place(kind).filter(|&(_, len)| len != 0) else { continue };
            let beyond = || fail(kind.field(), "table beyond the end of the section");
            let start = header_len.checked_add(offset as usize).ok_or_else(beyond)?;
            let table = file.slice(start as u64, len.into()).ok_or_else(beyond)?;
            ext.tables[kind as usize] = parse_table(Bytes::new(table, endian), kind)
                .map_err(|(at, reason)| fail(start + at, reason))?
                .shifted(start);
        }
        ext.order.sort_by_key(|&kind| place(kind).unwrap_or_default());
        Ok(ext)
    }

    /// Whether the header has fields that this version cannot keep right.
    pub(crate) fn has_unknown_fields(&self) -> bool {
        self.header.get(Kind::Core.field() + 8..).unwrap_or_default().iter().any(|&byte| byte != 0)
    }

    /// The bytes of the section, with groups that have no records left out; and where in it each
    /// group's records start: (table, group, byte).
    ///
    /// O(bytes).
    pub(crate) fn to_bytes(&self) -> Result<(Vec<u8>, Vec<Placed>), ElfError> {
        let too_long = || ElfError::section(SECTION, 0, "longer than 4 GiB");
        let word = |value: usize| u32::try_from(value).map_err(|_| too_long());
        let mut out = self.header.to_vec();
        let mut placed = Vec::new();
        for kind in self.order {
            let table = &self.tables[kind as usize];
            let start = out.len();
            let groups = table.groups.iter().enumerate();
            for (index, group) in groups.filter(|(_, group)| group.records.len() != 0) {
                if out.len() == start {
                    out.extend_from_slice(&from_u32(word(table.record)?, self.endian));
                }
                out.extend_from_slice(&from_u32(group.section, self.endian));
                out.extend_from_slice(&from_u32(word(group.records.len())?, self.endian));
                placed.push(Placed { kind, group: index, start: out.len() });
                out.extend_from_slice(&group.records.bytes);
            }
            let field = kind.field();
            let words = [word(start - self.header.len())?, word(out.len() - start)?];
            for (at, value) in [field, field + 4].into_iter().zip(words) {
                if let Some(bytes) = out[..self.header.len()].get_mut(at..at + 4) {
                    bytes.copy_from_slice(&from_u32(value, self.endian));
                }
            }
        }
        Ok((out, placed))
    }

    /// The length of a record of the table.
    pub(crate) fn record_len(&self, kind: Kind) -> usize {
        self.tables[kind as usize].record
    }
}

/// Where [`BtfExt::to_bytes`] put the records of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) kind: Kind,
    pub(crate) group: usize,
    pub(crate) start: usize,
}

impl Table {
    fn shifted(mut self, by: usize) -> Self {
        for group in &mut self.groups {
            group.start += by;
        }
        self
    }
}

/// The error has the place in the table.
fn parse_table(table: Bytes<'_>, kind: Kind) -> Result<Table, (usize, &'static str)> {
    let word = |at| table.u32(at).ok_or((at, "table cut short"));
    let record = word(0)? as usize;
    if record < kind.record() || !record.is_multiple_of(4) {
        return Err((0, "records of an impossible size"));
    }
    let mut groups = Vec::new();
    let mut at = 4;
    while at < table.data.len() {
        let (section, count) = (word(at)?, word(at + 4)? as usize);
        let start = at + 8;
        let records = count.checked_mul(record).and_then(|len| table.data.get(start..)?.get(..len));
        let records = records.ok_or((at + 4, "more records than there is room for"))?;
        if records.is_empty() {
            return Err((at + 4, "a section without records"));
        }
        for (index, insn) in records.chunks_exact(record).enumerate() {
            if Bytes::new(insn, table.endian).u32(0).is_none_or(|offset| !offset.is_multiple_of(8)) {
                return Err((start + index * record, "not the place of an instruction"));
            }
        }
        at = start + records.len();
        groups.push(Group { section, start, records: Records::new(record, records.to_vec(), table.endian) });
    }
    Ok(Table { record, groups })
}
