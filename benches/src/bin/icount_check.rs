//! Reads what `cargo bench --bench icount -- --output-format=json` prints, and compares the counts with a
//! baseline and with the promised complexity.
//!
//! `icount_check BASELINE RUSTC VALGRIND [--accept]`, counts on standard input. It fails if
//! anything counts 2 % more than the baseline says, is new, or is gone; or if there is no baseline. Of another
//! compiler or valgrind the counts differ, so then growth is a warning. `--accept` writes the baseline.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::process::ExitCode;
use std::{env, fs, io};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Counts, and what they hold for.
#[derive(Serialize, Deserialize)]
struct Baseline {
    rustc: String,
    valgrind: String,
    /// Instructions, by group, function and case.
    counts: BTreeMap<String, u64>,
}

/// Growth that passes, in thousandths.
const GROWTH: u64 = 1020;
/// What 16 times the size may cost: an edit.
const FLAT: f64 = 1.2;
/// What 16 times the size may cost: all else.
const LINEAR: f64 = 16.5;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let (path, rustc, valgrind, accept) = match &args[..] {
        [path, rustc, valgrind] => (path, rustc, valgrind, false),
        [path, rustc, valgrind, flag] if flag == "--accept" => (path, rustc, valgrind, true),
        _ => return Err("usage: icount_check BASELINE RUSTC VALGRIND [--accept] < counts".into()),
    };
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let now = Baseline { rustc: rustc.clone(), valgrind: valgrind.clone(), counts: counts(&text)? };
    let mut failures = complexity(&now.counts);
    if accept {
        fs::write(path, serde_json::to_string_pretty(&now)? + "\n")?;
        println!("wrote {} counts to {path}", now.counts.len());
    } else {
        let text = fs::read_to_string(path).map_err(|error| format!("no baseline at {path}: {error}"))?;
        failures += compare(&serde_json::from_str(&text)?, &now);
    }
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The instructions of each benchmark, from one line of JSON each.
fn counts(text: &str) -> Result<BTreeMap<String, u64>, Box<dyn Error>> {
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let summary: Value = serde_json::from_str(line)?;
        let path = summary["module_path"].as_str().ok_or("a summary has no path")?;
        let name = path.split_once("::").map_or(path, |(_, name)| name);
        let metrics = &summary["profiles"][0]["summaries"]["total"]["summary"]["Callgrind"]["Ir"]["metrics"];
        let count = [&metrics["Left"]["Int"], &metrics["Both"][0]["Int"]].into_iter().find_map(Value::as_u64);
        let id = summary["id"].as_str().unwrap_or_default();
        counts.insert(format!("{name}.{id}"), count.ok_or("a summary has no instruction count")?);
    }
    if counts.is_empty() { Err("no counts: did the benchmark run?".into()) } else { Ok(counts) }
}

/// Compares every count at `n` with that at `16 n`, and returns how many grew too much.
fn complexity(counts: &BTreeMap<String, u64>) -> usize {
    let mut failures = 0;
    println!("{:44} {:>12} {:>12} {:>7}", "instructions", "n", "16 n", "ratio");
    for (name, &count) in counts {
        let Some(&more) = counts.get(&format!("{name}16")) else { continue };
        let ratio = more as f64 / count as f64;
        let most = if name.starts_with("edit::") { FLAT } else { LINEAR };
        let verdict = if ratio > most { "GROWS TOO FAST" } else { "" };
        println!("{name:44} {count:12} {more:12} {ratio:7.2} {verdict}");
        failures += usize::from(ratio > most);
    }
    failures
}

/// Compares counts with those of the baseline, and returns how many are worse.
fn compare(baseline: &Baseline, now: &Baseline) -> usize {
    let same = (&baseline.rustc, &baseline.valgrind) == (&now.rustc, &now.valgrind);
    if !same {
        println!(
            "warning: the baseline is of rustc {} and valgrind {}, this is {} and {}: growth is no failure",
            baseline.rustc, baseline.valgrind, now.rustc, now.valgrind
        );
    }
    let mut failures = 0;
    for (name, &count) in &now.counts {
        match baseline.counts.get(name) {
            None => {
                println!("{name}: {count}, not in the baseline");
                failures += 1;
            }
            Some(&before) if count * 1000 > before * GROWTH => {
                let percent = (count as f64 / before as f64 - 1.0) * 100.0;
                println!("{name}: {count}, {percent:.1} % more than {before}");
                failures += usize::from(same);
            }
            Some(&before) if before * 1000 > count * GROWTH => {
                let percent = (1.0 - count as f64 / before as f64) * 100.0;
                println!("{name}: {count}, {percent:.1} % less than {before}: accept it");
            }
            Some(_) => {}
        }
    }
    for name in baseline.counts.keys().filter(|name| !now.counts.contains_key(*name)) {
        println!("{name} is in the baseline and was not counted");
        failures += 1;
    }
    failures
}
