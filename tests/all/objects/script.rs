//! Edit scripts: what is wrong with them is said, and what they do is seen by running it.

use aya::maps::Array;
use aya::programs::{Program, TestRun as _, TestRunOptions};
use aya::{Ebpf, EbpfLoader};
use relinear::Arena;
use relinear::elf::Object;
use relinear::script::{Report, Script, ScriptError};

use super::ask;
use crate::cli::{data, read, run, tempdir};

/// The object after a script, and what the script did.
fn edited(file: &[u8], script: &str) -> Result<(Vec<u8>, Report), ScriptError> {
    let script = Script::parse(script)?;
    let mut object = Object::parse(file).expect("an object of clang's");
    let arena = Arena::new();
    let mut edit = object.edit(&arena);
    let report = script.run(&mut edit)?;
    let change = edit.finish().unwrap_or_else(|error| panic!("{error}"));
    object.commit(change).unwrap_or_else(|error| panic!("{error}"));
    Ok((object.write().expect("it can be written"), report))
}

#[test]
fn what_is_wrong_has_a_line() {
    let file = read(data("subprogs.o"));
    for (script, line, why) in [
        ("nonsense", 1, "expected data NAME"),
        ("data hits", 1, "expected data NAME"),
        ("\ndata hits 0", 2, "a size in bytes"),
        ("data hits 8\n  r0 = 0", 2, "this code is not for"),
        ("at sum entry", 1, "prepend, append"),
        ("at sum prepend", 1, "FILE:LINE"),
        ("at sum entry prepend", 1, "code below"),
        ("at sum entry prepend\n  r0 = ", 2, "column 7"),
        ("at sum entry prepend\n\n  r11 = 0", 3, "name in braces"),
        ("at sum entry prepend\n  goto away", 2, "\"away\""),
        ("at sum entry prepend\n  goto +7", 2, "a label of the code"),
        ("at sum entry prepend\n  call nobody", 2, "\"nobody\""),
        ("at sum entry prepend\n  r0 = 0\n  r1 = &nothing ll", 3, "\"nothing\""),
        ("at nobody entry prepend\n  r0 = 0", 1, "no function \"nobody\""),
        ("at sum entry append\n  r0 = 0", 1, "only takes prepend"),
        ("at sum exit append\n  r0 = 0", 1, "never run"),
        ("at sum insn 100000 delete", 1, "the function has slots"),
        ("at sum insn 3..2 delete", 1, "two ascending"),
        ("at sum label L999 delete", 1, "no instruction"),
        ("at sum call bpf_map_lookup_elem delete", 1, "no instruction"),
        ("at nowhere.c:3 delete", 1, "no instruction"),
        ("func f(6)\n  exit", 1, "up to 5"),
        ("func f(1)\n  {a} = 0\n  exit", 2, "by their numbers"),
        ("data sum 8", 1, "already"),
        ("map m tree key 4 value 4 max_entries 1", 1, "a kind of map"),
    ] {
        let error = edited(&file, script).map(|_| ()).expect_err(script);
        assert_eq!(error.line, line, "{script}: {error}");
        assert!(error.to_string().contains(why), "{script}: {error}");
    }
}

/// The rows of a report: line of the script, function, slot.
fn rows(report: &Report) -> Vec<(usize, &str, u32)> {
    let row = |edit: &relinear::script::Edit| (edit.line, edit.place.slot);
    let names = report.edits.iter().map(|edit| edit.place.function.as_deref().unwrap_or_default());
    report.edits.iter().map(row).zip(names).map(|((line, slot), name)| (line, name, slot)).collect()
}

#[test]
fn each_place_that_matches_is_reported() {
    let file = read(data("subprogs.o"));
    let object = Object::parse(&file).expect("an object of clang's");
    let text = object.code().iter().find(|code| code.name() == ".text").expect("static functions");
    let mix = text.functions().iter().find(|function| function.name == "mix").expect("one of them");
    let exits = |start: u32, len: u32| {
        let insns = text.insns(start..start + len);
        insns.filter(|(_, insn)| insn[0].is_exit()).map(|(slot, _)| slot).collect::<Vec<_>>()
    };
    let exits = exits(mix.start, mix.len);
    let script = format!(
        "at mix entry prepend\n  r0 = 0\nat mix exit prepend\n  r3 = 0\nat mix insn {} replace\n  r0 = 1\n  exit",
        exits[0]
    );
    let (_, report) = edited(&file, &script).expect("it fits");
    let mut expected = vec![(1, "mix", mix.start)];
    expected.extend(exits.iter().map(|&slot| (3, "mix", slot)));
    expected.push((5, "mix", exits[0]));
    assert_eq!(rows(&report), expected);
    // A line of the source is found by the last parts of its path, in each place that it was inlined to.
    let (_, report) = edited(&file, "at subprogs.c:10 prepend\n  {a} = 0").expect("a line of mix");
    assert!(report.edits.iter().all(|edit| edit.place.line.as_ref().is_some_and(|line| line.line == 10)));
    assert!(!report.edits.is_empty());
    assert!(edited(&file, "at progs.c:10 prepend\n  {a} = 0").is_err());
}

const SCRIPT: &str = "
data entries 8          # three variables, one after the other
data calls 8
data exits 8
at sum entry prepend
    {a} = &entries ll
    {b} = 1
    lock *(u64 *)({a} + 0x0) += {b}
at sum call mix_all prepend
    {a} = &entries + 8 ll       # calls
    {b} = *(u64 *)({a} + 0)
    if {b} s< 0 goto next
    {b} += 1
    *(u64 *)({a} + 0) = {b}
at mix exit prepend
    r1 = 20
    r2 = 22
    call log_it
func log_it(2)
    r0 = r1
    r0 += r2
    r1 = &exits ll
    *(u64 *)(r1 + 0) = r0
    exit
at second exit replace
    r0 = 77
    exit
map seen hash key 4 value 8 max_entries 16
at second entry prepend
    call bpf_ktime_get_ns#5
";

fn load(file: &[u8]) -> Ebpf {
    let mut ebpf = EbpfLoader::new().load(file).expect("it is taken");
    for name in ["sum", "second"] {
        let Some(Program::Xdp(program)) = ebpf.program_mut(name) else { panic!("{name} is there") };
        program.load().unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    ebpf
}

/// What a program returns, and what it makes of the packet.
fn test_run(ebpf: &Ebpf, name: &str) -> (u32, Vec<u8>) {
    let Some(Program::Xdp(program)) = ebpf.program(name) else { panic!("{name} is there") };
    let mut out = vec![0; 64];
    let packet = [0xff_u8; 64];
    let options =
        TestRunOptions { data_in: Some(&packet), data_out: Some(&mut out), ..TestRunOptions::default() };
    let value = program.test_run(options).expect("it runs").return_value;
    (value, out)
}

#[test]
fn scripts_do_what_they_say() {
    let file = read(data("subprogs.o"));
    if ask(&file, "subprogs.o").is_none() {
        return;
    }
    let (bytes, report) = edited(&file, SCRIPT).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(report.added, ["entries", "calls", "exits", "seen", "log_it"]);
    let (before, after) = (load(&file), load(&bytes));
    for _ in 0..3 {
        assert_eq!(test_run(&after, "sum"), test_run(&before, "sum"));
        assert_eq!(test_run(&after, "second").0, 77);
    }
    let map = after.map(".data.relinear").expect("a map of variables");
    let array: Array<_, [u64; 3]> = Array::try_from(map).expect("an array");
    assert_eq!(array.get(&0, 0).expect("it has one value"), [3, 3, 42]);
    assert!(after.map("seen").is_some());
}

#[test]
fn the_command_edits_by_a_file_or_by_lines() {
    let dir = tempdir();
    let (script, out) = (dir.path().join("script"), dir.path().join("out.o"));
    std::fs::write(&script, SCRIPT).expect("there is room");
    let [input, output, path] =
        [data("subprogs.o"), out.clone(), script].map(|path| path.to_str().expect("plain").to_owned());
    let ran = run(["edit", &input, "-o", &output, "--script", &path, "--json"]);
    let json: serde_json::Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!((&json["version"], json["added"].as_array().map(Vec::len)), (&1.into(), Some(5)));
    assert!(json["edits"].as_array().is_some_and(|edits| edits.len() >= 5));
    let by_library = edited(&read(data("subprogs.o")), SCRIPT).expect("it fits").0;
    assert_eq!(read(&out), by_library);

    let lines = ["edit", &input, "-o", &output, "-e", "data hits 8", "-e", "at sum entry prepend", "-e"];
    let ran = run(lines.into_iter().chain(["r5 = &hits ll"]));
    assert!(ran.text().contains("prepend") && ran.text().contains("added hits"), "{}", ran.text());
    let before = read(&out);
    run(lines.into_iter().chain(["r5 = &misses ll"])).fails(1, &["line 3", "misses"]);
    run(["edit", &input, "-o", &output]).fails(2, &["--script"]);
    assert_eq!(read(&out), before);
}
