//! `.BTF` and `.BTF.ext`: names of types, and records that stay on their instructions.

use relinear::bpf::Endian;
use relinear::elf::{Btf, CodeSection, ElfError, Object};

/// A `.BTF` section of these types (words) and strings.
fn section(endian: Endian, types: &[u32], strings: &[u8]) -> Vec<u8> {
    let word = |value: u32| if endian == Endian::Little { value.to_le_bytes() } else { value.to_be_bytes() };
    let magic = if endian == Endian::Little { [0x9f, 0xeb] } else { [0xeb, 0x9f] };
    let types_len = u32::try_from(types.len() * 4).unwrap();
    let mut data = [magic[0], magic[1], 1, 0].to_vec();
    for value in [24, 0, types_len, types_len, u32::try_from(strings.len()).unwrap()] {
        data.extend(word(value));
    }
    data.extend(types.iter().flat_map(|&value| word(value)));
    data.extend(strings);
    data
}

const fn info(kind: u32, vlen: u32) -> u32 {
    kind << 24 | vlen
}

const STRINGS: &[u8] = b"\0int\0pair\0left\0right\0run\0";
const INT: u32 = 1;
const PAIR: u32 = 5;
const LEFT: u32 = 10;
const RIGHT: u32 = 15;
const RUN: u32 = 21;

/// `int`; `struct pair { int left; int right; }`; `int(*)(int left)`; `run`; `const struct pair`.
#[rustfmt::skip]
const TYPES: &[u32] = &[
    INT, info(1, 0), 4, 0x0100_0020, // 1
    PAIR, info(4, 2), 8, LEFT, 1, 0, RIGHT, 1, 32, // 2
    0, info(13, 1), 1, LEFT, 1, // 3
    RUN, info(12, 1), 3, // 4: its low bits are the linkage
    0, info(10, 0), 2, // 5
];

#[test]
fn names_in_both_byte_orders() {
    for endian in [Endian::Little, Endian::Big] {
        let data = section(endian, TYPES, STRINGS);
        let btf = Btf::parse(&data, endian).unwrap();
        assert_eq!(btf.last_type(), 5);
        let names: Vec<_> = (0..7).map(|id| btf.name(id)).collect();
        assert_eq!(names, [None, Some("int"), Some("pair"), None, Some("run"), None, None]);
        assert_eq!([btf.function(4), btf.function(2), btf.function(0)], [Some("run"), None, None]);
        assert_eq!(btf.string(LEFT + 1), Some("eft"));
        assert_eq!(btf.string(1000), None);
    }
}

#[test]
fn a_kind_of_the_future_ends_the_names() {
    let mut types = TYPES.to_vec();
    types.extend([RUN, info(31, 0), 0, RUN, info(12, 1), 3]);
    let data = section(Endian::Little, &types, STRINGS);
    let btf = Btf::parse(&data, Endian::Little).unwrap();
    assert_eq!((btf.last_type(), btf.name(4)), (5, Some("run")));
}

#[test]
fn what_is_cut_short_is_refused() {
    let data = section(Endian::Little, TYPES, STRINGS);
    for len in 0..data.len() {
        let refused = Btf::parse(&data[..len], Endian::Little);
        assert!(matches!(refused, Err(ElfError::Section { .. })), "{len} of {}", data.len());
    }
    assert!(Btf::parse(&data, Endian::Big).is_err(), "the other byte order");
    // Members that go beyond the last type.
    let data = section(Endian::Little, &[PAIR, info(4, 2), 8, LEFT, 1, 0], STRINGS);
    assert!(Btf::parse(&data, Endian::Little).is_err());
    // A string without an end.
    let data = section(Endian::Little, TYPES, b"\0int");
    assert_eq!(Btf::parse(&data, Endian::Little).unwrap().name(1), None);
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// What `core.c` asks of the kernel's types, in the order of its text.
#[test]
fn core_records_are_told_in_the_words_of_the_source() {
    let data = read("core.o");
    let object = Object::parse(&data).unwrap();
    let btf = object.btf().unwrap();
    let told: Vec<String> = object
        .code()
        .iter()
        .flat_map(|code| code.core_relos().map(|relo| btf.access(&relo).unwrap()))
        .collect();
    for expected in [
        "task_struct",
        "task_struct.comm",
        "task_struct.pid",
        "task_struct.tgid",
        "task_struct.group_leader",
        "task_struct.real_parent",
        "mm_struct___nowhere",
        "mm_struct___nowhere.no_such_field",
        "bpf_map_type___here.BPF_MAP_TYPE_ARRAY___here",
        "bpf_map_type___here.BPF_MAP_TYPE_NOWHERE___here",
    ] {
        assert!(told.iter().any(|told| told == expected), "{expected} is not in {told:#?}");
    }
    assert!(!told.contains(&"task_struct.flags".to_string()), "nobody asks for it");
}

/// Every record of a line has a line of the source for its text, at the number it gives.
#[test]
fn line_records_quote_the_source() {
    for name in ["subprogs", "loops", "core", "xdp_parse.be"] {
        let data = read(&format!("{name}.o"));
        let file = format!("{}.c", name.trim_end_matches(".be"));
        let source = read(&file);
        let source: Vec<&str> = std::str::from_utf8(&source).unwrap().lines().collect();
        let object = Object::parse(&data).unwrap();
        let btf = object.btf().unwrap();
        let mut quoted = 0;
        for line in object.code().iter().flat_map(CodeSection::line_info) {
            // Line 0 is what the compiler says of code that comes from no line.
            if line.line != 0 && btf.string(line.file_name).unwrap().rsplit('/').next() == Some(&file) {
                assert_eq!(btf.string(line.text).unwrap(), source[line.line as usize - 1]);
                quoted += 1;
            }
        }
        assert!(quoted > 10, "{name}: {quoted}");
    }
}
