//! [`check_object`]: an object, or what may look like one, through everything that can be done to it.

use core::fmt::{self, Write};
use std::vec::Vec;

use crate::bpf::Cpu;
use crate::bpf::dis::dis;
use crate::elf::passes::{Blind, Dce};
use crate::elf::{CodeChange, Finding, Object, Pass, VerifyError, patch_recorded, verify};

/// The most instructions that are told in words: a source line may be as long as the object.
const MOST_PLACES: u32 = 64;
/// The byte of the header, one that says nothing, which has the passes: 0 is all.
const PASSES: usize = 9;

/// The most memory that [`check_object`] may take for an object, in bytes.
///
/// A few bytes of headers may ask for padding of their own length many times over, and blinding makes several
/// instructions of one.
#[must_use]
pub fn memory_limit(data: &[u8]) -> usize {
    (8 << 20) + 256 * data.len()
}

/// Reads, checks, disassembles, patches and writes an object.
///
/// # Panics
///
/// If what is written is no object, or not the same one but for what passes changed, or not as clean as it was.
pub fn check_object(data: &[u8]) {
    let Ok(object) = Object::parse(data) else { return };
    read(&object);
    let findings = object.check();
    if let Ok(written) = object.write() {
        let again = Object::parse(&written).expect("what was written can be read");
        assert_eq!(again.check(), findings, "the findings after writing");
        assert_eq!(again.write().as_ref(), Ok(&written), "written twice");
        check_written(data, &written, &[]);
    }
    check_patched(data, object, &passes(data[PASSES]), &findings);
}

fn passes(choice: u8) -> Vec<&'static dyn Pass> {
    let (dce, blind): (&dyn Pass, &dyn Pass) = (&Dce, &const { Blind::new() });
    match choice % 4 {
        0 => [dce, blind].into(),
        1 => [dce].into(),
        2 => [blind].into(),
        _ => [blind, dce].into(),
    }
}

/// That what was written is `old` after `changes`. Nothing can be said of an object that breaks the letter of the
/// format in a way that does not matter to us.
fn check_written(old: &[u8], new: &[u8], changes: &[CodeChange]) {
    match verify(old, new, changes) {
        Ok(()) | Err(VerifyError::Unreadable { is_old: true, .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn check_patched(old: &[u8], mut object: Object<'_>, passes: &[&dyn Pass], findings: &[Finding]) {
    let mut changes = Vec::new();
    if patch_recorded(&mut object, passes, Cpu::V4, &mut changes).is_err() {
        return;
    }
    if findings.is_empty() {
        assert_eq!(
            object.check(),
            [],
            "the findings after {:?}",
            passes.iter().map(|pass| pass.name()).collect::<Vec<_>>()
        );
    }
    let Ok(written) = object.write() else { return };
    check_written(old, &written, &changes);
    let again = Object::parse(&written).expect("what was patched can be read");
    assert_eq!(again.check(), renumbered(&object), "the findings after {passes:?} and writing");
    let insns = |object: &Object<'_>| -> Vec<_> {
        object.code().iter().flat_map(|code| code.program().insns.clone()).collect()
    };
    assert_eq!(insns(&again), insns(&object), "the code after {passes:?}");
}

/// The findings of an object as they are once it was written: a section without code is no code section then.
fn renumbered(object: &Object<'_>) -> Vec<Finding> {
    let mut findings = object.check();
    for finding in &mut findings {
        let before = &object.code()[..finding.code];
        finding.code = before.iter().filter(|code| !code.program().insns.is_empty()).count();
    }
    findings
}

/// Asks for all there is to know.
fn read(object: &Object<'_>) {
    let btf = object.btf();
    for (index, code) in object.code().iter().enumerate() {
        for relocation in code.relocations() {
            _ = object.referent(index, relocation);
            _ = object.symbol_name(relocation.symbol);
        }
        code.func_info().for_each(|info| _ = btf.and_then(|btf| btf.function(info.type_id)));
        code.core_relos().for_each(|relo| _ = btf.and_then(|btf| btf.access(&relo)));
        code.line_info().take(MOST_PLACES as usize).for_each(|line| _ = object.source_line(&line));
        _ = object.jump_targets(index);
        let slots = u32::try_from(code.program().insns.len()).expect("as the reader says");
        for (slot, insns) in code.insns(0..slots) {
            write!(Nowhere, "{}", dis(insns)).expect("nowhere takes all");
            assert!(
                code.subprogram_range(code.subprogram_at(slot)).contains(&slot),
                "the function of {slot}"
            );
            if slot < MOST_PLACES {
                _ = object.place(index, slot);
            }
        }
    }
    let reachable = object.reachable();
    reachable.unreached().for_each(|id| assert!(!reachable.is_reached(id), "{id:?}"));
}

/// Takes text, and forgets it.
struct Nowhere;

impl Write for Nowhere {
    fn write_str(&mut self, _: &str) -> fmt::Result {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::bpf::{Endian, Insn, encode};
    use crate::elf::{ElfError, Referent};
    use crate::fuzzing::elf_file::{EXECUTABLE, PROGBITS, REL, STRTAB, SYMTAB, Section, file};

    fn section(name: &'static str, kind: u32, data: Vec<u8>) -> Section {
        Section { name, kind, data, ..Section::default() }
    }

    #[test]
    fn code_for_a_table_of_names_is_refused() {
        let code = encode(&[Insn::mov64_imm(0, 0), Insn::exit()], Endian::Little);
        let code = Section { flags: EXECUTABLE, ..section(".text", PROGBITS, code) };
        let mut data = file(Endian::Little, vec![code]);
        check_object(&data);
        assert_eq!(Object::parse(&data).unwrap().code().len(), 1);
        data[62] = 1;
        let reason = "a table of names is no string table";
        assert_eq!(Object::parse(&data).unwrap_err(), ElfError::Header { reason });
    }

    #[test]
    fn code_in_the_header_of_no_section_is_none() {
        let code = encode(&[Insn::mov64_imm(0, 0), Insn::exit()], Endian::Little);
        let code = Section { flags: EXECUTABLE, ..section(".text", PROGBITS, code) };
        let mut data = file(Endian::Little, vec![code]);
        let at = usize::from(u16::from_le_bytes([data[40], data[41]]));
        data.copy_within(at + 64..at + 128, at);
        check_object(&data);
        assert_eq!(Object::parse(&data).unwrap().code().len(), 1);
    }

    #[test]
    fn a_function_in_the_entry_of_no_symbol_is_none() {
        let code = encode(&[Insn::mov64_imm(0, 0), Insn::exit(), Insn::exit()], Endian::Little);
        let code = Section { flags: EXECUTABLE, ..section(".text", PROGBITS, code) };
        let mut symbols = vec![0; 24];
        // A global function in the first section, from its third slot on.
        (symbols[4], symbols[6], symbols[8]) = (0x12, 1, 16);
        let symbols = Section { link: 3, info: 1, entsize: 24, ..section(".symtab", SYMTAB, symbols) };
        let data = file(Endian::Little, vec![code, symbols, section(".strtab", STRTAB, vec![0])]);
        check_object(&data);
        assert_eq!(Object::parse(&data).unwrap().code()[0].program().subprogs, [0]);
    }

    #[test]
    fn a_relocation_by_no_symbol_needs_no_symbols() {
        let code = encode(&[Insn::call_local(-1), Insn::exit()], Endian::Little);
        let code = Section { flags: EXECUTABLE, ..section(".text", PROGBITS, code) };
        let symbols = Section { link: 3, entsize: 24, ..section(".symtab", SYMTAB, vec![]) };
        let mut relocs = vec![0; 16];
        relocs[8] = 10;
        let relocs = Section { link: 2, info: 1, entsize: 16, ..section(".rel.text", REL, relocs) };
        let data = file(Endian::Little, vec![code, symbols, section(".strtab", STRTAB, vec![0]), relocs]);
        let object = Object::parse(&data).unwrap();
        let relocation = &object.code()[0].relocations()[0];
        assert_eq!(object.referent(0, relocation), Referent::Extern);
        check_object(&data);
    }

    #[test]
    fn relocations_of_a_table_of_names_are_refused() {
        let symbols = Section { link: 1, info: 1, entsize: 24, ..section(".symtab", SYMTAB, vec![0; 24]) };
        let of = |info| {
            let relocs = Section { link: 2, info, entsize: 16, ..section(".rel", REL, vec![0; 16]) };
            let names = section(".strtab", STRTAB, vec![0; 8]);
            file(Endian::Little, vec![names, symbols.clone(), relocs, section(".data", PROGBITS, vec![0; 8])])
        };
        check_object(&of(4));
        assert!(Object::parse(&of(4)).is_ok());
        assert!(matches!(Object::parse(&of(1)), Err(ElfError::Section { .. })));
    }
}
