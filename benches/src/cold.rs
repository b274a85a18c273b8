//! Cold runs: each in a process of its own, whose first run it is, so that every page of memory has to
//! be faulted in.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::process::Command;

use crate::clock;
use crate::memory;
use crate::peers::{self, Output};
use crate::work::{Shape, Work};

/// What the process of one cold run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cold {
    /// Time of the run.
    pub ns: u64,
    /// Page faults in it.
    pub faults: u64,
    /// The most bytes in use, result included.
    pub peak: u64,
    /// Calls of the allocator.
    pub calls: u64,
    /// Of the result.
    pub hash: u64,
}

/// The argument that makes the report run [`child`].
pub const CHILD: &str = "--cold-run";

/// Starts a process that makes one run, and waits for what it says.
///
/// # Errors
///
/// If it cannot be started or fails.
pub fn run(work: &Work, peer: &str) -> io::Result<Cold> {
    let n = work.program.len().to_string();
    let tables = (!work.lines.is_empty()).to_string();
    let done = Command::new(std::env::current_exe()?)
        .args([CHILD, work.shape.name(), &n, &tables, peer])
        .stderr(std::process::Stdio::inherit())
        .output()?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [ns, faults, peak, calls, hash] if done.status.success() => {
            Ok(Cold { ns, faults, peak, calls, hash })
        }
        _ => Err(io::Error::other(format!("the cold run of {peer} failed: {text}"))),
    }
}

/// Makes one run, as the process it is alone in, and prints what there is to say.
///
/// # Panics
///
/// If the arguments are not those that [`run`] gives.
pub fn child(args: &[String]) {
    let [shape, n, tables, name] = args else { panic!("shape, size, tables, peer expected: {args:?}") };
    let shape = Shape::from_name(shape).expect("a shape");
    let work = Work::new(shape, n.parse().expect("a size"), tables == "true");
    let expected = if name == "memcpy" { crate::measure::result(&work) } else { Output::default() };
    let mut peer = peers::by_name(name, &expected).expect("a peer");
    memory::start_counting();
    let faults = memory::page_faults();
    let start = clock::now();
    peer.run(&work);
    let ns = clock::now() - start;
    let faults = memory::page_faults() - faults;
    let counts = memory::stop_counting();
    println!("{ns} {faults} {} {} {}", counts.peak, counts.calls, hash(peer.output()));
}

/// A hash of a result, for processes to compare.
#[must_use]
pub fn hash(output: &Output) -> u64 {
    let mut hasher = DefaultHasher::new();
    output.units.hash(&mut hasher);
    for line in &output.lines {
        (line.off, line.line).hash(&mut hasher);
    }
    output.subprogs.hash(&mut hasher);
    hasher.finish()
}
