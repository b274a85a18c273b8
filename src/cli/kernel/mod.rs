//! `relinear check --kernel`: has each program of an object loaded into the running kernel, alone.

mod aya;
mod libbpf;

use std::io::{self, Write};

use relinear::elf::{Binding, Object};
use serde::Serialize;

use super::print::{Line, Style};

/// How many of the last lines of the verifier's log are shown.
const LOG_LINES: usize = 8;
/// The most characters of a line of the log, or of a reason.
const LOG_WIDTH: usize = 512;

/// What the kernel said.
#[derive(Serialize, Debug)]
pub(super) struct Loaded {
    /// Who loaded the programs: `libbpf` and its version, or `aya`.
    loader: String,
    programs: Vec<Verdict>,
}

/// A program of an object.
#[derive(Serialize, Clone, Debug)]
struct Program {
    #[serde(rename = "program")]
    name: String,
    section: String,
}

/// What the kernel said of one program.
#[derive(Serialize, Debug)]
struct Verdict {
    #[serde(flatten)]
    program: Program,
    #[serde(rename = "verdict")]
    word: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    log: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_insns: Option<u32>,
    /// In bytes, one number for each function.
    #[serde(skip_serializing_if = "Option::is_none")]
    stack_depth: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    translated_bytes: Option<u32>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Word {
    Accepted,
    Rejected,
    /// The kernel was not asked.
    Skipped,
}

/// What became of a program.
enum Outcome {
    /// The verifier's log has its statistics, if it was asked for them.
    Accepted {
        log: String,
        verified_insns: Option<u32>,
        translated_bytes: Option<u32>,
    },
    Rejected {
        reason: String,
        log: String,
    },
    /// Why the kernel was not asked.
    Skipped {
        reason: String,
    },
}

/// Loads all programs of an object, one at a time, and lets go of them again: by libbpf if it is installed, else by
/// aya, which knows fewer types of programs.
pub(super) fn load(bytes: &[u8], object: &Object<'_>) -> Loaded {
    let programs = programs(object);
    match libbpf::Libbpf::new() {
        Some(libbpf) => Loaded { loader: libbpf.version(), programs: libbpf.load(bytes, &programs) },
        None => Loaded { loader: "aya".to_owned(), programs: aya::load(bytes, object, &programs) },
    }
}

/// The programs of an object: libbpf and aya take every function of a section other than `.text` for one.
fn programs(object: &Object<'_>) -> Vec<Program> {
    let sections = object.code().iter().filter(|code| code.name() != ".text");
    let programs = sections.flat_map(|code| {
        let entries = code.functions().iter().filter(|function| function.binding != Binding::Local);
        entries.map(|function| Program { name: function.name.to_string(), section: code.name().to_owned() })
    });
    programs.collect()
}

impl Verdict {
    fn new(program: &Program, outcome: Outcome) -> Self {
        let mut verdict = Self {
            program: program.clone(),
            word: Word::Accepted,
            reason: None,
            log: Vec::new(),
            verified_insns: None,
            stack_depth: None,
            translated_bytes: None,
        };
        match outcome {
            Outcome::Accepted { log, verified_insns, translated_bytes } => {
                verdict.verified_insns = verified_insns;
                verdict.stack_depth = stack_depth(&log);
                verdict.translated_bytes = translated_bytes;
            }
            Outcome::Rejected { reason, log } => {
                verdict.word = Word::Rejected;
                verdict.reason = Some(reason);
                let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
                let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
                verdict.log = last.iter().map(|line| line.chars().take(LOG_WIDTH).collect()).collect();
            }
            Outcome::Skipped { reason } => {
                verdict.word = Word::Skipped;
                verdict.reason = Some(reason.chars().take(LOG_WIDTH).collect());
            }
        }
        verdict
    }
}

/// The stack of each function, in bytes, out of the statistics of the verifier: `stack depth 16+0+32`.
fn stack_depth(log: &str) -> Option<Vec<u32>> {
    let depths = log.lines().find_map(|line| line.strip_prefix("stack depth "))?;
    let depths = depths.split_whitespace().next()?;
    depths.split('+').map(|depth| depth.parse().ok()).collect()
}

impl Loaded {
    /// Whether the kernel rejects a program.
    pub(super) fn has_rejected(&self) -> bool {
        self.programs.iter().any(|program| program.word == Word::Rejected)
    }

    /// Whether the kernel was not asked about a program, or about any.
    pub(super) fn has_skipped(&self) -> bool {
        self.programs.is_empty() || self.programs.iter().any(|program| program.word == Word::Skipped)
    }

    pub(super) fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        if self.programs.is_empty() {
            writeln!(out, "{}: the object has no program to load", style.error("skipped"))?;
        }
        for verdict in &self.programs {
            let Program { name, section } = &verdict.program;
            let word = match verdict.word {
                Word::Accepted => style.title("accepted").to_string(),
                Word::Rejected => style.error("rejected").to_string(),
                Word::Skipped => style.error("skipped").to_string(),
            };
            let mut told = Vec::new();
            told.extend(verdict.reason.clone());
            told.extend(verdict.verified_insns.map(|insns| format!("{insns} instructions verified")));
            if let Some(depths) = &verdict.stack_depth {
                let depths: Vec<String> = depths.iter().map(ToString::to_string).collect();
                told.push(format!("stack depth {}", depths.join("+")));
            }
            told.extend(verdict.translated_bytes.map(|bytes| format!("{} slots", bytes / 8)));
            let told = if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) };
            writeln!(out, "{word}: {}", Line(format_args!("section {section:?}, program {name}{told}")))?;
            for line in &verdict.log {
                writeln!(out, "    {}", Line(line))?;
            }
        }
        writeln!(out, "loaded by {}", Line(&self.loader))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths_of_stacks() {
        assert_eq!(
            stack_depth("verification time 5 usec\nstack depth 16+0+32\nprocessed 3 insns"),
            Some(vec![16, 0, 32])
        );
        assert_eq!(stack_depth("stack depth 8 max 64\n"), Some(vec![8]));
        assert_eq!(stack_depth("stack depth many\n"), None);
        assert_eq!(stack_depth("0: R1=ctx\n"), None);
    }
}
