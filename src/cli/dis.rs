//! `relinear dis`: prints the code of an object.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::{self, Write};

use relinear::Isa as _;
use relinear::bpf::dis::{Names, dis_with};
use relinear::bpf::opcode::CALL_LOCAL;
use relinear::bpf::{Bpf, Endian, Insn};
use relinear::elf::{CodeSection, CoreRelo, LineInfo, Object, R_BPF_64_32, Referent, Relocation, SourceLine};
use serde::Serialize;

use super::args::DisArgs;
use super::failure::Failure;
use super::input;
use super::place::LineJson;
use super::print::{self, Style};

pub(super) fn run(args: &DisArgs) -> Result<(), Failure> {
    let input = input::read(&args.input)?;
    let object =
        Object::parse(&input.bytes).map_err(|error| Failure::Work(format!("{}: {error}", input.name)))?;
    if args.json {
        let endian = if object.endian() == Endian::Big { "big" } else { "little" };
        let sections = (0..object.code().len()).map(|code| SectionView::new(&object, code).json()).collect();
        let shown = ObjectJson { file: &input.name, endian, sections };
        return print::to_stdout(|out| print::json(out, &shown));
    }
    let style = Style::of_stdout();
    print::to_stdout(|out| {
        for code in 0..object.code().len() {
            SectionView::new(&object, code).print(out, style)?;
        }
        Ok(())
    })
}

#[derive(Serialize)]
struct ObjectJson<'a> {
    file: &'a str,
    endian: &'static str,
    sections: Vec<SectionJson>,
}

#[derive(Serialize)]
struct SectionJson {
    section: String,
    insns: Vec<InsnJson>,
}

#[derive(Serialize)]
struct InsnJson {
    slot: u32,
    bytes: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_slot: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relocation: Option<RelocationJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core: Option<CoreJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<LineJson>,
}

#[derive(Serialize)]
struct RelocationJson {
    kind: &'static str,
    symbol: String,
}

#[derive(Serialize)]
struct CoreJson {
    kind: String,
    access: String,
}

/// A code section, with what is known of its slots in the order in which to print it.
struct SectionView<'a> {
    object: &'a Object<'a>,
    code: usize,
    section: &'a CodeSection,
    /// By slot.
    relocations: BTreeMap<u32, Relocation>,
    core: BTreeMap<u32, CoreRelo>,
    lines: BTreeMap<u32, LineInfo>,
    /// The slots that jumps lead to, with their numbers.
    labels: BTreeMap<u32, usize>,
}

impl<'a> SectionView<'a> {
    fn new(object: &'a Object<'a>, code: usize) -> Self {
        let section = &object.code()[code];
        let mut labels = BTreeMap::new();
        for (slot, insn) in section.insns(0..len(section)) {
            if let Some(target) = target(slot, insn).filter(|_| insn[0].is_jump()) {
                labels.insert(target, 0);
            }
        }
        for (number, label) in labels.values_mut().enumerate() {
            *label = number + 1;
        }
        Self {
            object,
            code,
            section,
            relocations: section.relocations().iter().map(|of| (of.slot, *of)).collect(),
            core: section.core_relos().map(|of| (of.slot, of)).collect(),
            lines: section.line_info().map(|of| (of.slot, of)).collect(),
            labels,
        }
    }

    /// The names of the functions that start at a slot.
    fn functions(&self, slot: u32) -> impl Iterator<Item = &str> {
        let functions = self.section.functions();
        let first = functions.partition_point(|function| function.start < slot);
        let here = functions[first..].iter().take_while(move |function| function.start == slot);
        here.map(|function| function.name.as_str())
    }

    fn label(&self, slot: u32) -> Option<String> {
        self.labels.get(&slot).map(|number| format!("L{number}"))
    }

    fn line(&self, slot: u32) -> Option<SourceLine> {
        self.object.source_line(self.lines.get(&slot)?)
    }

    fn text(&self, slot: u32, insn: &[Insn]) -> String {
        let names = InsnNames { view: self, slot, relocation: self.relocations.get(&slot) };
        dis_with(insn, &names).to_string()
    }

    /// The bytes, as they are in the file.
    fn bytes(&self, slot: u32, insn: &[Insn]) -> String {
        let called = self.relocations.get(&slot).is_some_and(|relocation| relocation.kind == R_BPF_64_32);
        let mut text = String::new();
        for insn in insn {
            let insn = if called { insn.with_src(CALL_LOCAL) } else { *insn };
            for byte in insn.to_bytes(self.object.endian()) {
                let _ = write!(text, "{byte:02x}");
            }
        }
        text
    }

    /// What a relocation refers to.
    fn referent(&self, relocation: &Relocation) -> String {
        let symbol = self.object.symbol_name(relocation.symbol);
        match self.object.referent(self.code, relocation) {
            Referent::Code { code, slot } => self.function_at(code, slot).unwrap_or_else(|| {
                let section = self.object.code()[code].name();
                format!("{section}+{slot:#x}")
            }),
            Referent::Data { section, offset } if symbol.is_empty() => with_offset(section.into(), offset),
            _ => symbol.into_owned(),
        }
    }

    fn function_at(&self, code: usize, slot: u32) -> Option<String> {
        let functions = self.object.code()[code].functions();
        let first = functions.partition_point(|function| function.start < slot);
        let function = functions.get(first).filter(|function| function.start == slot);
        function.map(|function| function.name.clone())
    }

    fn core_access(&self, core: &CoreRelo) -> CoreJson {
        let access = || self.object.btf()?.access(core);
        let kind =
            CORE_KINDS.get(core.kind as usize).map_or_else(|| core.kind.to_string(), ToString::to_string);
        CoreJson { kind, access: access().unwrap_or_else(|| format!("type {}", core.type_id)) }
    }

    fn json(&self) -> SectionJson {
        let insns = self.section.insns(0..len(self.section)).map(|(slot, insn)| InsnJson {
            slot,
            bytes: self.bytes(slot, insn),
            text: self.text(slot, insn),
            function: self.functions(slot).next().map(ToOwned::to_owned),
            label: self.label(slot),
            target_slot: target(slot, insn),
            relocation: self.relocations.get(&slot).map(|relocation| RelocationJson {
                kind: kind_name(relocation),
                symbol: self.referent(relocation),
            }),
            core: self.core.get(&slot).map(|core| self.core_access(core)),
            line: self.line(slot).map(LineJson::from),
        });
        SectionJson { section: self.section.name().to_owned(), insns: insns.collect() }
    }

    fn print(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(out, "{}", style.title(format_args!("section {:?}", self.section.name())))?;
        let mut shown = None;
        for (slot, insn) in self.section.insns(0..len(self.section)) {
            for function in self.functions(slot) {
                writeln!(out, "\n{}", style.title(format_args!("{function}:")))?;
                shown = None;
            }
            if let Some(line) = self.line(slot) {
                let text = format!("; {line}  {}", line.text);
                if shown.as_ref() != Some(&text) {
                    writeln!(out, "{}", style.aside(&text))?;
                    shown = Some(text);
                }
            }
            if let Some(label) = self.label(slot) {
                writeln!(out, "{label}:")?;
            }
            self.print_insn(out, style, slot, insn)?;
        }
        writeln!(out)
    }

    fn print_insn(&self, out: &mut dyn Write, style: Style, slot: u32, insn: &[Insn]) -> io::Result<()> {
        let mut beside = String::new();
        if let Some(relocation) = self.relocations.get(&slot) {
            let _ = write!(beside, "{} {}", kind_name(relocation), self.referent(relocation));
        }
        if let Some(core) = self.core.get(&slot) {
            let CoreJson { kind, access } = self.core_access(core);
            let _ = write!(beside, "CO-RE {kind} {access}");
        }
        let (bytes, text) = (self.bytes(slot, insn), self.text(slot, insn));
        let first = &bytes[..bytes.len().min(16)];
        if beside.is_empty() {
            writeln!(out, "{slot:6}  {first}  {text}")?;
        } else {
            writeln!(out, "{slot:6}  {first}  {text:<36}  {}", style.aside(format_args!("; {beside}")))?;
        }
        match bytes.get(16..) {
            Some(second) if !second.is_empty() => writeln!(out, "        {second}"),
            _ => Ok(()),
        }
    }
}

/// Names for the operands of one instruction.
struct InsnNames<'a> {
    view: &'a SectionView<'a>,
    slot: u32,
    relocation: Option<&'a Relocation>,
}

impl Names for InsnNames<'_> {
    fn target(&self, displacement: i64, f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        let target = i64::from(self.slot) + 1 + displacement;
        let Ok(target) = u32::try_from(target) else { return Ok(false) };
        let insn = self.view.section.program().insns[self.slot as usize];
        let name = if insn.is_jump() {
            self.view.label(target)
        } else {
            self.view.function_at(self.view.code, target)
        };
        name.map_or(Ok(false), |name| f.write_str(&name).map(|()| true))
    }

    fn callee(&self, _: Insn, f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        let Some(relocation) = self.relocation else { return Ok(false) };
        f.write_str(&self.view.referent(relocation)).map(|()| true)
    }

    fn imm64(&self, insn: [Insn; 2], f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        let Some(relocation) = self.relocation else { return Ok(false) };
        let view = self.view;
        let name = match view.object.referent(view.code, relocation) {
            Referent::Data { .. } if !view.object.symbol_name(relocation.symbol).is_empty() => {
                with_offset(view.referent(relocation), insn[0].imm.into())
            }
            _ => view.referent(relocation),
        };
        f.write_str(&name).map(|()| true)
    }
}

/// The names that libbpf has for `enum bpf_core_relo_kind`.
const CORE_KINDS: [&str; 13] = [
    "byte_off",
    "byte_sz",
    "field_exists",
    "signed",
    "lshift_u64",
    "rshift_u64",
    "local_type_id",
    "target_type_id",
    "type_exists",
    "type_size",
    "enumval_exists",
    "enumval_value",
    "type_matches",
];

fn kind_name(relocation: &Relocation) -> &'static str {
    if relocation.kind == R_BPF_64_32 { "R_BPF_64_32" } else { "R_BPF_64_64" }
}

fn with_offset(mut name: String, offset: i64) -> String {
    if offset != 0 {
        let sign = if offset < 0 { '-' } else { '+' };
        let _ = write!(name, "{sign}{:#x}", offset.unsigned_abs());
    }
    name
}

/// Where the displacement of the instruction at `slot` leads, if it has one.
fn target(slot: u32, insn: &[Insn]) -> Option<u32> {
    let target = (Bpf::fields(insn) != 0).then(|| i64::from(slot) + Bpf::base(insn, 0) + Bpf::read(insn, 0));
    u32::try_from(target?).ok()
}

fn len(section: &CodeSection) -> u32 {
    u32::try_from(section.program().insns.len()).unwrap_or(u32::MAX)
}
