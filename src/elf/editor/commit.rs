//! [`Object::commit`]: puts a [`Change`] into an object.

use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::{AtomicU64, Ordering};

use object::elf;

use super::change::{Change, ChangedSection, Committed};
use super::types::NewBtf;
use super::{Added, new_section, symbol_table};
use crate::bpf::Program;
use crate::elf::btf::Btf;
use crate::elf::btf_ext::{Kind, Records};
use crate::elf::code::{CodeSection, Relocation};
use crate::elf::image::{Content, Reloc};
use crate::elf::records::ExtLinks;
use crate::elf::{ElfError, Object};

/// The number of the next state that an object gets.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

impl Object<'_> {
    /// Puts a change into the object that it was worked out for.
    ///
    /// O(size of the change + symbols).
    ///
    /// # Errors
    ///
    /// [`ElfError::Stale`] if the object has changed since. Whatever the error, the object is as it was.
    pub fn commit(&mut self, change: Change) -> Result<Committed, ElfError> {
        let Change { version, plan, mut sections, added, changes, btf } = change;
        if version != self.version {
            return Err(ElfError::Stale);
        }
        let parsed = match &btf {
            Some(btf) => Some(Btf::parse_owned(&btf.bytes, self.image.endian)?),
            None => None,
        };
        self.version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
        let of_file = self.code.len();
        self.add(added);
        if let Some(btf) = btf {
            self.set_btf(btf);
            self.btf = parsed;
        }
        let mut done = Committed { maps: Vec::new(), lengthened: 0, changes };
        let old_code = sections.iter_mut().filter(|section| section.code < of_file);
        let new_code =
            old_code.map(|section| (section.code, mem::take(&mut section.program.insns))).collect();
        self.apply(plan, new_code);
        for mut section in sections {
            if section.code < of_file {
                section.program.insns = mem::take(&mut self.code[section.code].program.insns);
            }
            done.lengthened += section.lengthened;
            self.edited = true;
            let map = self.finish_section(section);
            done.maps.push(map);
        }
        self.read_jump_tables();
        self.read_functions()?;
        Ok(done)
    }

    /// Adds sections, symbols and data.
    fn add(&mut self, added: Added) {
        let Added { sections, symbols, tails, code, .. } = added;
        for (index, tail) in tails {
            let section = &mut self.image.sections[index];
            section.align = section.align.max(tail.align);
            match &mut section.content {
                Content::Data(data) => data.to_mut().extend_from_slice(&tail.bytes),
                Content::Zero(size) => *size += tail.bytes.len() as u64,
                _ => {}
            }
        }
        self.image.sections.extend(sections);
        self.image.symbols.extend(symbols);
        self.code_of.resize(self.image.sections.len(), None);
        for section in code {
            self.code_of[section] = Some(self.code.len());
            self.code.push(CodeSection::empty(&self.image, section));
        }
    }

    /// Adds a section that is no data of programs. Its index.
    fn add_section(&mut self, name: &str, kind: u32, align: u64, content: Content<'static>) -> usize {
        self.image.sections.push(new_section(name, kind, 0, align, content));
        self.code_of.push(None);
        self.image.sections.len() - 1
    }

    /// Puts the new bytes of `.BTF` into its section, and moves relocations of it.
    fn set_btf(&mut self, btf: NewBtf) {
        let sections = &self.image.sections;
        let found = sections.iter().position(|section| !section.dropped && *section.name == *b".BTF");
        let index = found.unwrap_or_else(|| {
            self.add_section(".BTF", elf::SHT_PROGBITS.0, 4, Content::Data(Vec::new().into()))
        });
        for section in &mut self.image.sections {
            match &mut section.content {
                Content::Relocs { of, relocs } if *of == index => {
                    for reloc in relocs {
                        reloc.offset = btf.new_of(reloc.offset);
                    }
                }
                _ => {}
            }
        }
        self.image.sections[index].content = Content::Data(btf.bytes.into());
    }

    /// Gives a code section its new code, relocations and records. Which one, and where its old code went.
    fn finish_section(&mut self, section: ChangedSection) -> (usize, crate::Map) {
        let ChangedSection { code: index, program, map, relocs, core, name, .. } = section;
        if !relocs.is_empty() {
            self.add_relocations(index, relocs);
        }
        let endian = self.image.endian;
        let code = &mut self.code[index];
        // An object has no facts of a verifier.
        code.program = Program { aux: Vec::new(), ..program };
        code.func = Records::of_functions(&code.program.func_info, &code.func, endian);
        code.line = Records::of_lines(&code.program.line_info, &code.line, endian);
        for record in &core {
            code.core.push_core(record, endian);
        }
        code.core.sort(endian);
        code.pin_all();
        if let Some(name) = name {
            if self.ext.is_none() {
                let content = Content::Data(Vec::new().into());
                let at = self.add_section(".BTF.ext", elf::SHT_PROGBITS.0, 4, content);
                self.ext = Some(ExtLinks::empty(at, endian));
            }
            let (Some(ext), code) = (&mut self.ext, &self.code[index]) else { return (index, map) };
            for kind in Kind::ALL {
                if code.records(kind).len() != 0 {
                    ext.own(kind, index, name, code.records(kind).record_len());
                }
            }
        }
        (index, map)
    }

    /// Adds relocations to those of a code section.
    fn add_relocations(&mut self, code: usize, added: Vec<Reloc>) {
        let of = self.code[code].section;
        let found = self.image.relocs().find(|&(_, holder, _)| holder == of).map(|(index, ..)| index);
        let index = found.unwrap_or_else(|| {
            let name = alloc::format!(".rel{}", self.code[code].name());
            let content = Content::Relocs { of, relocs: Vec::new() };
            let index = self.add_section(&name, elf::SHT_REL.0, 8, content);
            let link = symbol_table(&self.image).unwrap_or_default();
            let section = &mut self.image.sections[index];
            (section.flags, section.link, section.entsize) = (elf::SHF_INFO_LINK.0, link, 16);
            index
        });
        let Content::Relocs { relocs, .. } = &mut self.image.sections[index].content else { return };
        relocs.extend(added);
        relocs.sort_by_key(|reloc| reloc.offset);
        self.code[code].relocations = relocs.iter().map(Relocation::from).collect();
    }
}
