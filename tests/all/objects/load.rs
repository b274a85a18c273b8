//! Loads BPF objects into the running kernel and runs their programs: the verifier and the
//! kernel's own execution are the oracle for what our patches must not change.
//!
//! Objects are loaded by `aya`, which applies relocations, CO-RE ones included, and links
//! subprograms on its own; programs run under `BPF_PROG_TEST_RUN`, which touches no network.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::LazyLock;

use aya::maps::{MapType, ProgramArray};
use aya::programs::{Program, ProgramError, RawTracePointRunOptions, TestRun, TestRunOptions};
use aya::sys::is_map_supported;
use aya::{Btf, Ebpf, EbpfLoader};

use super::{inputs, maps};

/// What one program did, over all inputs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The program's name in the object.
    pub(super) program: String,
    /// The verifier's answer: what each run gave, or the last lines of its log.
    pub(super) runs: Result<Vec<Run>, String>,
}

/// What one run of a program gave back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The program's return value.
    pub(super) value: u32,
    /// The packet after the run; empty for a program that takes none.
    pub(super) packet: Vec<u8>,
    /// The context after the run; empty for a program whose context is not given back.
    pub(super) context: Vec<u8>,
}

/// What the kernel made of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    /// By program name.
    pub(super) outcomes: Vec<Outcome>,
    /// The contents of each array map after all runs, by name.
    pub(super) maps: BTreeMap<String, Vec<u8>>,
}

/// Why there is no answer from the kernel.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The process may not use `bpf()`, and why: a test can only say that it was skipped.
    NotPermitted(String),
    /// The object could not be loaded as a whole.
    Object(String),
}

/// The program arrays of our objects: `(map, slot, program)`. An object has all of it or none.
const TAIL_CALLS: [(&str, u32, &str); 2] = [("next", 1, "on_ipv4"), ("next", 2, "on_ipv6")];

/// The running kernel's BTF, which takes longer to parse than an object to load.
static KERNEL_TYPES: LazyLock<Option<Btf>> = LazyLock::new(|| Btf::from_sys_fs().ok());

/// How much of a verifier log tells why it refused.
const LOG_LINES: usize = 12;

/// Loads every program of `object`, then runs each, in the order of their names, on the same inputs.
pub(super) fn load_and_run(object: &[u8]) -> Result<Loaded, Refusal> {
    // Asked first: without the right, aya takes the kernel for an old one and fails elsewhere.
    // A trie, unlike an array, always needs it.
    if let Err(error) = is_map_supported(MapType::LpmTrie) {
        return Err(Refusal::NotPermitted(with_causes(&error)));
    }
    let mut ebpf = EbpfLoader::new().btf(KERNEL_TYPES.as_ref()).load(object).map_err(refusal)?;

    let mut names: Vec<String> = ebpf.programs().map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    let mut verdicts = Vec::new();
    for name in &names {
        let program = ebpf.program_mut(name).expect("a program by its own name");
        verdicts.push(load(program));
    }
    fill_tail_calls(&mut ebpf).map_err(refusal)?;

    let mut outcomes = Vec::new();
    for (name, verdict) in names.into_iter().zip(verdicts) {
        let runs = verdict
            .and_then(|()| run(ebpf.program(&name).expect("a program by its own name")))
            .map_err(|error| with_causes(&error));
        outcomes.push(Outcome { program: name, runs });
    }
    let maps = maps::contents(&ebpf).map_err(refusal)?;
    Ok(Loaded { outcomes, maps })
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::SocketFilter(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::RawTracePoint(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn run(program: &Program) -> Result<Vec<Run>, ProgramError> {
    match program {
        Program::Xdp(program) => run_on_packets(program, false),
        Program::SchedClassifier(program) => run_on_packets(program, true),
        Program::SocketFilter(program) => run_on_packets(program, true),
        Program::CgroupSkb(program) => run_on_packets(program, true),
        Program::RawTracePoint(program) => inputs::raw_arguments()
            .map(|args| {
                let result = program.test_run(RawTracePointRunOptions { args, cpu: None })?;
                Ok(Run { value: result.return_value, packet: Vec::new(), context: Vec::new() })
            })
            .collect(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn run_on_packets<P>(program: &P, has_context: bool) -> Result<Vec<Run>, ProgramError>
where
    P: for<'a> TestRun<Opts<'a> = TestRunOptions<'a>, Result = aya::TestRunResult>,
{
    let run = |(packet, context): (Vec<u8>, Vec<u8>)| {
        let mut packet_out = vec![0; packet.len() + inputs::ROOM];
        let mut context_out = vec![0; context.len()];
        let result = program.test_run(TestRunOptions {
            data_in: Some(&packet),
            data_out: Some(&mut packet_out),
            ctx_in: has_context.then_some(&context),
            ctx_out: if has_context { Some(&mut context_out) } else { None },
            ..TestRunOptions::default()
        })?;
        packet_out.truncate(result.data_size_out as usize);
        context_out.truncate(result.ctx_size_out as usize);
        Ok(Run { value: result.return_value, packet: packet_out, context: context_out })
    };
    inputs::packets().map(run).collect()
}

fn fill_tail_calls(ebpf: &mut Ebpf) -> Result<(), Box<dyn Error>> {
    for (map, slot, program) in TAIL_CALLS {
        let Some(Ok(target)) = ebpf.program(program).map(Program::fd) else { continue };
        let target = target.try_clone()?;
        let map = ebpf.map_mut(map).ok_or("a program array is missing")?;
        ProgramArray::try_from(map)?.set(slot, &target, 0)?;
    }
    Ok(())
}

fn refusal(error: impl Into<Box<dyn Error>>) -> Refusal {
    Refusal::Object(with_causes(&*error.into()))
}

/// What an error and those that caused it say; of a verifier's log, the end.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
