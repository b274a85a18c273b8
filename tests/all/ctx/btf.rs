//! Offsets out of BTF that is written by hand, by `Documentation/bpf/btf.rst` of the kernel.

use relinear::bpf::Endian;
use relinear::elf::{Btf, Member, NoMember};
use relinear::passes::ctx::{SkBuff, Xdp};

const INT: u32 = 1 << 24;
const POINTER: u32 = 2 << 24;
const ARRAY: u32 = 3 << 24;
const STRUCT: u32 = 4 << 24;
const UNION: u32 = 5 << 24;
/// Of a structure: there are bit fields.
const BITS: u32 = 1 << 31;

/// Types and their names.
struct Blob {
    endian: Endian,
    types: Vec<u32>,
    strings: Vec<u8>,
}

impl Blob {
    fn new(endian: Endian) -> Self {
        Self { endian, types: Vec::new(), strings: vec![0] }
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len();
        self.strings.extend(name.bytes().chain([0]));
        u32::try_from(at).expect("short")
    }

    /// A type of so many bytes, or of another type.
    fn add(&mut self, name: &str, info: u32, size_or_type: u32, rest: &[u32]) {
        let name = self.name(name);
        self.types.extend([name, info, size_or_type]);
        self.types.extend(rest);
    }

    /// A structure or union of members: their names, types and offsets.
    fn group(&mut self, name: &str, kind: u32, members: &[(&str, u32, u32)]) {
        let rest: Vec<u32> =
            members.iter().flat_map(|&(name, kind, offset)| [self.name(name), kind, offset]).collect();
        self.add(name, kind | u32::try_from(members.len()).expect("a few"), 64, &rest);
    }

    fn bytes(&self) -> Vec<u8> {
        let len = |bytes: usize| u32::try_from(bytes).expect("short");
        let types = len(self.types.len() * 4);
        let big = self.endian == Endian::Big;
        let word = |word: u32| if big { word.to_be_bytes() } else { word.to_le_bytes() };
        let mut bytes = if big { vec![0xeb, 0x9f] } else { vec![0x9f, 0xeb] };
        bytes.extend([1, 0]);
        let header = [24, 0, types, types, len(self.strings.len())];
        bytes.extend(header.iter().chain(&self.types).flat_map(|&field| word(field)));
        bytes.extend(&self.strings);
        bytes
    }
}

#[test]
fn members() {
    for endian in [Endian::Little, Endian::Big] {
        let mut blob = Blob::new(endian);
        blob.add("int", INT, 4, &[32]); // 1
        blob.add("", ARRAY, 0, &[1, 1, 7]); // 2
        blob.group("", UNION, &[("both", 1, 0), ("list", 2, 0)]); // 3
        blob.group("outer", STRUCT | BITS, &[("flag", 1, 3 << 24 | 9), ("", 3, 32), ("last", 4, 96)]); // 4
        blob.add("", POINTER, 4, &[]); // 5
        let bytes = blob.bytes();
        let btf = Btf::parse(&bytes, endian).expect("it is well-formed");
        assert_eq!(btf.endian(), endian);
        assert_eq!(btf.structure("outer"), Some(4));
        assert_eq!(btf.structure("inner"), None);
        let member = |offset, bits, type_id| Some(Member { offset, bits, type_id });
        assert_eq!(btf.member(4, "flag"), member(9, Some(3), 1));
        assert_eq!(btf.member(4, "both"), member(32, None, 1));
        assert_eq!(btf.member(4, "list"), member(32, None, 2));
        assert_eq!(btf.member(4, "last"), member(96, None, 4));
        assert_eq!(btf.member(4, "first"), None);
        assert_eq!(btf.member(1, "flag"), None);
        assert_eq!(btf.member(9, "flag"), None);
        assert_eq!((btf.elements(2), btf.elements(1)), (Some(7), None));
        assert!(btf.is_pointer(5) && !btf.is_pointer(4));
    }
}

/// Structures without names that contain one another, twice each: too many ways to go them all.
#[test]
fn a_circle_of_structures_has_an_end() {
    let mut blob = Blob::new(Endian::Little);
    blob.group("outer", STRUCT, &[("", 2, 0), ("", 2, 0)]);
    blob.group("", STRUCT, &[("", 1, 0), ("", 1, 0), ("late", 1, u32::MAX)]);
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes, Endian::Little).expect("it is well-formed");
    assert_eq!(btf.member(1, "none"), None);
}

#[test]
fn structures_that_are_not_as_they_should_be() {
    let far = 8 * 0x8000;
    let mut blob = Blob::new(Endian::Little);
    blob.add("long", INT, 8, &[64]);
    blob.group("xdp_buff", STRUCT, &[("data", 1, 0), ("data_end", 1, far)]);
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes, Endian::Little).expect("it is well-formed");
    let missing = |structure, member| NoMember { structure, member };
    assert_eq!(Xdp::from_btf(&btf), Err(missing("xdp_buff", "data_end")));
    assert_eq!(SkBuff::from_btf(&btf), Err(missing("sk_buff", "len")));
    assert_eq!(missing("a", "b").to_string(), "BTF has no place for the member b of struct a");
}

/// A kernel without what leads to the device that a packet leaves by.
#[test]
fn structures_of_express_data_path() {
    let mut blob = Blob::new(Endian::Little);
    blob.add("long", INT, 8, &[64]);
    let members = [("data", 1, 0), ("data_end", 1, 64), ("data_meta", 1, 128), ("rxq", 1, 256)];
    blob.group("xdp_buff", STRUCT, &members);
    blob.group("xdp_rxq_info", STRUCT, &[("dev", 1, 0), ("queue_index", 1, 64)]);
    blob.group("net_device", STRUCT, &[("ifindex", 1, 224 * 8)]);
    let bytes = blob.bytes();
    let btf = Btf::parse(&bytes, Endian::Little).expect("it is well-formed");
    assert_eq!(Xdp::from_btf(&btf), Ok(Xdp { egress: None, ..super::XDP }));
}
