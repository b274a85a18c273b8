//! Real work: whole objects through the command, against tools that only copy them, whole processes.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Serialize;

use crate::measure::median;
use crate::rows::nanos;

/// What one tool took for one object.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectRow {
    /// Name of the object, `stripped` if sections for debuggers were left out before.
    pub object: String,
    /// Its size.
    pub bytes: u64,
    /// The tool.
    pub tool: String,
    /// Median time from start to end of the process.
    pub wall_ns: u64,
    /// Median processor time of the process, in the kernel and outside.
    pub cpu_ns: u64,
    /// Most memory of the process in RAM, median.
    pub rss_bytes: u64,
}

struct Tool {
    name: &'static str,
    program: PathBuf,
    /// `IN` and `OUT` stand for the files.
    args: &'static [&'static str],
}

/// The tools there are: ours with two passes, `bpftool`, `llvm-objcopy`, and a process that does nothing.
fn tools(relinear: &Path) -> Vec<Tool> {
    let mut tools = vec![
        Tool {
            name: "relinear dce",
            program: relinear.into(),
            args: &["patch", "IN", "-o", "OUT", "-p", "dce"],
        },
        Tool {
            name: "relinear blind",
            program: relinear.into(),
            args: &["patch", "IN", "-o", "OUT", "-p", "blind"],
        },
    ];
    let found = |names: &[&str]| names.iter().map(PathBuf::from).find(|name| runs(name));
    if let Some(program) = found(&["llvm-objcopy", "llvm-objcopy-19", "llvm-objcopy-16"]) {
        tools.push(Tool { name: "llvm-objcopy", program, args: &["IN", "OUT"] });
    }
    if let Some(program) = found(&["bpftool", "/usr/sbin/bpftool"]) {
        tools.push(Tool { name: "bpftool gen object", program, args: &["gen", "object", "OUT", "IN"] });
    }
    tools.push(Tool { name: "nothing (true)", program: "true".into(), args: &[] });
    tools
}

fn runs(program: &Path) -> bool {
    let quiet = Command::new(program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok()
}

/// Measures all tools at each object, as it is and without sections for debuggers.
///
/// # Errors
///
/// If a tool cannot be started, or fails.
pub fn measure(
    relinear: &Path,
    objects: &[PathBuf],
    rounds: usize,
    dir: &Path,
) -> io::Result<Vec<ObjectRow>> {
    fs::create_dir_all(dir)?;
    let tools = tools(relinear);
    let mut rows = Vec::new();
    for object in objects {
        let name = object.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut inputs = vec![(name.clone(), object.clone())];
        let stripped = dir.join(format!("{name}.stripped.o"));
        let objcopy = tools.iter().find(|tool| tool.name == "llvm-objcopy");
        if let Some(objcopy) = objcopy {
            run(Command::new(&objcopy.program).arg("--strip-debug").args([object, &stripped]))?;
            if fs::metadata(&stripped)?.len() < fs::metadata(object)?.len() {
                inputs.push((format!("{name} stripped"), stripped));
            }
        }
        for (name, input) in inputs {
            eprintln!("objects: {name}");
            rows.extend(measure_one(&tools, &name, &input, rounds, &dir.join("out.o"))?);
        }
    }
    Ok(rows)
}

fn measure_one(
    tools: &[Tool],
    name: &str,
    input: &Path,
    rounds: usize,
    output: &Path,
) -> io::Result<Vec<ObjectRow>> {
    let mut samples = vec![Vec::new(); tools.len()];
    // The first round brings programs and input into the page cache.
    for round in 0..=rounds {
        for (tool, samples) in tools.iter().zip(&mut samples) {
            let args = tool.args.iter().map(|&arg| match arg {
                "IN" => input.as_os_str(),
                "OUT" => output.as_os_str(),
                _ => arg.as_ref(),
            });
            let sample = run(Command::new(&tool.program).args(args))?;
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    let bytes = fs::metadata(input)?.len();
    let rows = tools.iter().zip(samples).map(|(tool, samples)| {
        let middle = |of: fn(&Sample) -> u64| median(&mut samples.iter().map(of).collect::<Vec<_>>());
        ObjectRow {
            object: name.into(),
            bytes,
            tool: tool.name.into(),
            wall_ns: middle(|sample| sample.wall_ns),
            cpu_ns: middle(|sample| sample.cpu_ns),
            rss_bytes: middle(|sample| sample.rss_bytes),
        }
    });
    Ok(rows.collect())
}

#[derive(Clone)]
struct Sample {
    wall_ns: u64,
    cpu_ns: u64,
    rss_bytes: u64,
}

/// Runs a process to its end.
fn run(command: &mut Command) -> io::Result<Sample> {
    let start = Instant::now();
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: `rusage` is plain numbers; the call waits for our own child, once, and fills both in.
    let (ended, status, usage) = unsafe {
        let mut usage: libc::rusage = core::mem::zeroed();
        let mut status = 0;
        (libc::wait4(pid, &raw mut status, 0, &raw mut usage), status, usage)
    };
    let wall_ns = u64::try_from(start.elapsed().as_nanos()).map_err(io::Error::other)?;
    let status = std::process::ExitStatus::from_raw(status);
    if ended != pid || !status.success() {
        return Err(io::Error::other(format!("{command:?}: {status}")));
    }
    let micros = |time: libc::timeval| u64::try_from(time.tv_sec * 1_000_000 + time.tv_usec).unwrap_or(0);
    Ok(Sample {
        wall_ns,
        cpu_ns: (micros(usage.ru_utime) + micros(usage.ru_stime)) * 1000,
        rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    })
}

/// A table of all objects.
#[must_use]
pub fn markdown(rows: &[ObjectRow]) -> String {
    let mut out = String::from(
        "| object | bytes | tool | time | processor | x `llvm-objcopy` | x `bpftool` | most RAM |\n\
         | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let ratio = |tool: &str| {
            let other = rows.iter().find(|other| other.object == row.object && other.tool == tool);
            other.map_or("-".into(), |other| format!("{:.2}", row.cpu_ns as f64 / other.cpu_ns.max(1) as f64))
        };
        let _ = writeln!(
            out,
            "| {} | {} | `{}` | {} | {} | {} | {} | {:.1} MiB |",
            row.object,
            row.bytes,
            row.tool,
            nanos(row.wall_ns),
            nanos(row.cpu_ns),
            ratio("llvm-objcopy"),
            ratio("bpftool gen object"),
            row.rss_bytes as f64 / 1_048_576.0,
        );
    }
    out.push_str("\nRatios are of processor time.\n");
    out
}
