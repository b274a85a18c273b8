//! [`file`](self::file): the bytes of an ELF object, of sections that are made up.

use std::vec::Vec;

use crate::bpf::Endian;

pub(super) const PROGBITS: u32 = 1;
pub(super) const SYMTAB: u32 = 2;
pub(super) const STRTAB: u32 = 3;
pub(super) const REL: u32 = 9;
pub(super) const EXECUTABLE: u64 = 6;

/// A section, named by its number in the list with 1 for the first.
#[derive(Clone, Default)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) kind: u32,
    pub(super) flags: u64,
    pub(super) link: u32,
    pub(super) info: u32,
    pub(super) entsize: u64,
    pub(super) data: Vec<u8>,
}

/// Numbers one after the other, in one byte order.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) endian: Endian,
    pub(super) bytes: Vec<u8>,
}

impl Writer {
    pub(super) fn new(endian: Endian) -> Self {
        Self { endian, bytes: Vec::new() }
    }

    /// The low `N` bytes of `value`.
    pub(super) fn put<const N: usize>(&mut self, value: u64) -> &mut Self {
        match self.endian {
            Endian::Little => self.bytes.extend(&value.to_le_bytes()[..N]),
            Endian::Big => self.bytes.extend(&value.to_be_bytes()[8 - N..]),
        }
        self
    }

    pub(super) fn word(&mut self, value: usize) -> &mut Self {
        self.put::<4>(value as u64)
    }
}

/// An object for eBPF of these sections, and one with their names behind them.
pub(super) fn file(endian: Endian, mut sections: Vec<Section>) -> Vec<u8> {
    sections.push(Section { name: ".shstrtab", kind: STRTAB, ..Section::default() });
    let mut names = Vec::from([0]);
    let starts: Vec<usize> = sections
        .iter()
        .map(|section| {
            let start = names.len();
            names.extend(section.name.bytes().chain([0]));
            start
        })
        .collect();
    let count = sections.len();
    sections[count - 1].data = names;

    let table = 64 + sections.iter().map(|section| section.data.len().next_multiple_of(8)).sum::<usize>();
    let mut out = Writer::new(endian);
    out.bytes.extend(b"\x7fELF\x02");
    out.put::<1>(if endian == Endian::Big { 2 } else { 1 }).put::<1>(1);
    out.bytes.resize(16, 0);
    // A relocatable object for eBPF, of version 1.
    out.put::<2>(1).put::<2>(247).put::<4>(1).put::<8>(0).put::<8>(0).put::<8>(table as u64);
    out.put::<4>(0).put::<2>(64).put::<2>(0).put::<2>(0).put::<2>(64);
    out.put::<2>(count as u64 + 1).put::<2>(count as u64);
    let mut headers = Writer::new(endian);
    headers.bytes.resize(64, 0);
    for (section, name) in sections.iter().zip(starts) {
        headers.word(name).put::<4>(section.kind.into()).put::<8>(section.flags).put::<8>(0);
        headers.put::<8>(out.bytes.len() as u64).put::<8>(section.data.len() as u64);
        headers.put::<4>(section.link.into()).put::<4>(section.info.into()).put::<8>(8);
        headers.put::<8>(section.entsize);
        out.bytes.extend(&section.data);
        out.bytes.resize(out.bytes.len().next_multiple_of(8), 0);
    }
    out.bytes.extend(headers.bytes);
    out.bytes
}
