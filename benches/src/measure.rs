//! Rounds of runs: each peer in turn, again and again, so that what else the machine does hits all.

use std::io;

use crate::clock;
use crate::cold;
use crate::memory::{self, Counts};
use crate::peers::{self, Output, Peer};
use crate::rows::Row;
use crate::work::Work;

/// How long to measure. Times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// For the samples of one work.
    pub total: u64,
    /// A peer that needs more for a run is run once, and not at greater works.
    pub longest: u64,
    /// A sample is as many runs as take this long.
    pub sample: u64,
    /// The most samples.
    pub samples: usize,
    /// Cold runs.
    pub cold: usize,
    /// Runs of each command at each object.
    pub processes: usize,
}

impl Effort {
    /// For a look.
    pub const QUICK: Self =
        Self { total: 300_000_000, longest: 500_000_000, sample: 500_000, samples: 15, cold: 1, processes: 7 };
    /// For figures to keep.
    pub const FULL: Self = Self {
        total: 8_000_000_000,
        longest: 10_000_000_000,
        sample: 1_000_000,
        samples: 101,
        cold: 5,
        processes: 41,
    };
}

struct Runner {
    name: &'static str,
    peer: Box<dyn Peer>,
    counts: Counts,
    /// Runs in a sample.
    runs: u64,
    samples: Vec<u64>,
    faults: u64,
    /// One run was enough.
    slow: bool,
}

/// Measures peers at one work, in memory that is mapped already: each has made the work before.
///
/// # Panics
///
/// If two peers disagree about the result.
#[must_use]
pub fn warm(work: &Work, names: &[&'static str], effort: &Effort) -> Vec<Row> {
    let expected = result(work);
    // So much does not fit into memory for all of them at once.
    let together = if work.program.len() < GREAT { names.len().max(1) } else { 1 };
    names.chunks(together).flat_map(|names| warm_together(work, names, &expected, effort)).collect()
}

/// Programs from this many units on are measured peer by peer.
const GREAT: usize = 1 << 22;

/// Programs of up to this many units are measured in warm caches.
const IN_CACHE: usize = 1 << 16;

fn warm_together(work: &Work, names: &[&'static str], expected: &Output, effort: &Effort) -> Vec<Row> {
    let mut runners: Vec<Runner> = names.iter().map(|name| prepare(name, work, expected, effort)).collect();
    let start = clock::now();
    // The first round is for the C allocator to come to rest.
    for round in 0..=effort.samples {
        for runner in runners.iter_mut().filter(|runner| !runner.slow) {
            if work.program.len() <= IN_CACHE {
                // The peer before left its own work in the caches, and in what predicts branches.
                time(&mut *runner.peer, work, runner.runs);
            }
            let before = memory::page_faults();
            let time = time(&mut *runner.peer, work, runner.runs);
            if round > 0 {
                runner.samples.push(time);
                runner.faults += memory::page_faults() - before;
            }
        }
        if round >= 3 && clock::now() - start > effort.total {
            break;
        }
    }
    runners
        .into_iter()
        .map(|mut runner| {
            let counts = runner.counts;
            let kept = if runner.name == "memcpy" { 2 } else { 1 } * expected.bytes();
            let runs = runner.runs * runner.samples.len() as u64;
            Row {
                median_ns: median(&mut runner.samples),
                peak_bytes: counts.peak.saturating_sub(kept) as u64,
                faults: runner.faults / runs,
                allocations: counts.calls as u64,
                ..row(work, runner.name, "warm", expected)
            }
        })
        .collect()
}

/// Measures peers at one work, each run in a process of its own.
///
/// # Errors
///
/// If a process cannot be started or fails.
///
/// # Panics
///
/// If two peers disagree about the result.
pub fn cold(work: &Work, names: &[&'static str], effort: &Effort) -> io::Result<Vec<Row>> {
    let expected = result(work);
    let hash = cold::hash(&expected);
    let mut runs = vec![Vec::new(); names.len()];
    for _ in 0..effort.cold {
        for (name, runs) in names.iter().zip(&mut runs) {
            let run = cold::run(work, name)?;
            assert_eq!(run.hash, hash, "{name} disagrees about work {} when cold", work.shape.name());
            runs.push(run);
        }
    }
    let rows = names.iter().zip(runs).map(|(name, runs)| {
        let middle = |of: fn(&cold::Cold) -> u64| median(&mut runs.iter().map(of).collect::<Vec<_>>());
        Row {
            median_ns: middle(|run| run.ns),
            peak_bytes: middle(|run| run.peak).saturating_sub(expected.bytes() as u64),
            faults: middle(|run| run.faults),
            allocations: middle(|run| run.calls),
            ..row(work, name, "cold", &expected)
        }
    });
    Ok(rows.collect())
}

fn row(work: &Work, peer: &str, mode: &str, expected: &Output) -> Row {
    let count = |units: &[_]| u32::try_from(units.len()).expect("a program fits in 32 bits");
    Row {
        work: work.shape.name().into(),
        n: count(&work.program),
        peer: peer.into(),
        mode: mode.into(),
        median_ns: 0,
        units_in: count(&work.program),
        units_out: count(&expected.units),
        peak_bytes: 0,
        faults: 0,
        allocations: 0,
    }
}

/// The result of a work, which all peers have to agree on.
///
/// # Panics
///
/// If `relinear` refuses the work.
#[must_use]
pub fn result(work: &Work) -> Output {
    let mut peer = peers::by_name("relinear", &Output::default()).expect("it is a peer");
    peer.run(work);
    peer.output().clone()
}

fn prepare(name: &'static str, work: &Work, expected: &Output, effort: &Effort) -> Runner {
    memory::start_counting();
    let mut peer = peers::by_name(name, expected).expect("only known peers are asked for");
    let first = time(&mut *peer, work, 1);
    check(name, work, peer.output(), expected);
    let mut last = first;
    let slow = first > effort.longest;
    if !slow {
        // A bump arena reaches its size in the second run, and uses one block from the third on.
        peer.run(work);
        memory::forget_peak();
        last = time(&mut *peer, work, 1);
        check(name, work, peer.output(), expected);
    }
    let counts = memory::stop_counting();
    let runs = (effort.sample / last.max(1)).clamp(1, 100_000);
    let samples = if slow { vec![first] } else { Vec::new() };
    Runner { name, peer, counts, runs, samples, faults: 0, slow }
}

/// Nanoseconds of a run, the mean of `runs`.
fn time(peer: &mut dyn Peer, work: &Work, runs: u64) -> u64 {
    let start = clock::now();
    for _ in 0..runs {
        peer.run(core::hint::black_box(work));
        core::hint::black_box(peer.output());
    }
    (clock::now() - start) / runs
}

fn check(name: &str, work: &Work, output: &Output, expected: &Output) {
    if output == expected {
        return;
    }
    let differs = output.units.iter().zip(&expected.units).position(|(ours, theirs)| ours != theirs);
    panic!(
        "{name} disagrees about work {} at {} units: {} units, {} expected, first difference at {differs:?}; \
         same lines: {}, same subprograms: {}",
        work.shape.name(),
        work.program.len(),
        output.units.len(),
        expected.units.len(),
        output.lines == expected.lines,
        output.subprogs == expected.subprogs,
    );
}

/// The middle one.
#[must_use]
pub fn median(samples: &mut [u64]) -> u64 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or(0)
}
