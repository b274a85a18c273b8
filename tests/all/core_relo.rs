//! CO-RE relocations against the running kernel: for each record of the objects, what libbpf (by `bpftool`) writes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use object::{Object, ObjectSection};
use relinear::btf::core::{Answer, CoreError, Relo, relocate};
use relinear::btf::{Kind, Types, essential_name};

const KERNEL: &str = "/sys/kernel/btf/vmlinux";

/// A record of `.BTF.ext`, with the name of its section and its number there.
#[derive(Debug)]
struct Record {
    section: String,
    number: usize,
    type_id: u32,
    access: String,
    relo: Relo,
}

fn word(data: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"))
}

/// The records of an object of little end.
fn records(types: &Types<'_>, ext: &[u8]) -> Vec<Record> {
    let header = word(ext, 4) as usize;
    if header < 32 {
        return Vec::new();
    }
    let start = header + word(ext, 24) as usize;
    let end = start + word(ext, 28) as usize;
    let mut found = Vec::new();
    let mut at = start + 4;
    while at < end {
        let section = types.string(word(ext, at)).expect("a name").to_owned();
        let count = word(ext, at + 4) as usize;
        at += 8;
        for number in 0..count {
            found.push(Record {
                section: section.clone(),
                number,
                type_id: word(ext, at + 4),
                access: types.string(word(ext, at + 8)).expect("an access").to_owned(),
                relo: Relo::from_number(word(ext, at + 12)).expect("a kind"),
            });
            at += word(ext, start) as usize;
        }
    }
    found
}

/// What libbpf made of each record: by the name of the program and the number of the record, as `bpftool` tells.
fn patched(object: &Path) -> Option<Vec<(String, usize, Option<u64>)>> {
    let directory = env::temp_dir().join(format!(
        "relinear-core-{}-{}",
        std::process::id(),
        object.file_name()?.display()
    ));
    fs::create_dir(&directory).expect("a directory");
    let script = "mount -t bpf none \"$1\" && bpftool -d prog loadall \"$2\" \"$1/all\" 2>&1";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&directory)
        .arg(object)
        .output();
    fs::remove_dir(&directory).expect("it is empty");
    let text = String::from_utf8_lossy(&output.ok()?.stdout).into_owned();
    let mut found = Vec::new();
    for line in text.lines() {
        let Some((name, rest)) =
            line.strip_prefix("libbpf: prog '").and_then(|rest| rest.split_once("': relo #"))
        else {
            continue;
        };
        let Some((number, what)) = rest.split_once(": ") else { continue };
        let Ok(number) = number.parse() else { continue };
        if what.starts_with("patched insn #") {
            let new = what.rsplit_once(" -> ").expect("what it becomes").1;
            // Numbers of 32 bits are written with their sign.
            let new = new.parse::<u64>().or_else(|_| new.parse::<i64>().map(i64::cast_unsigned));
            found.push((name.to_owned(), number, Some(new.expect("a number"))));
        } else if what.starts_with("substituting insn #") {
            found.push((name.to_owned(), number, None));
        }
    }
    Some(found)
}

fn objects() -> Vec<PathBuf> {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let Ok(entries) = fs::read_dir(data) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("it can be listed").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "o")).collect();
    paths.sort();
    paths
}

#[test]
fn relocations_are_those_of_libbpf() {
    let Ok(kernel) = fs::read(KERNEL) else { return crate::skipped("the kernel shows no BTF") };
    if !crate::kernel::is_available() {
        return;
    }
    if !Command::new("bpftool").arg("version").output().is_ok_and(|output| output.status.success()) {
        return crate::skipped("there is no bpftool");
    }
    let kernel = Types::parse(&kernel).expect("BTF");
    let (mut compared, mut missing, mut kinds) = (0, 0, std::collections::BTreeSet::new());
    for path in objects() {
        let data = fs::read(&path).expect("an object");
        let file = object::File::parse(&*data).expect("ELF");
        let section = |name| file.section_by_name(name).and_then(|section| section.data().ok());
        let Some((btf, ext)) = section(".BTF").zip(section(".BTF.ext")) else { continue };
        let types = Types::parse(btf).expect("BTF");
        if !file.is_little_endian() {
            continue;
        }
        let records = records(&types, ext);
        if records.is_empty() {
            continue;
        }
        let theirs = patched(&path).expect("bpftool runs");
        for (program, number, new) in theirs {
            let symbol = object::Object::symbols(&file)
                .find(|symbol| object::ObjectSymbol::name(symbol) == Ok(&program))
                .expect("a program");
            let section = object::ObjectSymbol::section_index(&symbol).expect("a section");
            let section =
                file.section_by_index(section).expect("a section").name().expect("a name").to_owned();
            let is_it = |record: &&Record| record.section == section && record.number == number;
            let record = records.iter().find(is_it).expect("a record");
            let answer = relocate(&types, record.relo, record.type_id, &record.access, &kernel, &[])
                .map(|both| both.target);
            let what = format!("{} {program} {record:?}", path.display());
            match (new, answer) {
                // An immediate of 32 bits is written without what is above.
                (Some(new), Ok(Answer::Value(value))) => {
                    assert!(
                        value == new || value & 0xffff_ffff == new & 0xffff_ffff,
                        "{what}: {value} {new}"
                    );
                }
                (Some(new), other) => panic!("{what}: {other:?}, not {new}"),
                (None, answer) => {
                    assert_eq!(answer, Ok(Answer::Missing), "{what}");
                    missing += 1;
                }
            }
            compared += 1;
            kinds.insert(format!("{:?}", record.relo));
        }
    }
    println!("{compared} relocations of {} kinds, {missing} of them without an answer", kinds.len());
    assert!(compared > 150 && kinds.len() == 13, "{compared} {kinds:?}");
}

#[test]
fn names_lose_their_flavours() {
    for (name, essential) in [
        ("task_struct", "task_struct"),
        ("task_struct___new", "task_struct"),
        ("a___b___c", "a___b"),
        ("a___", "a___"),
        ("___a", "___a"),
        ("a____b", "a____b"),
        ("", ""),
    ] {
        assert_eq!(essential_name(name), essential, "{name}");
    }
}

#[test]
fn the_kernel_can_be_asked_for_types() {
    let Ok(kernel) = fs::read(KERNEL) else { return crate::skipped("the kernel shows no BTF") };
    let kernel = Types::parse(&kernel).expect("BTF");
    let task = kernel.find("task_struct", Kind::Struct).expect("every kernel has it");
    assert_eq!(kernel.find("task_struct", Kind::Union), None);
    assert_eq!(kernel.display(task), "struct task_struct");
    let comm = kernel.field(task, "comm").expect("a member");
    assert_eq!(kernel.size(comm.type_id), Some(16));
    assert_eq!(kernel.field(task, "comm[3]").expect("an element").bit_offset, comm.bit_offset + 24);
    assert_eq!(kernel.field(task, "comm[16]"), None);
    assert_eq!(kernel.field(task, "no_such"), None);
    // All that a member without a name has is found like members of the structure itself.
    let address = kernel.find("in6_addr", Kind::Struct).expect("a kernel with IPv6");
    assert!(kernel.field(address, "in6_u.u6_addr32[3]").is_some_and(|field| field.bit_offset == 96));
}

/// Split BTF names types and strings of its base.
#[test]
fn split_btf_goes_on_where_its_base_ends() {
    let btf = |types: &[[u32; 4]], strings: &str| {
        let types: Vec<u8> = types.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
        let mut data = vec![0x9f, 0xeb, 1, 0];
        let lens = [24, 0, types.len(), types.len(), strings.len()];
        data.extend(lens.iter().flat_map(|len| u32::try_from(*len).expect("short").to_le_bytes()));
        data.extend(types);
        data.extend(strings.bytes());
        data
    };
    // An `int`, and in the module `struct here { int int; }`, as its four and two more words.
    let base = btf(&[[1, 1 << 24, 4, 1 << 24 | 32]], "\0int\0");
    let base = Types::parse(&base).expect("BTF");
    let module = btf(&[[5, 4 << 24 | 1, 4, 1], [1, 0, 0, 0]], "here\0");
    let short = &module[..module.len() - 5 - 4];
    assert!(Types::parse_split(short, &base).is_err());
    let mut module = module;
    // The structure ends after its member of three words.
    let len = 24_u32;
    module[12..16].copy_from_slice(&len.to_le_bytes());
    module[16..20].copy_from_slice(&32_u32.to_le_bytes());
    let split = Types::parse_split(&module, &base).expect("BTF");
    let here = split.find("here", Kind::Struct).expect("it is there");
    assert_eq!((here, split.end(), base.end()), (2, 3, 2));
    assert_eq!(split.find("int", Kind::Int), Some(1));
    assert_eq!(split.field(here, "int").map(|field| field.type_id), Some(1));
    let exists = |modules: &[Types<'_>]| relocate(&split, Relo::TypeExists, here, "0", &base, modules);
    assert_eq!(exists(&[]).expect("an answer").target, Answer::Value(0));
    assert_eq!(exists(std::slice::from_ref(&split)).expect("an answer").target, Answer::Value(1));
    assert_eq!(relocate(&split, Relo::FieldOffset, here, "0:1", &base, &[]), Err(CoreError::Access));
}

#[test]
fn damaged_btf_is_refused() {
    let Ok(data) = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/relocs.o")) else { return };
    let file = object::File::parse(&*data).expect("ELF");
    let btf = file.section_by_name(".BTF").expect("a section").data().expect("bytes");
    let kernel = Types::parse(btf).expect("BTF");
    let mut rng = crate::random::Rng::new(3);
    for _ in 0..3000 {
        let mut damaged = btf.to_vec();
        for _ in 0..=rng.below(4) {
            let at = rng.below(damaged.len());
            damaged[at] = rng.next().to_le_bytes()[0];
        }
        damaged.truncate(damaged.len() - rng.below(3));
        let Ok(types) = Types::parse(&damaged) else { continue };
        for id in 0..types.end().min(200) {
            for number in 0..13 {
                let relo = Relo::from_number(number).expect("a kind");
                for access in ["0", "0:1", "0:0:0", "1:2:3"] {
                    _ = relocate(&types, relo, id, access, &kernel, &[]);
                    _ = relocate(&kernel, relo, id, access, &types, &[]);
                }
            }
        }
    }
}
