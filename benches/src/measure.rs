//! Rounds of runs: each peer in turn, again and again, so that what else the machine does hits all.

use std::time::{Duration, Instant};

use crate::memory::{self, Counts};
use crate::peers::{self, Output, Peer};
use crate::work::Work;

/// What was measured of one peer at one work.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Its name.
    pub peer: &'static str,
    /// Median time of a run.
    pub median_ns: u64,
    /// Peak memory of a run, with what is kept between runs, beyond input and output.
    pub peak_bytes: usize,
    /// Calls of the allocator in a run.
    pub calls: usize,
    /// Page faults in all samples.
    pub faults: u64,
    /// Length of the output.
    pub units_out: usize,
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Time for all peers at one work.
    pub total: Duration,
    /// A peer that needs longer for a run is run no more than once a work, and not at greater works.
    pub longest: Duration,
    /// A sample is as many runs as take this long.
    pub sample: Duration,
    /// The most samples.
    pub samples: usize,
}

impl Effort {
    /// For a look.
    pub const QUICK: Self = Self {
        total: Duration::from_millis(600),
        longest: Duration::from_secs(1),
        sample: Duration::from_micros(100),
        samples: 31,
    };
    /// For figures to keep.
    pub const FULL: Self = Self {
        total: Duration::from_secs(8),
        longest: Duration::from_secs(10),
        sample: Duration::from_micros(300),
        samples: 101,
    };
}

struct Runner {
    name: &'static str,
    peer: Box<dyn Peer>,
    counts: Counts,
    /// Runs in a sample.
    runs: u32,
    samples: Vec<u64>,
    faults: u64,
}

/// Measures peers at one work, in memory that is mapped already: each has made the work before.
///
/// # Panics
///
/// If two peers disagree about the result.
#[must_use]
pub fn warm(work: &Work, names: &[&'static str], effort: &Effort) -> Vec<Measured> {
    let expected = result(work);
    let mut runners: Vec<Runner> = names.iter().map(|name| prepare(name, work, &expected, effort)).collect();
    let start = Instant::now();
    let mut round = 0;
    while round < effort.samples && (round < 3 || start.elapsed() < effort.total) {
        for runner in &mut runners {
            let slow = runner.samples.first().is_some_and(|&first| u128::from(first) * 8 > effort.total.as_nanos());
            if slow && runner.samples.len() >= 2 {
                continue;
            }
            let before = memory::page_faults();
            let time = time(&mut *runner.peer, work, runner.runs);
            runner.faults += memory::page_faults() - before;
            runner.samples.push(nanos(time / runner.runs));
        }
        round += 1;
    }
    runners
        .into_iter()
        .map(|mut runner| Measured {
            peer: runner.name,
            median_ns: median(&mut runner.samples),
            peak_bytes: runner.counts.peak.saturating_sub(expected.bytes()),
            calls: runner.counts.calls,
            faults: runner.faults,
            units_out: expected.units.len(),
        })
        .collect()
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
    if first < effort.longest {
        // A bump arena reaches its size in the third run.
        for _ in 0..3 {
            peer.run(work);
        }
        memory::forget_peak();
        peer.run(work);
        check(name, work, peer.output(), expected);
    }
    let mut counts = memory::stop_counting();
    if name == "memcpy" {
        counts.peak = counts.peak.saturating_sub(expected.bytes());
    }
    let last = time(&mut *peer, work, 1);
    let runs = (effort.sample.as_nanos() / last.as_nanos().max(1)).clamp(1, 100_000);
    Runner { name, peer, counts, runs: u32::try_from(runs).expect("clamped"), samples: Vec::new(), faults: 0 }
}

fn time(peer: &mut dyn Peer, work: &Work, runs: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..runs {
        peer.run(core::hint::black_box(work));
        core::hint::black_box(peer.output());
    }
    start.elapsed()
}

fn check(name: &str, work: &Work, output: &Output, expected: &Output) {
    if output == expected {
        return;
    }
    let differs = output.units.iter().zip(&expected.units).position(|(ours, theirs)| ours != theirs);
    panic!(
        "{name} disagrees about work {} at {} units: {} units, {} expected; first difference at {differs:?}; lines {}, subprograms {}",
        work.shape.name(),
        work.program.len(),
        output.units.len(),
        expected.units.len(),
        output.lines == expected.lines,
        output.subprogs == expected.subprogs,
    );
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("no run takes centuries")
}

/// The middle one.
#[must_use]
pub fn median(samples: &mut [u64]) -> u64 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or(0)
}
