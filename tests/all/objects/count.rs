//! Counters of functions, by the command, against what the source says that runs call.

use std::fs;
use std::path::Path;

use aya::maps::Map;
use aya::programs::{Program, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use relinear::Arena;
use relinear::count::{self, Options};
use relinear::elf::Object;
use serde_json::Value;

use super::{OTHER_LOADERS, ask, objects};
use crate::cli::{data, read, run, tempdir};

/// An object with counters.
fn counted(file: &[u8], options: Options, what: &str) -> (Vec<u8>, count::Report) {
    let mut object = Object::parse(file).unwrap_or_else(|error| panic!("{what}: {error}"));
    let arena = Arena::new();
    let mut edit = object.edit(&arena);
    let report = count::run(&mut edit, &options).unwrap_or_else(|error| panic!("{what}: {error}"));
    let change = edit.finish().unwrap_or_else(|error| panic!("{what}: {error}"));
    object.commit(change).unwrap_or_else(|error| panic!("{what}: {error}"));
    (object.write().unwrap_or_else(|error| panic!("{what}: {error}")), report)
}

#[test]
fn counted_programs_answer_as_before() {
    let (mut timed, mut skipped) = (0, 0);
    for (name, file) in objects() {
        for (exits, time) in [(false, false), (true, false), (true, true)] {
            let what = format!("{name}, exits {exits}, time {time}");
            let (bytes, report) = counted(&file, Options { exits, time }, &what);
            let object = Object::parse(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
            let per_function = 1 + usize::from(exits);
            let clocks = report.functions.iter().filter(|function| function.time).count();
            assert_eq!(
                count::counters(&object).len(),
                per_function * report.functions.len() + clocks,
                "{what}"
            );
            timed += clocks;
            skipped += report.functions.iter().filter(|function| function.skipped.is_some()).count();
            if OTHER_LOADERS.contains(&name.as_str()) {
                continue;
            }
            let Some(expected) = ask(&file, &name) else { return };
            let found = ask(&bytes, &what).expect("the kernel was asked before");
            for (found, expected) in found.outcomes.iter().zip(&expected.outcomes) {
                assert_eq!(found, expected, "{what}");
            }
        }
    }
    println!("the time of {timed} functions is counted, that of {skipped} is not");
    assert!(timed > 3 * skipped);
}

/// The object in the kernel, with its programs of that name.
fn loaded(path: &Path, programs: &[&str]) -> Ebpf {
    let mut ebpf = EbpfLoader::new().load(&read(path)).expect("it is taken");
    for name in programs {
        let Some(Program::Xdp(program)) = ebpf.program_mut(name) else { panic!("{name} is there") };
        program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    ebpf
}

fn test_run(ebpf: &Ebpf, name: &str, times: usize) {
    let Some(Program::Xdp(program)) = ebpf.program(name) else { panic!("{name} is there") };
    // The low three bits of the third word are not all zero.
    let packet = [0xff_u8; 64];
    for _ in 0..times {
        let options = TestRunOptions { data_in: Some(&packet), ..TestRunOptions::default() };
        program.test_run(options).expect("it runs");
    }
}

/// What `relinear count --report` says, by function: entries, exits, nanoseconds.
fn reported(path: &Path, ebpf: &Ebpf) -> Vec<(String, [Option<u64>; 3])> {
    let Some(Map::Array(map)) = ebpf.map(".data.relinear") else { panic!("a map of counters") };
    let id = map.info().expect("it is ours").id().to_string();
    let path = path.to_str().expect("a plain name");
    let ran = run(["count", "--report", path, "--map-id", &id, "--json"]);
    let json: Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!(json["version"], 1);
    let row = |row: &Value| {
        let values = ["entries", "exits", "nanoseconds"].map(|what| row[what].as_u64());
        (row["function"].as_str().expect("a name").to_owned(), values)
    };
    json["functions"].as_array().expect("a list").iter().map(row).collect()
}

/// `sum` calls `mix_all` with four words, and `scale`; `mix_all` calls `mix` for each word: two in `second`.
fn expected(sums: u64, seconds: u64) -> [(&'static str, u64); 7] {
    [
        ("mix", 4 * sums + 2 * seconds),
        ("mix_all", sums + seconds),
        ("scale", sums),
        ("classify", 0),
        ("orphan", 0),
        ("sum", sums),
        ("second", seconds),
    ]
}

#[test]
fn counters_hold_exactly_what_ran() {
    let dir = tempdir();
    let out = dir.path().join("counted.o");
    for more in [&[][..], &["--exits"], &["--exits", "--time"]] {
        if ask(&read(data("subprogs.o")), "subprogs.o").is_none() {
            return;
        }
        let [input, output] = [data("subprogs.o"), out.clone()].map(|path| path.to_str().unwrap().to_owned());
        let ran = run(["count", &input, "-o", &output].into_iter().chain(more.iter().copied()));
        assert!(ran.text().contains("mix_all"));
        let ebpf = loaded(&out, &["sum", "second"]);
        let mut last_time = 0;
        for (sums, seconds) in [(1, 0), (30, 7)] {
            let before = if sums == 1 { (0, 0) } else { (1, 0) };
            test_run(&ebpf, "sum", sums - before.0);
            test_run(&ebpf, "second", seconds - before.1);
            let found = reported(&out, &ebpf);
            for (function, runs) in expected(sums as u64, seconds as u64) {
                let (_, [entries, exits, time]) =
                    found.iter().find(|(name, _)| name == function).expect("each function is counted");
                assert_eq!(*entries, Some(runs), "{function} {more:?}");
                assert_eq!(*exits, more.contains(&"--exits").then_some(runs), "{function} {more:?}");
                if function == "sum" && more.contains(&"--time") {
                    let time = time.expect("its time is counted");
                    assert!(time > last_time, "{time} after {last_time}");
                    last_time = time;
                }
            }
        }
    }
}

#[test]
fn no_run_of_two_threads_is_lost() {
    const RUNS: usize = 20_000;
    let file = read(data("subprogs.o"));
    if ask(&file, "subprogs.o").is_none() {
        return;
    }
    let dir = tempdir();
    let path = dir.path().join("counted.o");
    fs::write(&path, counted(&file, Options { exits: true, time: false }, "subprogs.o").0)
        .expect("there is room");
    let ebpf = loaded(&path, &["sum", "second"]);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| test_run(&ebpf, "sum", RUNS));
        }
    });
    let found = reported(&path, &ebpf);
    for (function, runs) in expected(2 * RUNS as u64, 0) {
        let (_, [entries, exits, _]) =
            found.iter().find(|(name, _)| name == function).expect("it is counted");
        assert_eq!((*entries, *exits), (Some(runs), Some(runs)), "{function}");
    }
}
