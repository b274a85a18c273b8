//! [`check_btf_ext`]: objects with `.BTF` and `.BTF.ext` that are made up, and a known place for every record.

use std::vec;
use std::vec::Vec;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::check_object;
use super::elf_file::{EXECUTABLE, PROGBITS, REL, STRTAB, SYMTAB, Section, Writer, file};
use crate::bpf::{Bpf, Endian, Insn, encode};
use crate::elf::{CodeSection, Object, R_BPF_64_NODYLD32};
use crate::{Arena, Handle, List};

/// An object with the tables of `.BTF.ext`, and edits to its code.
#[derive(Clone, Debug)]
pub struct BtfExtCase {
    endian: Endian,
    types: Vec<Type>,
    strings: Vec<u8>,
    code: [Code; 2],
    /// By how many words the records of each table are longer than they first were.
    longer: [u8; 3],
    header: Header,
    /// In which order the tables stand.
    order: [usize; 3],
    /// Whether each record has a relocation.
    relocated: bool,
    /// Bytes of `.BTF` or `.BTF.ext` that are something else in the end.
    damage: Vec<(bool, u16, u8)>,
    /// After which instructions of the first section a no-op is put in.
    appended: Vec<u8>,
}

/// How long the header of `.BTF.ext` is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Arbitrary)]
enum Header {
    /// As it first was, without CO-RE.
    Short,
    Usual,
    /// With fields that nobody knows, which are 0, or are not.
    Long(bool),
}

#[derive(Clone, Copy, Debug, Arbitrary)]
struct Type {
    name: u8,
    kind: u8,
    vlen: u8,
    of: u8,
    seed: u8,
}

/// A code section, and the records of the three tables for it.
#[derive(Clone, Debug)]
struct Code {
    insns: Vec<Insn>,
    records: [Vec<Record>; 3],
}

#[derive(Clone, Copy, Debug, Arbitrary)]
struct Record {
    at: u8,
    fields: [u8; 3],
}

/// The lengths of records as they first were.
const RECORD: [usize; 3] = [8, 16, 16];
const NAMES: [&str; 2] = [".text", "xdp"];
/// Not a jump over nothing: at the end of the program that would have no place to go.
const NOP: Insn = Insn::mov64_imm(9, 0);

impl<'a> Arbitrary<'a> for BtfExtCase {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let endian = if u.ratio(1, 4)? { Endian::Big } else { Endian::Little };
        let order = *u.choose(&[[0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]])?;
        let header = if u.ratio(3, 4)? { Header::Usual } else { u.arbitrary()? };
        let longer = if u.ratio(3, 4)? { [0; 3] } else { u.arbitrary::<[u8; 3]>()?.map(|by| by % 4) };
        let relocated = u.arbitrary()?;
        let code = [code(u)?, code(u)?];
        let appended = some(u, 6)?;
        let types = some(u, 12)?;
        let damage = if u.ratio(1, 2)? { some(u, 4)? } else { Vec::new() };
        let strings = u.bytes(u.len().min(64))?.to_vec();
        Ok(Self { endian, types, strings, code, longer, header, order, relocated, damage, appended })
    }
}

/// Up to `most` values.
fn some<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>, most: usize) -> Result<Vec<T>> {
    let len = u.int_in_range(0..=most)?;
    (0..len).map(|_| u.arbitrary()).collect()
}

fn code(u: &mut Unstructured<'_>) -> Result<Code> {
    let mut insns = Vec::new();
    for _ in 0..u.int_in_range(0..=10)? {
        match u.int_in_range(0..=4)? {
            0 => insns.extend(Insn::ld_imm64_kind(1, 0, 7, 0)),
            1 => insns.push(Insn::mov64_imm(2, 3)),
            2 => insns.push(Insn::jmp_imm(0x10, 1, 0, 0)),
            3 => insns.extend([Insn::mov64_imm(0, 0), Insn::exit()]),
            _ => insns.push(Insn::new(0x61, 1, 1, 4, 0)),
        }
    }
    insns.extend([Insn::mov64_imm(0, 0), Insn::exit()]);
    let mut records: [Vec<Record>; 3] = [some(u, 6)?, some(u, 8)?, some(u, 4)?];
    let starts = starts(&insns);
    // A record of a function says where one starts: at the start, and after the end of another.
    let ends = |at: usize| at == 0 || insns[at - 1].is_exit();
    let functions: Vec<usize> = starts.iter().copied().filter(|&at| ends(at)).collect();
    for (table, starts) in records.iter_mut().zip([&functions, &starts, &starts]) {
        for record in &mut *table {
            let start = starts[usize::from(record.at) % starts.len()];
            record.at = u8::try_from(start).expect("few slots");
        }
        table.sort_by_key(|record| record.at);
        if starts.len() == functions.len()
            && let Some(first) = table.first_mut()
        {
            first.at = 0;
        }
        table.dedup_by_key(|record| record.at);
    }
    Ok(Code { insns, records })
}

/// The slots where instructions start.
fn starts(insns: &[Insn]) -> Vec<usize> {
    let inside = |at: &usize| *at != 0 && insns[at - 1].is_wide();
    (0..insns.len()).filter(|at| !inside(at)).collect()
}

impl Type {
    /// A kind, and how many words come behind the common ones.
    fn shape(self) -> (usize, usize, usize) {
        let (kind, vlen) = (1 + usize::from(self.kind) % 19, usize::from(self.vlen) % 5);
        match kind {
            1 | 14 | 17 => (kind, 0, 1),
            3 => (kind, 0, 3),
            4 | 5 | 15 | 19 => (kind, vlen, vlen * 3),
            6 | 13 => (kind, vlen, vlen * 2),
            _ => (kind, 0, 0),
        }
    }
}

impl BtfExtCase {
    /// The table of strings: nothing, the names of the sections, what was made up, each with a NUL behind it.
    fn strings(&self) -> Vec<u8> {
        let mut strings = vec![0];
        for name in NAMES {
            strings.extend(name.bytes().chain([0]));
        }
        strings.extend(&self.strings);
        strings.push(0);
        strings
    }

    fn btf(&self) -> Vec<u8> {
        let mut types = Writer::new(self.endian);
        for of in &self.types {
            let (kind, vlen, words) = of.shape();
            types.word(of.name.into()).word(kind << 24 | vlen).word(of.of.into());
            (0..words).for_each(|at| _ = types.word(at * usize::from(of.seed) % 13));
        }
        let strings = self.strings();
        let mut out = Writer::new(self.endian);
        out.put::<2>(0xeb9f).put::<1>(1).put::<1>(0).word(24);
        out.word(0).word(types.bytes.len()).word(types.bytes.len()).word(strings.len());
        out.bytes.extend(types.bytes.into_iter().chain(strings));
        out.bytes
    }

    fn has_core(&self) -> bool {
        self.header != Header::Short
    }

    /// `.BTF.ext`, and its relocations.
    fn btf_ext(&self) -> (Vec<u8>, Vec<u8>) {
        let mut body = Writer::new(self.endian);
        let mut relocs = Writer::new(self.endian);
        let header = match self.header {
            Header::Short => 24,
            Header::Usual => 32,
            Header::Long(_) => 40,
        };
        let mut places = [(0, 0); 3];
        for table in self.order.into_iter().filter(|&table| table != 2 || self.has_core()) {
            let start = body.bytes.len();
            for (section, code) in self.code.iter().enumerate() {
                let records = &code.records[table];
                if records.is_empty() {
                    continue;
                }
                let longer = usize::from(self.longer[table]);
                if body.bytes.len() == start {
                    body.word(RECORD[table] + 4 * longer);
                }
                let name = 1 + NAMES[..section].iter().map(|name| name.len() + 1).sum::<usize>();
                body.word(name).word(records.len());
                for record in records {
                    // Each code section has a symbol of its own.
                    let info = (section as u64 + 1) << 32 | u64::from(R_BPF_64_NODYLD32);
                    relocs.put::<8>((header + body.bytes.len()) as u64).put::<8>(info);
                    body.word(usize::from(record.at) * 8);
                    let fields = record.fields.iter().take(RECORD[table] / 4 - 1);
                    fields.for_each(|&field| _ = body.word(field.into()));
                    (0..longer).for_each(|at| _ = body.word(at));
                }
            }
            places[table] = (start, body.bytes.len() - start);
        }
        let mut out = Writer::new(self.endian);
        out.put::<2>(0xeb9f).put::<1>(1).put::<1>(0).word(header);
        for (start, len) in places {
            out.word(start).word(len);
        }
        out.bytes.resize(header, 0);
        if self.header == Header::Long(true) {
            out.bytes[header - 1] = 1;
        }
        out.bytes.extend(body.bytes);
        (out.bytes, relocs.bytes)
    }

    fn file(&self) -> Vec<u8> {
        let (mut btf, (mut ext, relocs)) = (self.btf(), self.btf_ext());
        for &(which, at, byte) in &self.damage {
            let data = if which { &mut btf } else { &mut ext };
            let at = usize::from(at) % data.len();
            data[at] = byte;
        }
        let section = |name, kind, data| Section { name, kind, data, ..Section::default() };
        let mut sections: Vec<Section> = NAMES
            .iter()
            .zip(&self.code)
            .map(|(name, code)| Section {
                flags: EXECUTABLE,
                ..section(name, PROGBITS, encode(&code.insns, self.endian))
            })
            .collect();
        sections.push(section(".BTF", PROGBITS, btf));
        sections.push(section(".BTF.ext", PROGBITS, ext));
        let mut symbols = Writer::new(self.endian);
        symbols.bytes.resize(24, 0);
        for section in 1..=NAMES.len() {
            // A symbol of the section, without a name.
            symbols.word(0).put::<1>(3).put::<1>(0).put::<2>(section as u64).put::<8>(0).put::<8>(0);
        }
        let strings = Section { name: ".strtab", kind: STRTAB, data: vec![0], ..Section::default() };
        sections.push(strings);
        let link = u32::try_from(sections.len()).expect("few sections");
        sections.push(Section { link, info: 3, entsize: 24, ..section(".symtab", SYMTAB, symbols.bytes) });
        if self.relocated && !relocs.is_empty() {
            let of = Section { link: link + 1, info: 4, entsize: 16, ..section(".rel.BTF.ext", REL, relocs) };
            sections.push(of);
        }
        file(self.endian, sections)
    }
}

/// Makes the object, and looks for each type and record where it should be, before edits and after.
///
/// # Panics
///
/// If one is elsewhere, or an object with damage is not refused or survived.
pub fn check_btf_ext(case: &BtfExtCase) {
    let file = case.file();
    check_object(&file);
    if !case.damage.is_empty() {
        return;
    }
    let mut object = Object::parse(&file).expect("nothing is wrong with it");
    let btf = object.btf().expect("there is one");
    assert_eq!(btf.last_type() as usize, case.types.len(), "types");
    let strings = case.strings();
    for (id, of) in (1..).zip(&case.types) {
        let name = strings.get(usize::from(of.name)..).and_then(|rest| rest.split(|&byte| byte == 0).next());
        let name = name.and_then(|name| str::from_utf8(name).ok()).filter(|name| !name.is_empty());
        assert_eq!(btf.name(id), name, "name of type {id}");
        assert_eq!(btf.function(id), name.filter(|_| of.shape().0 == 12), "function of type {id}");
    }
    compare(case, &object, &[]);

    let arena = Arena::new();
    let insns = &case.code[0].insns;
    let mut list = List::<Bpf>::new(&arena, insns).expect("a program");
    let starts = starts(insns);
    let mut after = Vec::new();
    for &at in &case.appended {
        let at = u32::try_from(starts[usize::from(at) % starts.len()]).expect("few slots");
        list.append(Handle::new(at), &[NOP][..]).expect("an instruction");
        after.push(at);
    }
    let out = list.linearize().expect("jumps lead where they led");
    let edited = object.replace_code(0, out.units, &out.map);
    if case.header == Header::Long(true) && !after.is_empty() {
        assert!(edited.is_err(), "a field that is not known");
        return compare(case, &object, &[]);
    }
    // A jump over a no-op has another displacement then, and CO-RE has nothing to do with jumps.
    let core = &case.code[0].records[2];
    if case.has_core() && core.iter().any(|record| insns[usize::from(record.at)].is_jump()) && edited.is_err()
    {
        return compare(case, &object, &[]);
    }
    edited.expect("nothing stands in the way");
    compare(case, &object, &after);
    let written = object.write().expect("nothing stands in the way");
    compare(case, &Object::parse(&written).expect("it was written"), &after);
    check_object(&written);
}

/// Where a record is, and its fields.
type Placed = (u32, [u32; 3]);

/// Compares all records with those of the case, after a no-op was put behind each of `after` in the first section.
fn compare(case: &BtfExtCase, object: &Object<'_>, after: &[u32]) {
    for (index, (code, expected)) in object.code().iter().zip(&case.code).enumerate() {
        let at = |record: &Record| {
            let slot = u32::from(record.at);
            let before = if index == 0 { after.iter().filter(|&&at| at < slot).count() } else { 0 };
            slot + u32::try_from(before).expect("few edits")
        };
        let records = |table: usize| -> Vec<Placed> {
            let fields = |record: &Record| record.fields.map(u32::from);
            expected.records[table].iter().map(|record| (at(record), fields(record))).collect()
        };
        let expected = [records(0), records(1), if case.has_core() { records(2) } else { Vec::new() }];
        assert_eq!(found(code, &expected), expected, "records of section {index}");
    }
}

/// The records of a section, in the shape of those of a case.
fn found(code: &CodeSection, expected: &[Vec<Placed>; 3]) -> [Vec<Placed>; 3] {
    let funcs = code.func_info().enumerate().map(|(index, record)| {
        // Two of the fields are those of other tables only.
        let [_, b, c] = expected[0].get(index).map_or([0; 3], |record| record.1);
        (record.slot, [record.type_id, b, c])
    });
    let lines = code
        .line_info()
        .map(|record| (record.slot, [record.file_name, record.text, record.line << 10 | record.column]));
    let accesses =
        code.core_relos().map(|record| (record.slot, [record.type_id, record.access, record.kind]));
    [funcs.collect(), lines.collect(), accesses.collect()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_record_in_code_that_goes_from_the_end_goes_too() {
        let record = |at| Record { at, fields: [0; 3] };
        let insns = vec![Insn::mov64_imm(0, 0), Insn::exit(), Insn::mov64_imm(1, 0)];
        let code = Code { insns, records: [vec![record(0), record(2)], Vec::new(), Vec::new()] };
        let other = Code { insns: vec![Insn::exit()], records: Default::default() };
        let case = BtfExtCase {
            endian: Endian::Little,
            types: Vec::new(),
            strings: Vec::new(),
            code: [code, other],
            longer: [0; 3],
            header: Header::Usual,
            order: [0, 1, 2],
            relocated: false,
            damage: Vec::new(),
            appended: Vec::new(),
        };
        let file = case.file();
        let mut object = Object::parse(&file).unwrap();
        let arena = Arena::new();
        let mut list = List::<Bpf>::new(&arena, &case.code[0].insns).unwrap();
        list.delete(Handle::new(2)).unwrap();
        let out = list.linearize().unwrap();
        object.replace_code(0, out.units, &out.map).unwrap();
        let written = object.write().unwrap();
        let again = Object::parse(&written).unwrap();
        let slots: Vec<u32> = again.code()[0].func_info().map(|record| record.slot).collect();
        assert_eq!(slots, [0]);
    }
}
