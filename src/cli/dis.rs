//! `relinear dis`: prints the code of an object.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::ops::Range;

use relinear::Isa as _;
use relinear::bpf::dis::{Names, dis_with};
use relinear::bpf::opcode::CALL_LOCAL;
use relinear::bpf::{Bpf, Endian, Insn};
use relinear::elf::{
    CodeSection, CoreRelo, LineInfo, Name, Object, R_BPF_64_32, Referent, Relocation, SourceLine, Text,
};
use serde::{Serialize, Serializer};

use super::args::DisArgs;
use super::failure::Failure;
use super::input;
use super::place::{LineJson, TextJson};
use super::print::{self, Line, Style};

pub(super) fn run(args: &DisArgs) -> Result<(), Failure> {
    let input = input::read(&args.input)?;
    let object =
        Object::parse(&input.bytes).map_err(|error| Failure::Work(format!("{}: {error}", input.name)))?;
    let view = ObjectView { object: &object, args, symbols: RefCell::default() };
    if view.sections().next().is_none() && !(args.function.is_empty() && args.section.is_empty()) {
        let asked: Vec<&str> = args.section.iter().chain(&args.function).map(String::as_str).collect();
        return Err(Failure::Work(format!("{}: nothing here is called {}", input.name, asked.join(", "))));
    }
    if args.json {
        let endian = if object.endian() == Endian::Big { "big" } else { "little" };
        let shown = ObjectJson { file: &input.name, endian, sections: SectionsJson(&view) };
        return print::to_stdout(|out| print::json(out, &shown));
    }
    let style = Style::of_stdout();
    print::to_stdout(|out| view.sections().try_for_each(|section| section.print(out, style)))
}

#[derive(Serialize)]
struct ObjectJson<'a> {
    file: &'a str,
    endian: &'static str,
    sections: SectionsJson<'a>,
}

/// The sections, each worked out when it is written: the text of a large object is many times as long.
struct SectionsJson<'a>(&'a ObjectView<'a>);

impl Serialize for SectionsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.sections().map(|section| SectionJson {
            section: TextJson(section.section.name().into()),
            insns: InsnsJson(section),
        }))
    }
}

#[derive(Serialize)]
struct SectionJson<'a> {
    section: TextJson,
    insns: InsnsJson<'a>,
}

/// The instructions of a section, each worked out when it is written.
struct InsnsJson<'a>(SectionView<'a>);

impl Serialize for InsnsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.insns().map(|(slot, insn)| self.0.json(slot, insn)))
    }
}

#[derive(Serialize)]
struct InsnJson<'a> {
    slot: u32,
    bytes: String,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<TextJson<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_slot: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relocation: Option<RelocationJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core: Option<CoreJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<LineJson<'a>>,
}

#[derive(Serialize)]
struct RelocationJson {
    kind: &'static str,
    symbol: TextJson<String>,
}

#[derive(Serialize)]
struct CoreJson {
    kind: String,
    access: String,
}

/// An object, with the names of symbols that were asked for.
struct ObjectView<'a> {
    object: &'a Object<'a>,
    args: &'a DisArgs,
    /// Each is read once: many relocations may be against one symbol.
    symbols: RefCell<HashMap<usize, Name>>,
}

impl<'a> ObjectView<'a> {
    fn sections(&'a self) -> impl Iterator<Item = SectionView<'a>> {
        (0..self.object.code().len()).filter_map(|code| SectionView::new(self, code))
    }

    /// The slots of a section that are asked for.
    fn shown(&self, section: &CodeSection) -> Vec<Range<u32>> {
        let DisArgs { function, section: sections, .. } = self.args;
        if !sections.is_empty() && !sections.iter().any(|name| name == section.name()) {
            return Vec::new();
        }
        if function.is_empty() {
            return std::iter::once(0..len(section)).collect();
        }
        let asked =
            section.functions().iter().filter(|of| function.iter().any(|name| of.name == *name.as_str()));
        let mut shown: Vec<Range<u32>> =
            asked.map(|of| section.subprogram_range(section.subprogram_at(of.start))).collect();
        shown.dedup();
        shown
    }

    fn symbol_name(&self, symbol: usize) -> Name {
        let mut symbols = self.symbols.borrow_mut();
        symbols.entry(symbol).or_insert_with(|| Name::from(&*self.object.symbol_name(symbol))).clone()
    }
}

/// A code section, with what is known of its slots in the order in which to print it.
struct SectionView<'a> {
    view: &'a ObjectView<'a>,
    object: &'a Object<'a>,
    code: usize,
    section: &'a CodeSection,
    /// By slot.
    relocations: BTreeMap<u32, Relocation>,
    core: BTreeMap<u32, CoreRelo>,
    lines: BTreeMap<u32, LineInfo>,
    /// The slots that jumps lead to, with their numbers.
    labels: BTreeMap<u32, usize>,
    /// The slots to show.
    shown: Vec<Range<u32>>,
}

impl<'a> SectionView<'a> {
    /// `None` if nothing of the section is asked for.
    fn new(view: &'a ObjectView<'a>, code: usize) -> Option<Self> {
        let object = view.object;
        let section = &object.code()[code];
        let shown = view.shown(section);
        if shown.is_empty() {
            return None;
        }
        let mut labels = BTreeMap::new();
        for (slot, insn) in section.insns(0..len(section)) {
            if let Some(target) = target(slot, insn).filter(|_| insn[0].is_jump()) {
                labels.insert(target, 0);
            }
        }
        for (number, label) in labels.values_mut().enumerate() {
            *label = number + 1;
        }
        Some(Self {
            view,
            object,
            code,
            section,
            relocations: section.relocations().iter().map(|of| (of.slot, *of)).collect(),
            core: section.core_relos().map(|of| (of.slot, of)).collect(),
            lines: section.line_info().map(|of| (of.slot, of)).collect(),
            labels,
            shown,
        })
    }

    /// The instructions to show.
    fn insns(&self) -> impl Iterator<Item = (u32, &'a [Insn])> {
        let section: &'a CodeSection = self.section;
        self.shown.iter().flat_map(move |range| section.insns(range.clone()))
    }

    /// The names of the functions that start at a slot.
    fn functions(&self, slot: u32) -> impl Iterator<Item = &'a Name> {
        let section: &'a CodeSection = self.section;
        let functions = section.functions();
        let first = functions.partition_point(|function| function.start < slot);
        let here = functions[first..].iter().take_while(move |function| function.start == slot);
        here.map(|function| &function.name)
    }

    fn label(&self, slot: u32) -> Option<String> {
        self.labels.get(&slot).map(|number| format!("L{number}"))
    }

    fn line(&self, slot: u32) -> Option<SourceLine<'a>> {
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
        let symbol = self.view.symbol_name(relocation.symbol);
        let cut = |name: &str| Text::new(name).cut().into_owned();
        match self.object.referent(self.code, relocation) {
            Referent::Code { code, slot } => match self.function_at(code, slot) {
                Some(function) => cut(function),
                None => format!("{}+{slot:#x}", Text::new(self.object.code()[code].name()).cut()),
            },
            Referent::Data { section, offset } if symbol.is_empty() => with_offset(cut(&section), offset),
            _ => cut(&symbol),
        }
    }

    fn function_at(&self, code: usize, slot: u32) -> Option<&'a Name> {
        let functions = self.object.code()[code].functions();
        let first = functions.partition_point(|function| function.start < slot);
        let function = functions.get(first).filter(|function| function.start == slot);
        function.map(|function| &function.name)
    }

    fn core_access(&self, core: &CoreRelo) -> CoreJson {
        let access = || self.object.btf()?.access(core);
        let kind =
            CORE_KINDS.get(core.kind as usize).map_or_else(|| core.kind.to_string(), ToString::to_string);
        CoreJson { kind, access: access().unwrap_or_else(|| format!("type {}", core.type_id)) }
    }

    fn json(&self, slot: u32, insn: &[Insn]) -> InsnJson<'a> {
        InsnJson {
            slot,
            bytes: self.bytes(slot, insn),
            text: self.text(slot, insn),
            function: self.functions(slot).next().map(|name| TextJson(name.as_str())),
            label: self.label(slot),
            target_slot: target(slot, insn),
            relocation: self.relocations.get(&slot).map(|relocation| RelocationJson {
                kind: kind_name(relocation),
                symbol: TextJson(self.referent(relocation)),
            }),
            core: self.core.get(&slot).map(|core| self.core_access(core)),
            line: self.line(slot).map(LineJson::from),
        }
    }

    fn print(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        writeln!(out, "{}", style.title(format_args!("section {:?}", self.section.name())))?;
        let mut shown = None;
        for (slot, insn) in self.insns() {
            for function in self.functions(slot) {
                writeln!(out, "\n{}", style.title(format_args!("{function}:")))?;
                shown = None;
            }
            if let Some(line) = self.line(slot) {
                let source = Text::new(&line.text).cut().replace('\t', " ");
                let text = format!("; {line}  {}", Text::new(&source));
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
        let (mut bytes, text) = (self.bytes(slot, insn), self.text(slot, insn));
        if self.view.args.no_bytes {
            bytes.clear();
        }
        let first = &bytes[..bytes.len().min(16)];
        let gap = if bytes.is_empty() { "" } else { "  " };
        if beside.is_empty() {
            writeln!(out, "{slot:6}  {first}{gap}{}", Line(text))?;
        } else {
            writeln!(
                out,
                "{slot:6}  {first}{gap}{:<36}  {}",
                Line(text).to_string(),
                style.aside(format_args!("; {beside}"))
            )?;
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
            self.view.label(target).map(Cow::Owned)
        } else {
            self.view.function_at(self.view.code, target).map(|name| Cow::Borrowed(name.as_str()))
        };
        match name {
            Some(name) => write!(f, "{}", Text::new(&name)).map(|()| true),
            None => Ok(false),
        }
    }

    fn callee(&self, _: Insn, f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        let Some(relocation) = self.relocation else { return Ok(false) };
        write!(f, "{}", Text::new(&self.view.referent(relocation))).map(|()| true)
    }

    fn imm64(&self, insn: [Insn; 2], f: &mut fmt::Formatter<'_>) -> Result<bool, fmt::Error> {
        let Some(relocation) = self.relocation else { return Ok(false) };
        let view = self.view;
        let name = match view.object.referent(view.code, relocation) {
            Referent::Data { .. } if !view.view.symbol_name(relocation.symbol).is_empty() => {
                with_offset(view.referent(relocation), insn[0].imm.into())
            }
            _ => view.referent(relocation),
        };
        write!(f, "{}", Text::new(&name)).map(|()| true)
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
    let target = (Bpf.fields(insn) != 0).then(|| i64::from(slot) + Bpf.base(insn, 0) + Bpf.read(insn, 0));
    u32::try_from(target?).ok()
}

fn len(section: &CodeSection) -> u32 {
    u32::try_from(section.program().insns.len()).unwrap_or(u32::MAX)
}
