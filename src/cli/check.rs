//! `relinear check`: says what is wrong with an object, and what the kernel says of it.

use std::io::{self, Write};

use relinear::elf::{Note, Object};
use serde::Serialize;

use super::args::CheckArgs;
use super::failure::Failure;
use super::input;
#[cfg(feature = "kernel")]
use super::kernel;
use super::patch::left_alone;
use super::place::FindingJson;
use super::print::{self, Line, Style};

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
    let mut left_out = 0;
    let findings = match &object {
        Ok(object) => {
            let strict = |note: &Note| match note {
                Note::LeftAlone { code, slot, reason } if args.strict => Some((*code, *slot, reason.clone())),
                _ => None,
            };
            let mut found: Vec<_> =
                object.check().into_iter().map(|found| (found.code, found.slot, found.message)).collect();
            found.extend(object.notes().iter().filter_map(strict));
            left_out = found.len().saturating_sub(args.max_findings);
            let shown = |(code, slot, message)| FindingJson::new(Some(object.place(code, slot)), message);
            found.into_iter().take(args.max_findings).map(shown).collect()
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
        findings_left_out: left_out,
        notes,
        #[cfg(feature = "kernel")]
        kernel,
    };
    print::to_stdout(|out| if args.json { print::json(out, &shown) } else { shown.write(out) })?;
    shown.outcome(args.allow_skips)
}

/// All that is said, in the shape of its JSON.
#[derive(Serialize)]
struct Shown<'a> {
    file: &'a str,
    functions: usize,
    insns: usize,
    findings: Vec<FindingJson>,
    /// How many more there are than are listed.
    findings_left_out: usize,
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
            writeln!(out, "{}: {}: {}", Line(file), style.error("finding"), Line(found))?;
        }
        for note in &self.notes {
            writeln!(out, "{}: note: {}", Line(file), Line(note))?;
        }
        let functions = count(self.functions, "function");
        let (insns, findings) = (
            count(self.insns, "instruction"),
            count(self.findings.len() + self.findings_left_out, "finding"),
        );
        let more = match self.findings_left_out {
            0 => String::new(),
            left_out => format!(" ({left_out} more than are listed)"),
        };
        writeln!(out, "{}: {functions}, {insns}, {findings}{more}", Line(file))?;
        #[cfg(feature = "kernel")]
        if let Some(kernel) = &self.kernel {
            kernel.write(out, style)?;
        }
        Ok(())
    }

    fn outcome(&self, allow_skips: bool) -> Result<(), Failure> {
        #[cfg(feature = "kernel")]
        let (rejected, skipped) = match &self.kernel {
            Some(kernel) => (kernel.has_rejected(), kernel.has_skipped()),
            None => (false, false),
        };
        #[cfg(not(feature = "kernel"))]
        let (rejected, skipped) = (false, false);
        if rejected || self.findings.len() + self.findings_left_out > 0 {
            return Err(Failure::Told);
        }
        if skipped && !allow_skips { Err(Failure::Skipped) } else { Ok(()) }
    }
}

fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
