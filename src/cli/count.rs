//! `relinear count`: adds counters to an object, and says what they hold.

use std::io::{self, Write};
use std::path::Path;

use relinear::Arena;
use relinear::count::{self, Function, Options};
use relinear::elf::Object;
use serde::Serialize;

use super::args::CountArgs;
use super::failure::Failure;
use super::print::{self, Style};
use super::target::Target;
use super::{input, patch, table};

pub(super) fn run(args: &CountArgs) -> Result<(), Failure> {
    if let (Some(object), Some(map)) = (&args.report, args.map_id) {
        return report(object, map, args.json);
    }
    let (Some(path), Some(output)) = (&args.input, &args.output) else {
        return Err(Failure::Usage("give IN and -o OUT, or --report OUT and --map-id N".to_owned()));
    };
    let target = Target::new(output)?;
    let input = input::read(path)?;
    target.check(&input, args.in_place)?;
    let fail = |error: &dyn std::error::Error| Failure::Work(format!("{}: {error}", input.name));
    let mut object = Object::parse(&input.bytes).map_err(|error| fail(&error))?;
    let mut notes = patch::left_alone(&object);
    let arena = Arena::new();
    let mut edit = object.edit(&arena);
    let options = Options { exits: args.exits, time: args.time };
    let report = count::run(&mut edit, &options).map_err(|error| fail(&error))?;
    let change = edit.finish().map_err(|error| fail(&error))?;
    object.commit(change).map_err(|error| fail(&error))?;
    let bytes = object.write().map_err(|error| fail(&error))?;
    target.write(&bytes, &input)?;
    notes.extend(patch::lost(&object));
    let functions: Vec<CountedJson> = report.functions.iter().map(CountedJson::from).collect();
    let shown = Counted { file: &input.name, output: target.name(), functions, notes };
    if !args.json {
        for note in &shown.notes {
            print::note(&format!("note: {note}"));
        }
    }
    target.report(|out, style| if args.json { print::json(out, &shown) } else { shown.write(out, style) })
}

/// All that is said when counters were added, in the shape of its JSON.
#[derive(Serialize)]
struct Counted<'a> {
    file: &'a str,
    output: String,
    functions: Vec<CountedJson>,
    notes: Vec<String>,
}

/// A function that is counted.
#[derive(Serialize)]
struct CountedJson {
    section: String,
    function: String,
    exits: u32,
    time: bool,
    tail_calls: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_skipped: Option<String>,
}

impl From<&Function> for CountedJson {
    fn from(function: &Function) -> Self {
        Self {
            section: function.section.clone(),
            function: function.name.clone(),
            exits: function.exits,
            time: function.time,
            tail_calls: function.tail_calls,
            time_skipped: function.skipped.as_ref().map(ToString::to_string),
        }
    }
}

impl Counted<'_> {
    fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        let row = |of: &CountedJson| {
            let names = [of.section.clone(), of.function.clone()];
            names.into_iter().chain([of.exits, of.tail_calls].map(|count| count.to_string())).collect()
        };
        let rows: Vec<Vec<String>> = self.functions.iter().map(row).collect();
        table::write(out, style, &["section", "function", "exits", "tail calls"], &rows, 2)?;
        for of in &self.functions {
            if let Some(why) = &of.time_skipped {
                writeln!(out, "{}: its time is not counted: {why}", of.function)?;
            }
        }
        if self.functions.iter().any(|of| of.tail_calls != 0) {
            writeln!(out, "a tail call that succeeds never comes to an exit of its function")?;
        }
        writeln!(out, "{}", self.output)
    }
}

/// All that is said of the values of counters, in the shape of its JSON.
#[derive(Serialize)]
struct Values<'a> {
    file: &'a str,
    functions: Vec<ValuesJson>,
}

#[derive(Serialize)]
struct ValuesJson {
    function: String,
    entries: Option<u64>,
    exits: Option<u64>,
    nanoseconds: Option<u64>,
}

fn report(path: &Path, map: u32, json: bool) -> Result<(), Failure> {
    let input = input::read(path)?;
    let fail = |error: String| Failure::Work(format!("{}: {error}", input.name));
    let object = Object::parse(&input.bytes).map_err(|error| fail(error.to_string()))?;
    let counters = count::counters(&object);
    if counters.is_empty() {
        return Err(fail("it has no counters: let `relinear count` add some".to_owned()));
    }
    let bytes = map_value(map)?;
    if counters.iter().any(|counter| counter.offset + 8 > bytes.len() as u64) {
        return Err(Failure::Work(format!(
            "map {map} is not the one of {}: its value has {} bytes",
            input.name,
            bytes.len()
        )));
    }
    let rows = count::read(&counters, &bytes, object.endian());
    let functions = rows.into_iter().map(|row| ValuesJson {
        function: row.function,
        entries: row.entries,
        exits: row.exits,
        nanoseconds: row.nanoseconds,
    });
    let shown = Values { file: &input.name, functions: functions.collect() };
    print::to_stdout(|out| if json { print::json(out, &shown) } else { shown.write(out) })
}

impl Values<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let cell = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
        let row = |of: &ValuesJson| {
            vec![of.function.clone(), cell(of.entries), cell(of.exits), cell(of.nanoseconds)]
        };
        let rows: Vec<Vec<String>> = self.functions.iter().map(row).collect();
        table::write(out, Style::of_stdout(), &["function", "entries", "exits", "ns"], &rows, 1)
    }
}

#[cfg(feature = "kernel")]
fn map_value(id: u32) -> Result<Vec<u8>, Failure> {
    super::map_value::read(id)
        .map_err(|error| Failure::Work(format!("map {id}: {}", super::failure::reason(&error))))
}

#[cfg(not(feature = "kernel"))]
fn map_value(_: u32) -> Result<Vec<u8>, Failure> {
    Err(Failure::Usage("--map-id is not built in: build with the feature `kernel`".to_owned()))
}
