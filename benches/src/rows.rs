//! [`Row`]: one line of the report, and the report as JSON and as a Markdown table.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// `a` to `f`.
    pub work: String,
    /// Units of the program.
    pub n: u32,
    /// Who did it.
    pub peer: String,
    /// `warm`: memory was mapped before the clock started. `cold`: the first run of a process.
    pub mode: String,
    /// Median time of a run, from the units to the result and all freed.
    pub median_ns: u64,
    /// Units of the program.
    pub units_in: u32,
    /// Units of the result.
    pub units_out: u32,
    /// Peak memory beyond input and output.
    pub peak_bytes: u64,
    /// Page faults in a run.
    pub faults: u64,
    /// Calls of the allocator in a run.
    pub allocations: u64,
}

impl Row {
    /// Nanoseconds for each unit of the program.
    #[must_use]
    pub fn ns_per_unit(&self) -> f64 {
        self.median_ns as f64 / f64::from(self.n)
    }

    /// Peak bytes for each unit of the result.
    #[must_use]
    pub fn bytes_per_unit(&self) -> f64 {
        self.peak_bytes as f64 / f64::from(self.units_out)
    }
}

/// The rows of one work at one size in one mode, in order.
fn groups(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| (&a.work, a.n, &a.mode) == (&b.work, b.n, &b.mode))
}

/// A table for each work, size and mode: time, ratios to `memcpy` and to `relinear`, memory.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut out = String::new();
    for group in groups(rows) {
        let first = &group[0];
        let time = |name| group.iter().find(|row| row.peer == name).map(|row| row.median_ns as f64);
        let ratio = |row: &Row, base: Option<f64>| {
            base.map_or_else(|| "-".into(), |base| format!("{:.2}", row.median_ns as f64 / base))
        };
        let _ = writeln!(
            out,
            "### work {}, {} units in, {} out, {}\n\n\
             | peer | time | ns/unit | x `memcpy` | x `relinear` | peak B/unit out | B/unit in | faults | allocations |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            first.work, first.n, first.units_out, first.mode,
        );
        for row in group {
            let _ = writeln!(
                out,
                "| `{}` | {} | {:.2} | {} | {} | {:.1} | {:.1} | {} | {} |",
                row.peer,
                nanos(row.median_ns),
                row.ns_per_unit(),
                ratio(row, time("memcpy")),
                ratio(row, time("relinear")),
                row.bytes_per_unit(),
                row.peak_bytes as f64 / f64::from(row.n),
                row.faults,
                row.allocations,
            );
        }
        out.push('\n');
    }
    out
}

/// A time to read.
#[must_use]
pub fn nanos(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.1} s", ns as f64 / 1e9),
    }
}

/// How the rows came about, for readers.
pub const METHOD: &str = "\
Each peer makes the same edits on the same program and has to give the same result, which is checked in
the run itself. A run is all of it: making the list, the edits, linearization, freeing. An eighth of
the instructions are branches, near and far; one in 32 is wide.

- *warm*: every peer has made the work before, three times at least. `relinear` and `bpf_patcher` keep
  their arena, all keep their output and scratch buffers. For peers that allocate node by node, or cannot
  reset their arena, the C allocator is told to keep what is freed (`M_MMAP_MAX` 0, no trimming).
  So no run faults a page in; the column of faults shows it. Up to 65,536 units, a sample follows a run that is not\n  timed: caches are warm.
- *cold*: the first run of a new process, with the C allocator as it comes. All pages are faulted in.

Samples are taken in rounds, one sample of each peer a round, and medians are given. Times are of the
thread's processor clock. Peak memory is counted by the allocator, and is what was in use at once,
less the result; what is kept between runs, and our maps, count. `memcpy` copies the finished result.
";

/// One line a work and size: times as multiples of ours, warm.
#[must_use]
pub fn summary(rows: &[Row]) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:4} {:>9} {:5} {:>11}  time of peers as multiples of ours",
        "work", "units", "", "relinear"
    );
    for group in groups(rows) {
        let Some(ours) = group.iter().find(|row| row.peer == "relinear") else { continue };
        let _ = write!(out, "{:4} {:>9} {:5} {:>11} ", ours.work, ours.n, ours.mode, nanos(ours.median_ns));
        for row in group.iter().filter(|row| row.peer != "relinear") {
            let _ = write!(out, " {} {:.2}", row.peer, row.median_ns as f64 / ours.median_ns as f64);
        }
        out.push('\n');
    }
    out
}
