//! Loading by aya, which knows fewer types of programs than libbpf, but is always there.

use std::error::Error;
use std::io::{self, ErrorKind};

use aya::programs::{Program, ProgramError, ProgramInfo, ProgramType};
use aya::sys::is_program_supported;
use aya::{Btf, EbpfLoader};
use relinear::bpf::Endian;
use relinear::elf::{CodeSection, Object};

use super::super::failure::reason;
use super::{Outcome, Verdict};

/// Where a kernel's file system for pinned objects is mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// Where the flags are in the header of a section, and the headers' place in that of the file, in bytes.
const FLAGS: usize = 8;
const SECTION_HEADER: usize = 64;
const SECTION_HEADERS: usize = 40;

/// Loads the programs of an object, section by section, so that a section that aya does not take is none of the
/// others' business.
pub(super) fn load(bytes: &[u8], object: &Object<'_>, programs: &[super::Program]) -> Vec<Verdict> {
    let skip = |reason: &str| {
        let skip = |program| Verdict::new(program, Outcome::Skipped { reason: reason.to_owned() });
        programs.iter().map(skip).collect()
    };
    match is_program_supported(ProgramType::SchedClassifier) {
        Ok(true) => {}
        Ok(false) => return skip("the kernel knows no eBPF programs for traffic control"),
        Err(error) => return skip(&format!("bpf(2) is not to be had: {}", chain(&error))),
    }
    let btf = Btf::from_sys_fs().ok();
    // Maps that want to be pinned are, for as long as this takes.
    let pins = tempfile::Builder::new().prefix("relinear-").tempdir_in(BPFFS);
    let mut verdicts = Vec::new();
    for program in programs {
        let mut loader = EbpfLoader::new();
        loader.btf(btf.as_ref());
        if let Ok(pins) = &pins {
            loader.default_map_pin_directory(pins.path());
        }
        let outcome = match loader.load(&with_section(bytes, object, &program.section)) {
            Ok(mut taken) => match taken.program_mut(&program.name) {
                Some(found) => judge(&program.section, found, btf.as_ref()),
                None => Outcome::Skipped { reason: "aya does not take it for a program".to_owned() },
            },
            Err(error) => Outcome::Skipped { reason: format!("aya cannot load it: {}", chain(&error)) },
        };
        verdicts.push(Verdict::new(program, outcome));
    }
    verdicts
}

/// The object with the code of all sections but `.text` and those of this name marked as no code.
fn with_section(bytes: &[u8], object: &Object<'_>, name: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let others = object.code().iter().filter(|code| code.name() != ".text" && code.name() != name);
    for section in others.map(CodeSection::section_index) {
        let headers: Option<[u8; 8]> = bytes[SECTION_HEADERS..].first_chunk().copied();
        let headers = headers.map(|headers| match object.endian() {
            Endian::Little => u64::from_le_bytes(headers),
            Endian::Big => u64::from_be_bytes(headers),
        });
        let at = headers.and_then(|at| usize::try_from(at).ok());
        let at = at.and_then(|at| at.checked_add(section * SECTION_HEADER + FLAGS));
        if let Some(flags) = at.and_then(|at| bytes.get_mut(at..at + 8)) {
            flags.fill(0);
        }
    }
    bytes
}

fn judge(section: &str, program: &mut Program, btf: Option<&Btf>) -> Outcome {
    let (_, hook) = section.split_once('/').unwrap_or_default();
    match load_program(program, hook, btf) {
        Ok(()) => {
            let info: Option<ProgramInfo> = program.info().ok();
            Outcome::Accepted {
                log: String::new(),
                verified_insns: info.as_ref().and_then(ProgramInfo::verified_instruction_count),
                translated_bytes: info.as_ref().and_then(ProgramInfo::size_translated),
            }
        }
        Err(Refusal::Kernel { error, log }) => Outcome::Rejected { reason: reason(&error), log },
        Err(Refusal::Unknown(reason)) => Outcome::Skipped { reason },
    }
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
