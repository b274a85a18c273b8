//! The command line: what can be asked for, and in which words.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use relinear::bpf::Cpu;
use relinear::elf::Passes;

/// Edit eBPF objects in linear time.
///
/// Reads a relocatable ELF object as clang makes it for BPF, and moves whatever speaks of an instruction
/// along with it: jumps, calls, symbols, relocations, source lines, CO-RE records.
///
/// JSON has a `version`, 1 now: it becomes another if a field gets another meaning, or is no longer there. Texts out of
/// an object of more than 512 characters lose their middle, in JSON as everywhere.
///
/// Exit status: 0 done, 1 the input or the work on it failed, 2 wrong use, 3 nothing failed but a part was skipped.
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100, disable_help_subcommand = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Run passes over an object and write the result
    ///
    /// Prints a row for each function: its instructions (of one slot of 8 bytes, or two) before and
    /// after, those inserted, those deleted, and the jumps, calls and function references whose
    /// displacement changed. Notes of what had to be left out go to the standard error.
    ///
    /// OUT is written whole or not at all: beside it first, then moved into its place. If it is a
    /// symbolic link, the file that the link leads to is replaced. A file that was there keeps its
    /// permissions, and is replaced even if they are read-only, as by mv. What is no regular file (a pipe, a
    /// device) is written to as it is. IN is not replaced if somebody else changes it in the meantime.
    ///
    /// JSON: `file`; `output`; `seed`; `functions`, each with `section`, `function`, `insns_before`, `insns_after`,
    /// `inserted`, `deleted`, `branches_moved`, all counts of instructions; `total`, the same counts
    /// over all functions; `passes`, each with `pass` and what it counts; `branches_lengthened`, how many
    /// jumps became a `gotol` to reach; `notes`, texts; `patch_ns`, the
    /// time that parsing, passes and writing to memory took in nanoseconds.
    Patch(PatchArgs),
    /// Edit an object by a script, and write the result
    ///
    /// A script is assembly with the places it goes to: `at xdp_parse entry prepend`, and code below. It adds
    /// variables (`data hits 8`), maps and functions, and prepends, appends, replaces and deletes at the entry or
    /// the exits of a function, at calls, labels, slots and source lines. Names in braces (`{a}`) are registers that are free
    /// there. The documentation of the library, `relinear::script`, has all of it. A `#` begins a comment.
    ///
    /// Prints a row for each place that matched. OUT is written as by `patch`.
    ///
    /// JSON: `version`, 1; `file`; `output`; `added`, names; `edits`, each with `script_line`, `action`, `section`, `function`,
    /// `slot`, `line`, and how many slots were `inserted` and `deleted`, and how many registers are `spilled`; `notes`.
    Edit(EditArgs),
    /// Count how often functions run, and how long
    ///
    /// Adds a counter to each function of the object, in the section `.data.relinear`, and writes the result. A loader makes a
    /// map of the section: `relinear count --report OUT --map-id N` prints what it holds, by the object that was
    /// loaded. `bpftool prog show` has the ids of the maps of a program.
    ///
    /// JSON: `version`, 1; `file`; `output`; `functions`, each with `section`, `function`, `exits` (how many there are), `time`
    /// (whether it is counted), `tail_calls` (how many there are) and `time_skipped` (why not); `notes`. With `--report`:
    /// `version`; `file`; `functions`, each with `function`, `entries`, `exits`, `nanoseconds`, null where nothing is
    /// counted.
    Count(CountArgs),
    /// Disassemble an object, with its source lines, names, relocations and labels
    ///
    /// A row has the slot (8 bytes) from the start of the section, the bytes, the instruction, and what
    /// the loader will do with it. A jump shows a label, a call the name of what it calls. Source lines
    /// come from `.BTF.ext`.
    ///
    /// JSON: `file`; `endian`; `sections`, each with `section` and `insns`, each of these with `slot` (from the
    /// start of the section), `bytes` (hexadecimal, as in the file), `text`, and where there is one: `function` (one
    /// that starts here), `label` (here), `target_slot` (of a jump or call), `relocation` (`kind`, `symbol`), `core` (`kind`,
    /// `access`), `line` (`file`, `line`, `column`, `text`; the source line that starts here).
    Dis(DisArgs),
    /// Check every structure of an object, and say what is wrong where
    ///
    /// Prints all that it finds, one finding a line. The exit status is 1 if there is any, or if the
    /// kernel rejects a program; 3 if there is none, but the kernel could not be asked about a program.
    ///
    /// JSON: `file`; `functions` and `insns`, how many there are; `findings`, each with `section`,
    /// `function`, `slot` (from the start of the section, 8 bytes each), `line` and `message`;
    /// `findings_left_out`, how many more there are; `notes`, texts; with `--kernel` also `kernel`:
    /// `loader` (libbpf with its version, or aya) and `programs`, each with `program`, `section`, `verdict` (accepted,
    /// rejected or skipped), `reason`, `log` (its last lines), `verified_insns` (how many the verifier went through),
    /// `stack_depth` (bytes, a number for each function) and `translated_bytes`.
    Check(CheckArgs),
    /// Print the completions of this command for a shell
    Completions(CompletionsArgs),
    /// Print the manual page of this command, or of one of its verbs
    Man(ManArgs),
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct PatchArgs {
    /// The object to read; `-` is the standard input
    #[arg(value_name = "IN")]
    pub(super) input: PathBuf,

    /// The object to write; `-` is the standard output, and the table then goes to the standard error
    #[arg(short, long, value_name = "OUT", required_unless_present = "in_place")]
    pub(super) output: Option<PathBuf>,

    /// The passes to run, in this order, separated by commas
    #[arg(short, long = "pass", value_name = "NAME", required = true, value_delimiter = ',')]
    #[arg(value_parser = pass_names())]
    pub(super) passes: Vec<String>,

    /// Where the random numbers of `blind` start, from 0 to 2^64 - 1, decimal, or hexadecimal after
    /// `0x`. The same seed gives the same bytes
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse_seed)]
    pub(super) seed: u64,

    /// What the programs are for: jumps that no longer reach become a `gotol` of v4 (Linux 6.6), or go through trampolines
    #[arg(long, value_name = "VERSION", default_value = "v4")]
    pub(super) cpu: CpuArg,

    /// Let OUT be the same file as IN. Without OUT, it is
    #[arg(long)]
    pub(super) in_place: bool,

    /// Fail rather than leave out sections for debuggers (`.debug_*`), which cannot be moved along yet
    #[arg(long)]
    pub(super) keep_debug: bool,

    /// Fail, rather than leave it as it stands with a note, if there is a function that cannot be analysed
    #[arg(long)]
    pub(super) strict: bool,

    /// Read the result back before it is written to OUT, and fail unless it is IN but for what the passes changed
    #[arg(long)]
    pub(super) verify: bool,

    /// Print JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

/// A version of the instruction set.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(super) enum CpuArg {
    /// Versions 1 to 3: any Linux
    V3,
    /// Version 4: Linux 6.6 and later
    V4,
}

impl From<CpuArg> for Cpu {
    fn from(cpu: CpuArg) -> Self {
        match cpu {
            CpuArg::V3 => Self::V3,
            CpuArg::V4 => Self::V4,
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// The verb, such as `patch`
    #[arg(value_name = "VERB")]
    pub(super) verb: Option<String>,
}

#[derive(Args, Debug)]
pub(super) struct EditArgs {
    /// The object to read; `-` is the standard input
    #[arg(value_name = "IN")]
    pub(super) input: PathBuf,

    /// The object to write; `-` is the standard output, and the table then goes to the standard error
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: PathBuf,

    /// The script
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "expressions",
        conflicts_with = "expressions"
    )]
    pub(super) script: Option<PathBuf>,

    /// A line of a script; all of them together are the script
    #[arg(short, long = "expression", value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) expressions: Vec<String>,

    /// Let OUT be the same file as IN
    #[arg(long)]
    pub(super) in_place: bool,

    /// Print JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct CountArgs {
    /// The object to read; `-` is the standard input
    #[arg(value_name = "IN", required_unless_present = "report")]
    pub(super) input: Option<PathBuf>,

    /// The object to write; `-` is the standard output, and the table then goes to the standard error
    #[arg(short, long, value_name = "OUT", required_unless_present = "report")]
    pub(super) output: Option<PathBuf>,

    /// Count exits, too
    #[arg(long)]
    pub(super) exits: bool,

    /// Sum up the nanoseconds between entry and exit, too
    #[arg(long)]
    pub(super) time: bool,

    /// Print what the counters of this object hold, which `count` wrote
    #[arg(long, value_name = "OUT", requires = "map_id", conflicts_with_all = ["input", "output", "exits", "time"])]
    pub(super) report: Option<PathBuf>,

    /// The id of the map that a loader made of `.data.relinear`. Needs the feature `kernel`, and the right to use bpf(2)
    #[arg(long, value_name = "N", requires = "report")]
    pub(super) map_id: Option<u32>,

    /// Let OUT be the same file as IN
    #[arg(long)]
    pub(super) in_place: bool,

    /// Print JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
pub(super) struct DisArgs {
    /// The object to read; `-` is the standard input
    #[arg(value_name = "IN")]
    pub(super) input: PathBuf,

    /// Show this function alone; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(super) function: Vec<String>,

    /// Show this section alone; may be given several times
    #[arg(long, value_name = "NAME")]
    pub(super) section: Vec<String>,

    /// Leave out the column of bytes
    #[arg(long, conflicts_with = "json")]
    pub(super) no_bytes: bool,

    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct CheckArgs {
    /// The object to read; `-` is the standard input
    #[arg(value_name = "IN")]
    pub(super) input: PathBuf,

    /// Also load each program, alone, into the running kernel, and print its verdict and the last lines that
    /// its verifier says. libbpf does it if `libbpf.so.1` is installed, else aya. Needs the feature `kernel`, and the
    /// right to use bpf(2)
    #[arg(long)]
    pub(super) kernel: bool,

    /// Let the exit status be 0 even if the kernel could not be asked about a program
    #[arg(long, requires = "kernel")]
    pub(super) allow_skips: bool,

    /// Take functions that cannot be analysed for findings, even those that no loader loads
    #[arg(long)]
    pub(super) strict: bool,

    /// List so many findings at most, and say how many more there are
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(super) max_findings: usize,

    /// Print JSON instead of text
    #[arg(long)]
    pub(super) json: bool,
}

fn pass_names() -> PossibleValuesParser {
    let passes = Passes::standard();
    let names: Vec<_> = passes.iter().map(|pass| PossibleValue::new(pass.name()).help(pass.help())).collect();
    names.into()
}

fn parse_seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) if !digits.starts_with('+') => u64::from_str_radix(digits, 16),
        _ => text.parse(),
    };
    parsed.map_err(|_| "not a number from 0 to 2^64 - 1".to_owned())
}
