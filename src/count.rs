//! Counts how often the functions of an object are entered and left, and how long they take.
//!
//! Each function gets counters of 8 bytes in the section `.data.relinear`, which loaders make a map of. They are
//! incremented atomically, so that no run is lost on any number of processors.
//!
//! ```
//! use relinear::count::{self, Options};
//! use relinear::elf::Object;
//! use relinear::Arena;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/subprogs.o"))?;
//! let mut object = Object::parse(&file)?;
//! let arena = Arena::new();
//! let mut edit = object.edit(&arena);
//! let report = count::run(&mut edit, &Options { exits: true, ..Options::default() })?;
//! let change = edit.finish()?;
//! object.commit(change)?;
//! assert!(report.functions.iter().all(|function| function.skipped.is_none()));
//!
//! // Later, out of the value of the map: here all counters are zero.
//! let counters = count::counters(&object);
//! let bytes = vec![0; 8 * counters.len()];
//! let rows = count::read(&counters, &bytes, object.endian());
//! assert_eq!(rows.len(), report.functions.len());
//! assert_eq!(rows[0].entries, Some(0));
//! # Ok(())
//! # }
//! ```

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::bpf::opcode::{ADD, ATOMIC, DW, FRAME_POINTER, STX, SUB};
use crate::bpf::scratch::{Claim, Place, Request, Scratch, ScratchError};
use crate::bpf::{Cfg, CfgError, Endian, Insn, RegSet, is_tail_call};
use crate::core::{Handle, Patch};
use crate::elf::{
    self, DATA_SECTION, Data, ElfError, Object, ObjectEditor, Reference, Surroundings, SymbolId,
};

/// What is counted beside entries.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// Count exits, too.
    pub exits: bool,
    /// Sum up the nanoseconds between entry and exit, by `bpf_ktime_get_ns`.
    pub time: bool,
}

/// What was made to be counted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The functions, in the order of the object.
    pub functions: Vec<Function>,
}

/// A function that is counted.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Function {
    /// The name of its section.
    pub section: String,
    /// Its name; without a symbol, its section and where in it, in slots.
    pub name: String,
    /// How many instructions leave it, of those that are counted.
    pub exits: u32,
    /// Whether its time is counted.
    pub time: bool,
    /// How many tail calls it makes. One that succeeds never comes to an exit.
    pub tail_calls: u32,
    /// Why its time, which was asked for, is not counted.
    pub skipped: Option<ScratchError>,
}

/// Why an object does not get counters.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CountError {
    /// The code of a section has no control flow graph.
    Cfg {
        /// The name of the section.
        section: String,
        /// What is wrong with it.
        error: CfgError,
    },
    /// There are no registers for a counter.
    Scratch {
        /// The instruction.
        place: Box<elf::Place>,
        /// Why.
        error: ScratchError,
    },
    /// The object refuses.
    Elf(ElfError),
}

impl fmt::Display for CountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cfg { section, error } => write!(f, "section {section:?}: {error}"),
            Self::Scratch { place, error } => write!(f, "{place}: {}", error.reason),
            Self::Elf(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for CountError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Cfg { error, .. } => Some(error),
            Self::Scratch { error, .. } => Some(error),
            Self::Elf(error) => Some(error),
        }
    }
}

impl From<ElfError> for CountError {
    fn from(error: ElfError) -> Self {
        Self::Elf(error)
    }
}

/// What a counter counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum What {
    /// Entries of the function.
    Entries,
    /// Exits from it.
    Exits,
    /// Nanoseconds between an entry and an exit.
    Nanoseconds,
}

impl What {
    const ALL: [Self; 3] = [Self::Entries, Self::Exits, Self::Nanoseconds];

    /// What the names of counters begin with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Entries => "relinear.entries.",
            Self::Exits => "relinear.exits.",
            Self::Nanoseconds => "relinear.ns.",
        }
    }
}

/// The number of the helper `bpf_ktime_get_ns`, which takes no arguments.
const KTIME_GET_NS: i32 = 5;

/// Adds counters to all functions of the object.
///
/// Entries are counted on calls, not on jumps back to the first instruction. With `--time`, `r1` to `r5` at the entry and
/// `r0` at exits survive the calls of the clock.
///
/// O(size of the object).
///
/// # Errors
///
/// [`CountError`]. The edit is then to be thrown away.
pub fn run(edit: &mut ObjectEditor<'_, '_>, options: &Options) -> Result<Report, CountError> {
    let object = edit.object();
    let named = |code: usize| object.code()[code].name().to_string();
    let graph_error = |(code, error)| CountError::Cfg { section: named(code), error };
    let surroundings = Surroundings::new(object).map_err(graph_error)?;
    let mut report = Report::default();
    let mut used = Names::default();
    for code in 0..object.code().len() {
        let program = object.code()[code].program();
        if program.insns.is_empty() {
            continue;
        }
        let cfg = Cfg::new(program).map_err(|error| graph_error((code, error)))?;
        let scratch = Scratch::new(program, &cfg, surroundings.context(code));
        let mut counting = Counting { edit: &mut *edit, code, cfg: &cfg, scratch, names: &mut used };
        let parts = object.code()[code].parts();
        // What cannot be analysed is left as it stands.
        for subprog in (0..cfg.subprogs()).filter(|&subprog| parts[subprog as usize].is_analysed()) {
            report.functions.push(counting.function(subprog, *options)?);
        }
    }
    Ok(report)
}

/// Names for counters, none of them twice: there may be two static functions of one name.
#[derive(Default)]
struct Names {
    used: BTreeMap<String, u32>,
}

impl Names {
    fn unique(&mut self, name: &str) -> String {
        let count = self.used.entry(name.to_string()).or_default();
        *count += 1;
        if *count == 1 { name.to_string() } else { format!("{name}#{count}") }
    }
}

/// One code section on its way to be counted.
struct Counting<'e, 'o, 'd> {
    edit: &'e mut ObjectEditor<'o, 'd>,
    code: usize,
    cfg: &'e Cfg,
    scratch: Scratch<'e>,
    names: &'e mut Names,
}

/// Where the time of an entry is kept until the function is left.
#[derive(Clone, Copy)]
enum Start {
    Register(u8),
    Slot(i16),
}

/// A function whose time is counted.
struct Timed {
    start: Start,
    entry: Claim,
    /// For each exit.
    exits: Vec<Claim>,
}

impl Counting<'_, '_, '_> {
    fn function(&mut self, subprog: u32, options: Options) -> Result<Function, CountError> {
        let section = &self.edit.object().code()[self.code];
        let program = section.program();
        let blocks = &self.cfg.blocks()
            [self.cfg.blocks_of(subprog).start as usize..self.cfg.blocks_of(subprog).end as usize];
        let first = blocks[0].start;
        let insns = || blocks.iter().flat_map(|block| block.insns(program));
        let exits: Vec<u32> = insns().filter(|&at| program.insns[at as usize].is_exit()).collect();
        let tail_calls = insns().filter(|&at| is_tail_call(program.insns[at as usize])).count();
        let name = match section.function_name(first) {
            Some(name) => name.to_string(),
            None => format!("{}+{first}", section.name()),
        };
        let section = section.name().to_string();
        let name = self.names.unique(&name);
        let (timed, skipped) = match options.time.then(|| self.time(subprog, &exits)).transpose() {
            Ok(timed) => (timed, None),
            Err(error) => (None, Some(error)),
        };
        self.increment(Place::Entry(subprog), first, What::Entries, &name)?;
        if options.exits {
            let counter = self.counter(What::Exits, &name)?;
            for &at in &exits {
                self.add_one(Place::Before(at), at, counter)?;
            }
        }
        if let Some(timed) = &timed {
            self.insert_clock(first, &exits, timed, &name)?;
        }
        Ok(Function {
            section,
            name,
            exits: u32::try_from(exits.len()).unwrap_or(u32::MAX),
            time: timed.is_some(),
            tail_calls: u32::try_from(tail_calls).unwrap_or(u32::MAX),
            skipped,
        })
    }

    fn counter(&mut self, what: What, name: &str) -> Result<SymbolId, ElfError> {
        self.edit.add_data(&Data::zeroed(&format!("{}{name}", what.prefix()), 8))
    }

    fn increment(&mut self, place: Place, at: u32, what: What, name: &str) -> Result<(), CountError> {
        let counter = self.counter(what, name)?;
        self.add_one(place, at, counter)
    }

    /// Inserts code that adds one to a counter.
    fn add_one(&mut self, place: Place, at: u32, counter: SymbolId) -> Result<(), CountError> {
        let request = Request { registers: 2, ..Request::default() };
        let claim = self.scratch.claim(place, &request).map_err(|error| CountError::Scratch {
            place: Box::new(self.edit.object().place(self.code, at)),
            error,
        })?;
        let (address, one) = (claim.registers[0], claim.registers[1]);
        let [low, high] = Insn::ld_imm64(address, 0);
        let code = [low, high, Insn::mov64_imm(one, 1), add_to(address, one)];
        self.insert(place, at, &claim, &code, Some((0, counter)))
    }

    /// Finds what it takes to count the time of a function.
    fn time(&mut self, subprog: u32, exits: &[u32]) -> Result<Timed, ScratchError> {
        let start = match self.scratch.reserve_register(subprog) {
            Some(reg) => Start::Register(reg),
            None => Start::Slot(self.scratch.reserve(subprog)?),
        };
        let request = Request { clobbers: RegSet::CALLER_SAVED, ..Request::default() };
        let entry = self.scratch.claim(Place::Entry(subprog), &request)?;
        let exits = exits.iter().map(|&at| self.scratch.claim(Place::Before(at), &request));
        Ok(Timed { start, entry, exits: exits.collect::<Result<_, _>>()? })
    }

    fn insert_clock(
        &mut self,
        first: u32,
        exits: &[u32],
        timed: &Timed,
        name: &str,
    ) -> Result<(), CountError> {
        let counter = self.counter(What::Nanoseconds, name)?;
        let clock = Insn::call(KTIME_GET_NS);
        let keep = match timed.start {
            Start::Register(reg) => Insn::mov64_reg(reg, 0),
            Start::Slot(slot) => Insn::stx(DW, FRAME_POINTER, 0, slot),
        };
        let subprog = self.cfg.blocks()[self.cfg.block_at(first) as usize].subprog;
        self.insert(Place::Entry(subprog), first, &timed.entry, &[clock, keep], None)?;
        for (&at, claim) in exits.iter().zip(&timed.exits) {
            let (load, start) = match timed.start {
                Start::Register(reg) => (None, reg),
                Start::Slot(slot) => (Some(Insn::ldx(DW, 1, FRAME_POINTER, slot)), 1),
            };
            let [low, high] = Insn::ld_imm64(1, 0);
            let mut code: Vec<Insn> = [clock].into_iter().chain(load).collect();
            code.push(Insn::alu64_reg(SUB, 0, start));
            let reference = u32::try_from(code.len()).unwrap_or(u32::MAX);
            code.extend([low, high, add_to(1, 0)]);
            self.insert(Place::Before(at), at, claim, &code, Some((reference, counter)))?;
        }
        Ok(())
    }

    /// Inserts code with what has to stand around it. `counter` is loaded at the unit of the code.
    fn insert(
        &mut self,
        place: Place,
        at: u32,
        claim: &Claim,
        code: &[Insn],
        counter: Option<(u32, SymbolId)>,
    ) -> Result<(), CountError> {
        let units = [&claim.before[..], code, &claim.after].concat();
        let section = self.edit.object().code()[self.code].name().to_string();
        let fail = |error| ElfError::Code {
            section: section.as_str().into(),
            error: crate::bpf::EditError::Core(error),
        };
        let editor = self.edit.code(self.code)?;
        let (handle, patch) = (Handle::new(at), Patch::new(&units));
        let inserted = match place {
            Place::Entry(_) => editor.list().prepend_fallthrough(handle, patch),
            _ => editor.list().prepend(handle, patch),
        };
        let inserted = inserted.map_err(fail)?;
        if let Some((unit, counter)) = counter {
            let unit = u32::try_from(claim.before.len()).unwrap_or(u32::MAX) + unit;
            editor.refer(inserted.at(unit), Reference::address(counter, 0)).map_err(fail)?;
        }
        Ok(())
    }
}

/// `lock *(u64 *)(address + 0) += value`.
const fn add_to(address: u8, value: u8) -> Insn {
    Insn::new(STX | ATOMIC | DW, address, value, 0, ADD as i32)
}

/// A counter of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Counter {
    /// The function.
    pub function: String,
    /// What it counts.
    pub what: What,
    /// Where it is in the section `.data.relinear`, in bytes.
    pub offset: u64,
}

/// The counters of an object that [`run`] gave some, in the order in which they were added. O(symbols).
#[must_use]
pub fn counters(object: &Object<'_>) -> Vec<Counter> {
    let counter = |name: &str, offset| {
        let what = What::ALL.into_iter().find(|what| name.starts_with(what.prefix()))?;
        Some(Counter { function: name[what.prefix().len()..].to_string(), what, offset })
    };
    let variables = object.section(DATA_SECTION).into_iter().flat_map(|section| object.variables(section));
    let mut counters: Vec<_> =
        variables.filter_map(|variable| counter(&variable.name(), variable.offset())).collect();
    counters.sort_by_key(|counter| counter.offset);
    counters
}

/// What was counted of a function.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Row {
    /// The function.
    pub function: String,
    /// How often it was entered.
    pub entries: Option<u64>,
    /// How often it was left.
    pub exits: Option<u64>,
    /// How many nanoseconds passed between entries and exits, those of functions that it calls included.
    pub nanoseconds: Option<u64>,
}

/// What counters hold, a row for each function: `bytes` are those of the section, as the map has them. A counter beyond their end
/// is left out. O(counters · log counters).
#[must_use]
pub fn read(counters: &[Counter], bytes: &[u8], endian: Endian) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut of: BTreeMap<&str, usize> = BTreeMap::new();
    for counter in counters {
        let index = *of.entry(&counter.function).or_insert_with(|| {
            rows.push(Row { function: counter.function.clone(), ..Row::default() });
            rows.len() - 1
        });
        let value = usize::try_from(counter.offset).ok().and_then(|at| bytes.get(at..)?.first_chunk::<8>());
        let value = value.map(|bytes| match endian {
            Endian::Little => u64::from_le_bytes(*bytes),
            Endian::Big => u64::from_be_bytes(*bytes),
        });
        let row = &mut rows[index];
        *match counter.what {
            What::Entries => &mut row.entries,
            What::Exits => &mut row.exits,
            What::Nanoseconds => &mut row.nanoseconds,
        } = value;
    }
    rows
}
