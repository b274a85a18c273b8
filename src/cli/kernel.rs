//! `relinear check --kernel`: loads each program of an object into the running kernel.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, ErrorKind, Write};

use aya::programs::{Program, ProgramError, ProgramInfo, ProgramType};
use aya::sys::is_program_supported;
use aya::{Btf, EbpfLoader};
use relinear::elf::Object;
use serde::Serialize;

use super::failure::reason;
use super::print::Style;

/// How many of the last lines of the verifier's log are shown.
const LOG_LINES: usize = 8;

/// Where a kernel's file system for pinned objects is mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// What the kernel said.
#[derive(Serialize, Debug)]
pub(super) struct Loaded {
    /// Why it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    programs: Vec<Verdict>,
}

/// What the kernel said of one program.
#[derive(Serialize, Debug)]
struct Verdict {
    program: String,
    section: String,
    #[serde(rename = "verdict")]
    word: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    log: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_insns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    translated_bytes: Option<u32>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
enum Word {
    Accepted,
    Rejected,
    Skipped,
}

/// Loads all programs of an object, and lets go of them again.
pub(super) fn load(bytes: &[u8], object: &Object<'_>) -> Loaded {
    let skipped = |reason: String| Loaded { skipped: Some(reason), programs: Vec::new() };
    match is_program_supported(ProgramType::SchedClassifier) {
        Ok(true) => {}
        Ok(false) => return skipped("the kernel knows no eBPF programs for traffic control".to_owned()),
        Err(error) => return skipped(format!("bpf(2) is not to be had: {}", chain(&error))),
    }
    let btf = Btf::from_sys_fs().ok();
    let mut loader = EbpfLoader::new();
    loader.btf(btf.as_ref());
    // Maps that want to be pinned are, for as long as this takes.
    let pins = tempfile::Builder::new().prefix("relinear-").tempdir_in(BPFFS);
    if let Ok(pins) = &pins {
        loader.default_map_pin_directory(pins.path());
    }
    let mut taken = match loader.load(bytes) {
        Ok(taken) => taken,
        Err(error) => return skipped(format!("aya cannot load the object: {}", chain(&error))),
    };
    let sections = sections(object);
    let mut programs: Vec<_> = taken.programs_mut().collect();
    programs.sort_by_key(|(name, _)| (*name).to_owned());
    let verdicts = programs.into_iter().map(|(name, program)| {
        let section = sections.get(name).cloned().unwrap_or_default();
        judge(name, section, program, btf.as_ref())
    });
    Loaded { skipped: None, programs: verdicts.collect() }
}

/// The section of each function.
fn sections(object: &Object<'_>) -> BTreeMap<String, String> {
    let functions = object.code().iter().flat_map(|code| {
        code.functions().iter().map(|function| (function.name.clone(), code.name().to_owned()))
    });
    functions.collect()
}

fn judge(name: &str, section: String, program: &mut Program, btf: Option<&Btf>) -> Verdict {
    let (_, hook) = section.split_once('/').unwrap_or_default();
    let outcome = load_program(program, hook, btf);
    let mut verdict = Verdict {
        program: name.to_owned(),
        section,
        word: Word::Accepted,
        reason: None,
        log: Vec::new(),
        verified_insns: None,
        translated_bytes: None,
    };
    match outcome {
        Ok(()) => {
            let info: Option<ProgramInfo> = program.info().ok();
            verdict.verified_insns = info.as_ref().and_then(ProgramInfo::verified_instruction_count);
            verdict.translated_bytes = info.as_ref().and_then(ProgramInfo::size_translated);
        }
        Err(Refusal::Kernel { error, log }) => {
            verdict.word = Word::Rejected;
            verdict.reason = Some(reason(&error));
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            verdict.log =
                lines[lines.len().saturating_sub(LOG_LINES)..].iter().map(ToString::to_string).collect();
        }
        Err(Refusal::Unknown(reason)) => {
            verdict.word = Word::Skipped;
            verdict.reason = Some(reason);
        }
    }
    verdict
}

/// Why a program is not in the kernel.
enum Refusal {
    Kernel {
        error: io::Error,
        log: String,
    },
    /// It never got there.
    Unknown(String),
}

impl From<ProgramError> for Refusal {
    fn from(error: ProgramError) -> Self {
        match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                let log = verifier_log.to_string();
                // The verifier may refuse with the same number, but not without a word.
                if io_error.kind() == ErrorKind::PermissionDenied && log.is_empty() {
                    return Self::Unknown(format!("bpf(2): {}", reason(&io_error)));
                }
                Self::Kernel { error: io_error, log }
            }
            other => Self::Unknown(chain(&other)),
        }
    }
}

/// Loads a program, which is to run at `hook`, into the kernel.
fn load_program(program: &mut Program, hook: &str, btf: Option<&Btf>) -> Result<(), Refusal> {
    let kernel = || btf.ok_or_else(|| Refusal::Unknown("the running kernel has no BTF".to_owned()));
    match program {
        Program::KProbe(program) => program.load(),
        Program::UProbe(program) => program.load(),
        Program::TracePoint(program) => program.load(),
        Program::SocketFilter(program) => program.load(),
        Program::ReusePortSocketFilter(program) => program.load(),
        Program::Xdp(program) => program.load(),
        Program::SkMsg(program) => program.load(),
        Program::SkSkb(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::SockOps(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSysctl(program) => program.load(),
        Program::CgroupSockopt(program) => program.load(),
        Program::LircMode2(program) => program.load(),
        Program::PerfEvent(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        Program::Lsm(program) => program.load(hook, kernel()?),
        Program::LsmCgroup(program) => program.load(hook, kernel()?),
        Program::BtfTracePoint(program) => program.load(hook, kernel()?),
        Program::FEntry(program) => program.load(hook, kernel()?),
        Program::FExit(program) => program.load(hook, kernel()?),
        Program::FlowDissector(program) => program.load(),
        Program::SkLookup(program) => program.load(),
        Program::SkReuseport(program) => program.load(),
        Program::CgroupSock(program) => program.load(),
        Program::CgroupDevice(program) => program.load(),
        Program::Iter(program) => program.load(hook, kernel()?),
        Program::Extension(_) => {
            return Err(Refusal::Unknown("it extends a program that is not in this object".to_owned()));
        }
    }
    .map_err(Refusal::from)
}

/// An error with all that it comes from, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        source = error.source();
    }
    text.replace('\n', " ")
}

impl Loaded {
    /// Whether the kernel rejects a program.
    pub(super) fn has_rejected(&self) -> bool {
        self.programs.iter().any(|program| program.word == Word::Rejected)
    }

    pub(super) fn write(&self, out: &mut dyn Write, style: Style) -> io::Result<()> {
        if let Some(skipped) = &self.skipped {
            writeln!(out, "{}: the kernel was not asked: {skipped}", style.error("skipped"))?;
        }
        for program in &self.programs {
            let Verdict { program: name, section, reason, verified_insns, translated_bytes, .. } = program;
            let at = format!("section {section:?}, program {name}");
            match program.word {
                Word::Accepted => {
                    write!(out, "{}: {at}", style.title("accepted"))?;
                    if let (Some(insns), Some(bytes)) = (verified_insns, translated_bytes) {
                        write!(out, ": {insns} instructions verified, {} slots", bytes / 8)?;
                    }
                    writeln!(out)?;
                }
                word => {
                    let word = if word == Word::Rejected { "rejected" } else { "skipped" };
                    let reason = reason.as_deref().unwrap_or_default();
                    writeln!(out, "{}: {at}: {reason}", style.error(word))?;
                }
            }
            for line in &program.log {
                writeln!(out, "    {line}")?;
            }
        }
        Ok(())
    }
}
