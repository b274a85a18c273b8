//! `relinear edit`: edits an object by a script.

use std::fs;
use std::io::{self, Write};

use relinear::Arena;
use relinear::elf::Object;
use relinear::script::{Edit, Report, Script};
use serde::Serialize;

use super::args::EditArgs;
use super::failure::{Failure, reason};
use super::place::LineJson;
use super::print::{self, Style};
use super::target::Target;
use super::{input, patch, table};

pub(super) fn run(args: &EditArgs) -> Result<(), Failure> {
    let target = Target::new(&args.output)?;
    let (name, text) = match &args.script {
        Some(path) => {
            let name = path.display().to_string();
            let text = fs::read_to_string(path);
            (name.clone(), text.map_err(|error| Failure::Work(format!("{name}: {}", reason(&error))))?)
        }
        None => ("script".to_owned(), args.expressions.join("\n")),
    };
    let of_script = |error: &dyn std::error::Error| Failure::Work(format!("{name}: {error}"));
    let script = Script::parse(&text).map_err(|error| of_script(&error))?;
    let input = input::read(&args.input)?;
    target.check(&input, args.in_place)?;
    let fail = |error: &dyn std::error::Error| Failure::Work(format!("{}: {error}", input.name));
    let mut object = Object::parse(&input.bytes).map_err(|error| fail(&error))?;
    let mut notes = patch::left_alone(&object);
    let arena = Arena::new();
    let mut edit = object.edit(&arena);
    let report = script.run(&mut edit).map_err(|error| of_script(&error))?;
    let change = edit.finish().map_err(|error| fail(&error))?;
    object.commit(change).map_err(|error| fail(&error))?;
    let bytes = object.write().map_err(|error| fail(&error))?;
    target.write(&bytes, &input)?;
    notes.extend(patch::lost(&object));
    let Report { added, edits, .. } = report;
    let edits: Vec<Row<'_>> = edits.iter().map(Row::from).collect();
    let shown = Shown { file: &input.name, output: target.name(), added, edits, notes };
    if !args.json {
        for note in &shown.notes {
            print::note(&format!("note: {note}"));
        }
    }
    target.report(|out, style| if args.json { print::json(out, &shown) } else { shown.write(out, style) })
}

/// All that is said, in the shape of its JSON.
#[derive(Serialize)]
struct Shown<'a> {
    file: &'a str,
    output: String,
    added: Vec<String>,
    edits: Vec<Row<'a>>,
    notes: Vec<String>,
}

/// An edit at one place.
#[derive(Serialize)]
struct Row<'a> {
    script_line: usize,
    action: &'static str,
    section: String,
    function: Option<String>,
    slot: u32,
    line: Option<LineJson<'a>>,
    inserted: usize,
    deleted: usize,
    spilled: usize,
}

impl<'a> From<&'a Edit> for Row<'a> {
    fn from(edit: &'a Edit) -> Self {
        let &Edit { line, action, ref place, inserted, deleted, spilled, .. } = edit;
        Self {
            script_line: line,
            action: action.name(),
            section: place.section.to_string(),
            function: place.function.as_ref().map(ToString::to_string),
            slot: place.slot,
            line: place.line.clone().map(LineJson::from),
            inserted,
            deleted,
            spilled,
        }
    }
}

impl Shown<'_> {
    fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let head = ["action", "section", "function", "script line", "slot", "inserted", "deleted", "spilled"];
        let row = |row: &Row<'_>| {
            let names =
                [row.action.to_owned(), row.section.clone(), row.function.clone().unwrap_or_default()];
            let numbers = [row.script_line, row.slot as usize, row.inserted, row.deleted, row.spilled];
            names.into_iter().chain(numbers.map(|number| number.to_string())).collect()
        };
        let rows: Vec<Vec<String>> = self.edits.iter().map(row).collect();
        table::write(out, style, &head, &rows, 3)?;
        if !self.added.is_empty() {
            writeln!(out, "added {}", self.added.join(" "))?;
        }
        writeln!(out, "{}", self.output)
    }
}
