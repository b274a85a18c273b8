//! What SECURITY.md and the table of errors say, against the sources: lists that cannot drift.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder of the repository, by their paths in it.
fn sources(folder: &str, into: &mut Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A packaged crate comes without some of them.
    let Ok(entries) = fs::read_dir(root.join(folder)) else { return };
    for entry in entries {
        let path: PathBuf = entry.expect("it can be listed").path();
        let name = path.strip_prefix(root).expect("it is below").to_str().expect("it is UTF-8").to_owned();
        if path.is_dir() && !name.ends_with("target") {
            sources(&name, into);
        } else if Path::new(&name).extension().is_some_and(|extension| extension == "rs") {
            into.push(name);
        }
    }
}

/// How often a text has code that is unsafe: a block, a function, an implementation, a foreign item.
fn count_unsafe(text: &str) -> usize {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let words: Vec<&str> = code.flat_map(str::split_whitespace).collect();
    let begins = |word: &str| word == "unsafe" || word.ends_with("(unsafe") || word.ends_with("|unsafe");
    let what = |word: &str| word.starts_with('{') || matches!(word, "fn" | "impl" | "extern");
    words.windows(2).filter(|pair| begins(pair[0]) && what(pair[1])).count()
}

#[test]
fn unsafe_code_is_where_the_inventory_says() {
    let mut found = BTreeMap::new();
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "fuzz"] {
        sources(folder, &mut files);
    }
    assert!(files.len() > 50);
    for file in files {
        let count = count_unsafe(&read(&file));
        if count != 0 {
            found.insert(file, count);
        }
    }
    let mut listed = BTreeMap::new();
    for row in read("SECURITY.md").lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        listed.insert(cells[1].trim_matches('`').to_owned(), cells[2].parse().expect("a count"));
    }
    if crate::is_packaged() {
        // Workspaces of their own are in no package.
        let others = ["benches/", "fuzz/", "tests/no_std/"];
        listed.retain(|file, _| !others.iter().any(|other| file.starts_with(other)));
    }
    assert_eq!(found, listed, "the table in SECURITY.md");
}

/// A tag may be moved by whoever owns it; a hash names one commit.
#[test]
fn workflows_name_actions_by_hash_and_run_what_ci_runs() {
    if crate::is_packaged() {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".github/workflows");
    let mut runs = 0;
    for entry in fs::read_dir(folder).expect("there are workflows") {
        let text = fs::read_to_string(entry.expect("it can be listed").path()).expect("it is text");
        runs += usize::from(text.contains("bash .ci/run"));
        for line in text.lines().filter_map(|line| line.split_once("uses: ")) {
            let version = line.1.split_once('@').expect("it has a version").1;
            let hash = version.split(' ').next().unwrap_or_default();
            assert!(hash.len() == 40 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", line.1);
        }
    }
    assert_eq!(runs, 1, "workflows that run .ci/run");
}

#[test]
fn security_is_short() {
    assert!(read("SECURITY.md").lines().count() <= 40);
}

/// The enums of errors: what the table calls them, and where they are.
const ERRORS: [(&str, &str, &str); 10] = [
    ("Error", "src/core/error.rs", "Error"),
    ("TableError", "src/core/table.rs", "TableError"),
    ("EditError", "src/bpf/editor.rs", "EditError"),
    ("CfgError", "src/bpf/cfg.rs", "CfgError"),
    ("InsnReason", "src/bpf/check.rs", "InsnReason"),
    ("DecodeError", "src/bpf/bytes.rs", "DecodeError"),
    ("AsmReason", "src/bpf/asm/error.rs", "AsmReason"),
    ("passes::Error", "src/passes/mod.rs", "Error"),
    ("ElfError", "src/elf/error.rs", "ElfError"),
    ("PatchReason", "src/elf/pass.rs", "PatchReason"),
];

/// The variants of an enum, out of the source that defines it as `cargo fmt` writes it.
fn variants(path: &str, name: &str) -> Vec<String> {
    let source = read(path);
    let head = format!("pub enum {name} {{\n");
    let Some((_, body)) = source.split_once(&head) else { return Vec::new() };
    let body = body.split_once("\n}").expect("it ends").0;
    let names = body.lines().filter_map(|line| line.strip_prefix("    "));
    let names = names.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
    names
        .map(|line| line.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn the_table_has_every_error_and_no_other() {
    let table = read("src/errors.md");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: Vec<String> = rows.map(str::to_owned).collect();
    let listed: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(listed.len(), rows.len(), "rows that are there twice");
    let mut found = BTreeSet::new();
    for (shown, path, name) in ERRORS {
        let variants = variants(path, name);
        assert!(!variants.is_empty(), "{name} is not in {path}");
        found.extend(variants.iter().map(|variant| format!("{shown}::{variant}")));
    }
    assert_eq!(found, listed, "the table in src/errors.md");
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        assert!(
            cells.len() == 4 && cells.iter().all(|cell| !cell.trim_matches(['|', ' ']).is_empty()),
            "{row}"
        );
    }
}

/// Enums of errors that nobody put into [`ERRORS`].
#[test]
fn no_enum_of_errors_is_forgotten() {
    let mut files = Vec::new();
    sources("src", &mut files);
    for file in files.iter().filter(|file| !file.starts_with("src/fuzzing") && !file.starts_with("src/cli")) {
        for line in read(file).lines() {
            let Some(name) = line.strip_prefix("pub enum ").and_then(|rest| rest.split([' ', '<']).next())
            else {
                continue;
            };
            if name.ends_with("Error") || name.ends_with("Reason") {
                assert!(
                    ERRORS.iter().any(|known| (known.1, known.2) == (file.as_str(), name)),
                    "{name} in {file}"
                );
            }
        }
    }
}
