//! `relinear check`: says what is wrong with an object, and what the kernel says of it.

use std::io::{self, Write};

use relinear::elf::{Finding, Note, Object};
use serde::Serialize;

use super::args::CheckArgs;
use super::failure::Failure;
use super::input;
#[cfg(feature = "kernel")]
use super::kernel;
use super::patch::left_alone;
use super::place::FindingJson;
use super::print::{self, Style};

pub(super) fn run(args: &CheckArgs) -> Result<(), Failure> {
    if args.kernel && cfg!(not(feature = "kernel")) {
        let reason = "--kernel is not built in: build with the feature `kernel`";
        return Err(Failure::Usage(reason.to_owned()));
    }
    let input = input::read(&args.input)?;
    let object = Object::parse(&input.bytes);
    let (mut functions, mut insns) = (0, 0);
    for code in object.iter().flat_map(Object::code) {
        functions += code.functions().len();
        let functions = (0..).zip(code.parts()).filter(|(_, part)| part.is_function());
        insns += functions.map(|(part, _)| code.insns(code.subprogram_range(part)).count()).sum::<usize>();
    }
    let notes = object.as_ref().map_or_else(|_| Vec::new(), left_alone);
    let findings = match &object {
        Ok(object) => {
            let shown =
                |found: Finding| FindingJson::new(Some(object.place(found.code, found.slot)), found.message);
            let mut findings: Vec<FindingJson> = object.check().into_iter().map(shown).collect();
            let strict = |note: &Note| match note {
                Note::LeftAlone { code, slot, reason } if args.strict => {
                    Some(FindingJson::new(Some(object.place(*code, *slot)), reason.clone()))
                }
                _ => None,
            };
            findings.extend(object.notes().iter().filter_map(strict));
            findings
        }
        Err(error) => vec![FindingJson::new(None, error.to_string())],
    };
    #[cfg(feature = "kernel")]
    let kernel = match &object {
        Ok(object) if args.kernel => Some(kernel::load(&input.bytes, object)),
        _ => None,
    };
    let shown = Shown {
        file: &input.name,
        functions,
        insns,
        findings,
        notes,
        #[cfg(feature = "kernel")]
        kernel,
    };
    print::to_stdout(|out| if args.json { print::json(out, &shown) } else { shown.write(out) })?;
    shown.outcome()
}

/// All that is said, in the shape of its JSON.
#[derive(Serialize)]
struct Shown<'a> {
    file: &'a str,
    functions: usize,
    insns: usize,
    findings: Vec<FindingJson>,
    notes: Vec<String>,
    #[cfg(feature = "kernel")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<kernel::Loaded>,
}

impl Shown<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let style = Style::of_stdout();
        let file = self.file;
        for found in &self.findings {
            writeln!(out, "{file}: {}: {found}", style.error("finding"))?;
        }
        for note in &self.notes {
            writeln!(out, "{file}: note: {note}")?;
        }
        let functions = count(self.functions, "function");
        let (insns, findings) = (count(self.insns, "instruction"), count(self.findings.len(), "finding"));
        writeln!(out, "{file}: {functions}, {insns}, {findings}")?;
        #[cfg(feature = "kernel")]
        if let Some(kernel) = &self.kernel {
            kernel.write(out, style)?;
        }
        Ok(())
    }

    fn outcome(&self) -> Result<(), Failure> {
        #[cfg(feature = "kernel")]
        let rejected = self.kernel.as_ref().is_some_and(kernel::Loaded::has_rejected);
        #[cfg(not(feature = "kernel"))]
        let rejected = false;
        if rejected || !self.findings.is_empty() { Err(Failure::Told) } else { Ok(()) }
    }
}

fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
