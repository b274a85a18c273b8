//! What a terminal gets to see of hostile names: no byte that does something to it, whatever the command says.

use std::fs;
use std::path::Path;

use object::build::elf::{Builder, SectionData};
use object::elf;

use crate::cli::{Ran, data, read, run, tempdir};

/// All bytes that a name can have, in parts short enough to stay whole in a table; and what UTF-8 makes of control
/// characters beyond ASCII, of marks of direction and of line separators.
fn parts() -> Vec<Vec<u8>> {
    let bytes: Vec<u8> = (1..=u8::MAX).collect();
    let mut parts: Vec<Vec<u8>> = bytes.chunks(10).map(<[u8]>::to_vec).collect();
    parts.push("\u{80}\u{85}\u{9b}\u{9f}".into());
    parts.push("\u{202e}\u{2066}\u{2028}\u{200b}\u{feff}".into());
    parts
}

/// The parts of an object, to change and write again.
pub(crate) fn builder(file: &[u8]) -> Builder<'static> {
    // LLVM's list of symbols whose address matters is of a type that this reader does not take.
    let mut file = file.to_vec();
    let addrsig = 0x6fff_4c03_u32.to_le_bytes();
    if let Some(at) = file.windows(4).position(|window| window == addrsig) {
        file[at..at + 4].copy_from_slice(&1_u32.to_le_bytes());
    }
    Builder::read(&*file.leak()).expect("it is an object")
}

/// The object that the parts make.
pub(crate) fn written(mut builder: Builder<'_>) -> Vec<u8> {
    // Names of sections and symbols were in one table; this writer wants one for each.
    if !builder.sections.iter().any(|section| matches!(section.data, SectionData::SectionString)) {
        let names = builder.sections.add();
        names.name = b".shstrtab"[..].into();
        names.sh_type = elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    let mut written = Vec::new();
    builder.write(&mut written).expect("it can be written");
    written
}

/// The object with `part` in the names of its code sections, functions, and other symbols.
fn with_names(file: &[u8], part: &[u8]) -> Vec<u8> {
    let mut builder = builder(file);
    for (number, section) in builder.sections.iter_mut().enumerate() {
        if section.sh_flags.0 & elf::SHF_EXECINSTR.0 != 0 && !section.name.is_empty() {
            section.name = [part, number.to_string().as_bytes()].concat().into();
        }
    }
    for (number, symbol) in builder.symbols.iter_mut().enumerate() {
        if !symbol.name.is_empty() {
            symbol.name = [part, number.to_string().as_bytes()].concat().into();
        }
    }
    written(builder)
}

/// The object with `part` over the start of each file name and source line that `.BTF` has.
fn with_lines(file: &[u8], part: &[u8]) -> Vec<u8> {
    let mut builder = builder(file);
    let types = builder.sections.iter_mut().find(|section| section.name[..] == b".BTF"[..]);
    let types = types.expect("it has types");
    let SectionData::Data(data) = &mut types.data else { panic!("types are data") };
    let data = data.to_mut();
    let at = |data: &[u8], at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"));
    let strings = (at(data, 4) + at(data, 16)) as usize;
    let mut changed = 0;
    for string in data[strings..].split_mut(|&byte| byte == 0) {
        if string.contains(&b' ') || string.ends_with(b".c") {
            let mut len = string.len().min(part.len());
            while std::str::from_utf8(part).is_ok() && std::str::from_utf8(&part[..len]).is_err() {
                len -= 1;
            }
            string[..len].copy_from_slice(&part[..len]);
            changed += 1;
        }
    }
    assert!(changed > 2, "file names and lines");
    written(builder)
}

/// The object with an instruction that there is not at the start of its last code section.
fn with_bad_insn(file: &[u8]) -> Vec<u8> {
    let mut builder = builder(file);
    let code = builder.sections.iter_mut().filter(|section| section.sh_flags.0 & elf::SHF_EXECINSTR.0 != 0);
    let code = code.filter(|section| matches!(&section.data, SectionData::Data(data) if !data.is_empty()));
    let SectionData::Data(data) = &mut code.last().expect("it has code").data else { unreachable!() };
    data.to_mut()[0] = 0xff;
    written(builder)
}

#[track_caller]
fn assert_is_calm(ran: &Ran, what: &str) {
    for text in [ran.text(), &ran.err] {
        let acts = |character: char| {
            (character.is_control() && character != '\n')
                || "\u{202e}\u{2066}\u{2028}\u{200b}\u{feff}".contains(character)
        };
        assert!(!text.contains(acts), "{what}: {text:?}");
    }
}

/// Runs every verb on the object.
fn run_all(dir: &Path, file: &[u8], what: &str) -> usize {
    let (input, output) = (dir.join("in.o"), dir.join("out.o"));
    fs::write(&input, file).expect("it can be written");
    let (input, output) = (input.to_str().expect("it is UTF-8"), output.to_str().expect("it is UTF-8"));
    let mut lines = 0;
    for args in [
        &["dis", input][..],
        &["dis", input, "--json"],
        &["check", input],
        &["check", input, "--json"],
        #[cfg(feature = "kernel")]
        &["check", input, "--kernel"],
        &["patch", input, "-o", output, "--pass", "dce,blind"],
        &["patch", input, "-o", output, "--pass", "dce", "--json"],
        &["patch", input, "-o", output, "--pass", "blind", "--keep-debug"],
    ] {
        let ran = run(args);
        assert_is_calm(&ran, &format!("{what}: {args:?}"));
        lines += ran.text().lines().count() + ran.err.lines().count();
    }
    lines
}

#[test]
fn no_byte_of_a_name_acts_on_the_terminal() {
    let dir = tempdir();
    let file = read(data("globals.o"));
    // A name that forges a line makes more lines than one that does not. Lines of source that are no UTF-8 are findings, a line
    // each, so names that are UTF-8 and names that are not are counted apart.
    let mut lines = [Vec::new(), Vec::new()];
    for part in parts() {
        let named = with_names(&file, &part);
        let counted = [named.clone(), with_bad_insn(&named), with_lines(&file, &part)]
            .map(|file| run_all(dir.path(), &file, &format!("{part:?}")));
        lines[usize::from(std::str::from_utf8(&part).is_ok())].push(counted);
    }
    for counts in &mut lines {
        counts.dedup();
        assert_eq!(counts.len(), 1, "{counts:?}");
    }
}

#[test]
fn names_of_files_do_not_act_either() {
    let dir = tempdir();
    let input = dir.path().join("\u{1b}[2J\n\u{7f}.o");
    fs::copy(data("globals.o"), &input).expect("it can be copied");
    let output = dir.path().join("\u{1b}\r.o");
    let missing = dir.path().join("\u{1b}/\n");
    for (input, output) in [(&input, &output), (&missing, &output), (&input, &missing)] {
        for args in [
            vec![Path::new("dis"), input],
            vec![Path::new("check"), input],
            vec![Path::new("patch"), input, Path::new("--pass=dce"), Path::new("-o"), output],
            vec![Path::new("patch"), input, Path::new("--pass=dce"), Path::new("-o"), input],
        ] {
            assert_is_calm(&run(&args), &format!("{args:?}"));
        }
    }
}

#[test]
fn names_as_long_as_a_width_can_be() {
    let dir = tempdir();
    let (input, output) = (dir.path().join("in.o"), dir.path().join("out.o"));
    for len in [65_535, 65_536, 200_000] {
        let file = with_names(&read(data("globals.o")), "é".repeat(len).as_bytes());
        fs::write(&input, file).expect("it can be written");
        let ran = crate::cli::patch(&input, &output, &["--pass", "dce,blind"]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        let widest = ran.text().lines().map(|line| line.chars().count()).max().expect("it says something");
        assert!(widest <= 160, "{widest}");
        assert!(ran.text().contains("é...é"), "{}", ran.text());
        for args in [["dis", "--json"], ["check", "--json"]] {
            let ran = run([args[0], input.to_str().expect("it is UTF-8"), args[1]]);
            assert_eq!(ran.code, 0, "{}", ran.err);
            assert!(ran.text().lines().all(|line| line.chars().count() < 2000));
        }
    }
}
