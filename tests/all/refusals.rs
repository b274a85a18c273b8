//! Every reason for which the ELF layer refuses an object or an edit, provoked: none is there that nothing brings about.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::Path;

use relinear::bpf::{Bpf, Insn};
use relinear::elf::{Edit, ElfError, Object, PatchError, PatchReason, patch};
use relinear::passes::{Pass, blind, dce};
use relinear::{Arena, Handle, Linear, List};

/// Files of `src/elf` whose texts are reasons of an [`ElfError`].
const FILES: [&str; 13] = [
    "btf.rs",
    "btf_ext.rs",
    "code.rs",
    "cover.rs",
    "edit.rs",
    "image.rs",
    "jump_tables.rs",
    "limits.rs",
    "moves.rs",
    "object.rs",
    "plan.rs",
    "records.rs",
    "write.rs",
];

/// Reasons that no test can provoke, and why.
const OUT_OF_REACH: [(&str, &str); 3] = [
    ("longer than 4 GiB", "a section of 4 GiB"),
    ("the new code is longer than 4 GiB", "code of 4 GiB"),
    ("the check of inserted instructions is to skip these", "no reason: what an assertion says"),
];

/// The texts with a blank in them of a Rust source, without its tests.
fn texts(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let code = code.join("\n");
    let mut texts = BTreeSet::new();
    let mut chars = code.chars();
    while let Some(char) = chars.next() {
        if char == '\'' && chars.as_str().starts_with("\"'") {
            chars.next();
        } else if char == '"' {
            let mut text = String::new();
            while let Some(char) = chars.next().filter(|char| *char != '"') {
                match char {
                    '\\' if chars.as_str().starts_with('\n') => {
                        chars = chars.as_str().trim_start().chars();
                    }
                    '\\' => text.extend(chars.next()),
                    char => text.push(char),
                }
            }
            // Those with a place for something are not of a reason, but of what is around it.
            if text.contains(' ') && !text.contains('{') {
                texts.insert(text);
            }
        }
    }
    texts
}

/// What was provoked.
#[derive(Default)]
struct Seen(BTreeSet<String>);

impl Seen {
    fn note(&mut self, error: &ElfError) {
        let reason = match *error {
            ElfError::Header { reason }
            | ElfError::Section { reason, .. }
            | ElfError::Symbol { reason, .. }
            | ElfError::Edit { reason, .. } => reason,
            _ => return,
        };
        assert!(error.to_string().ends_with(reason), "{error}");
        self.0.insert(reason.to_owned());
    }

    fn note_patch(&mut self, error: &PatchError) {
        if let PatchReason::Elf(error) = &error.reason {
            self.note(error);
        }
    }

    /// Reads a file, runs passes over it, and deletes and moves what there is.
    fn try_all(&mut self, data: &[u8]) {
        let object = match Object::parse(data) {
            Ok(object) => object,
            Err(error) => return self.note(&error),
        };
        for pass in [Pass::Dce(dce::Options::default()), Pass::Blind(blind::Options::default())] {
            if let Err(error) = patch(&mut object.clone(), &[pass]) {
                self.note_patch(&error);
            }
        }
        for edit in [prepend as fn(&mut List<'_, Bpf>), delete_end] {
            self.edit(&mut object.clone(), edit);
        }
    }

    fn edit(&mut self, object: &mut Object<'_>, edit: impl Fn(&mut List<'_, Bpf>)) {
        let mut edited: Vec<(usize, Linear<Insn>)> = Vec::new();
        for (index, code) in object.code().iter().enumerate() {
            let arena = Arena::new();
            let Ok(mut list) = List::<Bpf>::new(&arena, &code.program().insns) else { continue };
            edit(&mut list);
            edited.extend(list.linearize().ok().map(|linear| (index, linear)));
        }
        let edits = edited.iter();
        let edits = edits.map(|(code, new)| Edit { code: *code, insns: new.units.clone(), map: &new.map });
        if let Err(error) = object.replace_codes(edits.collect()) {
            self.note(&error);
        }
    }
}

fn prepend(list: &mut List<'_, Bpf>) {
    _ = list.prepend(Handle::new(0), &[Insn::mov64_imm(0, 0)][..]);
}

/// Leaves the first half.
fn delete_end(list: &mut List<'_, Bpf>) {
    for handle in (list.original_len() / 2..list.original_len()).map(Handle::new) {
        _ = list.delete(handle);
    }
}

/// The tables of a file: its header, those of its sections, symbols, relocations, types and records.
fn tables(data: &[u8]) -> Vec<Range<usize>> {
    use object::read::elf::{FileHeader as _, SectionHeader as _};
    type Header = object::elf::FileHeader64<object::Endianness>;
    let header = Header::parse(data).unwrap();
    let endian = header.endian().unwrap();
    let table = header.sections(endian, data).unwrap();
    let headers = usize::try_from(header.e_shoff(endian)).unwrap();
    let mut tables = vec![0..64, headers..headers + 64 * table.len()];
    for section in table.iter() {
        let name = table.section_name(endian, section).unwrap_or_default();
        let is_debug = [&b".debug"[..], b".rel.debug"].iter().any(|start| name.starts_with(start));
        let is_code = section.sh_flags(endian).0 & object::elf::SHF_EXECINSTR.0 != 0;
        let is_table = matches!(
            section.sh_type(endian),
            object::elf::SHT_SYMTAB | object::elf::SHT_REL | object::elf::SHT_RELA | object::elf::SHT_GROUP
        );
        let is_data = name.starts_with(b".BTF") || name == b".jumptables" || name == b".maps";
        if let Some((start, len)) =
            section.file_range(endian).filter(|_| (is_table || is_data || is_code) && !is_debug)
        {
            let start = usize::try_from(start).unwrap();
            tables.push(start..start + usize::try_from(len).unwrap().min(1200));
        }
    }
    tables
}

fn read(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// Changes each byte of each table, cuts the file short, and exchanges the types of relocations.
fn damage(seen: &mut Seen) {
    for name in ["elf/pointers.o", "elf/jump_table.o", "field/lib_gcc.o", "field/weak.o", "nobtf.o", "core.o"]
    {
        let data = read(name);
        seen.try_all(&data);
        for len in (0..80).chain([data.len() / 2, data.len() - 1]) {
            seen.try_all(&data[..len]);
        }
        let mut bad = data.clone();
        for at in tables(&data).into_iter().flatten() {
            for value in [data[at] ^ 1, data[at] ^ 2, data[at] ^ 8, data[at] ^ 0x80, 0, 0xff] {
                bad[at] = value;
                seen.try_all(&bad);
            }
            bad[at] = data[at];
        }
    }
}

#[test]
fn every_reason_is_provoked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/elf");
    let mut all: BTreeMap<String, &str> = BTreeMap::new();
    for file in FILES {
        let source = fs::read_to_string(folder.join(file)).unwrap();
        all.extend(texts(&source).into_iter().map(|text| (text, file)));
    }
    assert!(all.len() > 50, "{}", all.len());
    let mut seen = Seen::default();
    damage(&mut seen);
    for (text, _) in OUT_OF_REACH {
        assert!(all.remove(text).is_some(), "{text:?} is no reason any more");
        assert!(!seen.0.contains(text), "{text:?} is within reach");
    }
    all.retain(|text, _| !seen.0.contains(text));
    assert!(all.is_empty(), "nothing provokes {all:#?}");
}
