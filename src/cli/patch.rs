//! `relinear patch`: runs passes over an object and writes the result.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use relinear::elf::{
    Counts as PassCounts, FunctionReport, Note, Object, Pass, Passes, PatchReport, patch_for, patch_recorded,
    verify,
};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::args::{CpuArg, PatchArgs};
use super::failure::{Failure, reason};
use super::input::{self, Input};
use super::place::TextJson;
use super::print::{self, Line, Style};
use super::{output, table};

pub(super) fn run(args: &PatchArgs) -> Result<(), Failure> {
    let target = args.output.as_deref().unwrap_or(&args.input);
    let to_stdout = input::is_standard(target);
    if args.output.is_none() && to_stdout {
        return Err(Failure::Usage("the standard input cannot be patched in place: give OUT".to_owned()));
    }
    if to_stdout && io::stdout().is_terminal() {
        return Err(Failure::Usage("an object is not for a terminal: redirect the output".to_owned()));
    }
    let passes = passes(args)?;
    let input = input::read(&args.input)?;
    let is_over = !to_stdout && (args.output.is_none() || is_over(target, &input));
    if is_over && !args.in_place {
        let target = target.display();
        return Err(Failure::Usage(format!("{target} is the file that is read: allow that by --in-place")));
    }

    let started = Instant::now();
    let fail = |error: &dyn std::error::Error| Failure::Work(format!("{}: {error}", input.name));
    let mut object = Object::parse(&input.bytes).map_err(|error| fail(&error))?;
    object.keep_debug(args.keep_debug);
    object.strict(args.strict);
    let left_alone = left_alone(&object);
    let chosen: Vec<&dyn Pass> = args.passes.iter().filter_map(|name| passes.by_name(name)).collect();
    let mut changes = Vec::new();
    let report = if args.verify {
        patch_recorded(&mut object, &chosen, args.cpu.into(), &mut changes)
    } else {
        patch_for(&mut object, &chosen, args.cpu.into())
    };
    let report = report.map_err(|error| fail(&error))?;
    let bytes = object.write().map_err(|error| fail(&error))?;
    let time = started.elapsed();
    if args.verify {
        verify(&input.bytes, &bytes, &changes).map_err(|error| fail(&error))?;
    }

    if to_stdout {
        print::file_to_stdout(&bytes)?;
    } else {
        output::write_whole(target, &bytes, input.metadata.as_ref().filter(|_| is_over))
            .map_err(|error| Failure::Work(format!("{}: {}", target.display(), reason(&error))))?;
    }
    tell(args, &input.name, target, &object, left_alone, &report, time)
}

fn is_over(target: &Path, input: &Input) -> bool {
    input.metadata.as_ref().is_some_and(|metadata| output::is_same_file(target, metadata))
}

/// All passes, with their options.
fn passes(args: &PatchArgs) -> Result<Passes, Failure> {
    let mut passes = Passes::standard();
    for name in &args.passes {
        let pass = passes.by_name_mut(name).ok_or_else(|| Failure::Usage(format!("no pass {name:?}")))?;
        if pass.options().iter().any(|&(option, _)| option == "seed") {
            pass.set("seed", &args.seed.to_string()).map_err(Failure::Usage)?;
        }
    }
    Ok(passes)
}

/// Says what was done: the report goes where the object does not, the notes to the standard error.
fn tell(
    args: &PatchArgs,
    name: &str,
    target: &Path,
    object: &Object<'_>,
    mut notes: Vec<String>,
    report: &PatchReport,
    time: Duration,
) -> Result<(), Failure> {
    let to_stderr = input::is_standard(target);
    notes.extend(lost(object));
    if report.relaxed != 0 {
        let form = match args.cpu {
            CpuArg::V3 => "go through trampolines",
            CpuArg::V4 => "became `gotol`, which needs Linux 6.6 or later",
        };
        notes.push(format!("{} branches that no longer reached {form}", report.relaxed));
    }
    let functions: Vec<Row> = report.functions.iter().map(Row::from).collect();
    let mut total = Counts::default();
    for function in &functions {
        total.add(&function.counts);
    }
    let passes: Vec<PassJson> =
        report.passes.iter().map(|(name, counts)| PassJson { pass: name, counts: counts.clone() }).collect();
    let shown = Shown {
        file: name,
        output: target.display().to_string(),
        seed: args.seed,
        functions,
        total,
        passes,
        branches_lengthened: report.relaxed,
        linearized: report.linearized,
        notes,
        patch_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
    };
    if !args.json {
        for note in &shown.notes {
            print::note(&format!("note: {note}"));
        }
    }
    let style = if to_stderr { Style::of_stderr() } else { Style::of_stdout() };
    let write = |out: &mut dyn Write| {
        if args.json { print::json(out, &shown) } else { shown.write(out, style, time) }
    };
    if to_stderr {
        print::to_stderr(write);
        return Ok(());
    }
    print::to_stdout(write)
}

/// What is left alone in an object that was not edited yet.
pub(super) fn left_alone(object: &Object<'_>) -> Vec<String> {
    let note = |note: &Note| match note {
        Note::LeftAlone { code, slot, reason } => {
            let place = object.place(*code, *slot);
            Some(format!("{place}: left as it stands, since it cannot be analysed: {reason}"))
        }
        _ => None,
    };
    object.notes().iter().filter_map(note).collect()
}

/// What the object lost, in few lines.
pub(super) fn lost(object: &Object<'_>) -> Vec<String> {
    let (mut dropped, mut notes) = (Vec::new(), Vec::new());
    for note in object.notes() {
        match note {
            // Relocations go with the section that they are of.
            Note::Dropped { section } if section.starts_with(".rel") => {}
            Note::LeftAlone { .. } => {}
            Note::Dropped { section } => dropped.push(section),
            other => notes.push(other.to_string()),
        }
    }
    if !dropped.is_empty() {
        let shown: Vec<String> = dropped.iter().map(ToString::to_string).collect();
        notes.push(format!("dropped sections that the edit made stale: {}", shown.join(" ")));
    }
    notes
}

/// All that is said, in the shape of its JSON.
#[derive(serde::Serialize)]
struct Shown<'a> {
    file: &'a str,
    output: String,
    seed: u64,
    functions: Vec<Row>,
    total: Counts,
    passes: Vec<PassJson>,
    branches_lengthened: u32,
    linearized: u32,
    notes: Vec<String>,
    patch_ns: u64,
}

/// What became of one function.
#[derive(serde::Serialize)]
struct Row {
    section: TextJson,
    function: TextJson,
    #[serde(flatten)]
    counts: Counts,
}

/// Counts of instructions.
#[derive(serde::Serialize, Default)]
struct Counts {
    insns_before: u64,
    insns_after: u64,
    inserted: u64,
    deleted: u64,
    branches_moved: u64,
}

/// What a pass counted.
struct PassJson {
    pass: &'static str,
    counts: PassCounts,
}

impl Serialize for PassJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("pass", self.pass)?;
        for (what, count) in self.counts.iter() {
            map.serialize_entry(what, &count)?;
        }
        map.end()
    }
}

impl From<&FunctionReport> for Row {
    fn from(report: &FunctionReport) -> Self {
        Self {
            section: TextJson(report.section.clone()),
            function: TextJson(report.function.clone()),
            counts: Counts {
                insns_before: report.before.into(),
                insns_after: report.after.into(),
                inserted: report.inserted.into(),
                deleted: report.deleted.into(),
                branches_moved: report.branches_moved.into(),
            },
        }
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.insns_before += other.insns_before;
        self.insns_after += other.insns_after;
        self.inserted += other.inserted;
        self.deleted += other.deleted;
        self.branches_moved += other.branches_moved;
    }

    fn cells(&self) -> [String; 5] {
        [self.insns_before, self.insns_after, self.inserted, self.deleted, self.branches_moved]
            .map(|count| count.to_string())
    }
}

impl Shown<'_> {
    fn write(&self, out: &mut dyn Write, style: Style, time: Duration) -> io::Result<()> {
        let head = ["section", "function", "insns", "after", "inserted", "deleted", "branches moved"];
        let row = |section: &str, function: &str, counts: &Counts| {
            let names = [table::cell(section), table::cell(function)];
            names.into_iter().chain(counts.cells()).collect::<Vec<String>>()
        };
        let mut rows: Vec<Vec<String>> =
            self.functions.iter().map(|of| row(&of.section.0, &of.function.0, &of.counts)).collect();
        rows.push(row("total", "", &self.total));
        table::write(out, style, &head, &rows, 2)?;
        for pass in &self.passes {
            let counts = pass.counts.iter().filter(|&(_, count)| count != 0);
            let counts: Vec<String> =
                counts.map(|(what, count)| format!("{count} {}", what.replace('_', " "))).collect();
            let counts = if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") };
            writeln!(out, "{}: {counts}", pass.pass)?;
        }
        writeln!(out, "{} in {:.1} ms", Line(&self.output), time.as_secs_f64() * 1000.0)
    }
}
