//! [`Limits`]: how large an object may be.

use super::error::ElfError;
use super::image::{Content, Image};

/// How large an [`Object`](super::Object) may be. The default takes the largest objects there are many times over: those
/// of the kernel's selftests have up to a few hundred sections, and some 10^5 records and slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of the file. All memory that reading takes is linear in them.
    pub bytes: usize,
    /// Sections.
    pub sections: usize,
    /// Symbols, relocations, and records of `.BTF.ext`, all together.
    pub records: usize,
    /// Slots of code, in all code sections together.
    pub slots: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 30, sections: 1 << 16, records: 1 << 24, slots: 1 << 24 }
    }
}

impl Limits {
    pub(super) fn check_bytes(&self, data: &[u8]) -> Result<(), ElfError> {
        check("bytes", data.len(), self.bytes)
    }

    pub(super) fn check_image(&self, image: &Image<'_>) -> Result<(), ElfError> {
        check("sections", image.sections.len(), self.sections)?;
        let relocs = image.relocs().map(|(.., relocs)| relocs.len()).sum::<usize>();
        check("records", image.symbols.len() + relocs, self.records)?;
        let code = image.sections.iter().filter(|section| section.is_code());
        let bytes = code.map(|section| match &section.content {
            Content::Data(data) => data.len(),
            _ => 0,
        });
        check("slots", bytes.sum::<usize>() / 8, self.slots)
    }

    /// As [`check_image`](Self::check_image), with `records` of other kinds.
    pub(super) fn check_records(&self, image: &Image<'_>, records: usize) -> Result<(), ElfError> {
        let relocs = image.relocs().map(|(.., relocs)| relocs.len()).sum::<usize>();
        check("records", image.symbols.len() + relocs + records, self.records)
    }
}

fn check(what: &'static str, count: usize, limit: usize) -> Result<(), ElfError> {
    if count <= limit { Ok(()) } else { Err(ElfError::TooMany { what, count, limit }) }
}
