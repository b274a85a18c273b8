//! The BTF that all programs of these tests share: functions of one number that return one.

use std::os::fd::OwnedFd;
use std::{fs, io};

use crate::kernel::{Attr, BTF_LOAD, own};

/// How many functions there are of each linkage.
pub(crate) const FUNCTIONS: usize = 16;

/// Where some strings begin, for line records to name.
pub(crate) const STRINGS: [u32; 3] = [0, 1, 5];

/// The type of function `number`: `int name(int a)`.
pub(crate) fn function(number: usize, is_global: bool) -> u32 {
    u32::try_from(FIRST_FUNCTION + 2 * number + usize::from(is_global)).expect("a type")
}

const FIRST_FUNCTION: usize = 3;

/// Loads it.
#[expect(unsafe_code, reason = "a system call takes pointers")]
pub(crate) fn load() -> io::Result<OwnedFd> {
    let blob = blob();
    let mut attr = Attr::new().pointer(0, blob.as_ptr()).u32(16, u32::try_from(blob.len()).expect("short"));
    // SAFETY: the blob is as long as is said and outlives the call.
    unsafe { attr.call(BTF_LOAD) }.map(own)
}

/// The number of a function of the running kernel, if it shows its types and has it.
pub(crate) fn kernel_function(name: &str) -> Option<i32> {
    const KIND_FUNC: u32 = 12;
    let data = fs::read("/sys/kernel/btf/vmlinux").ok()?;
    let word = |at: usize| Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?));
    let [header, types, len, strings] = [4, 8, 12, 16].map(|at| word(at).map(|word| word as usize));
    let (header, strings) = (header?, strings?);
    let (mut at, end) = (header + types?, header + types? + len?);
    let mut number = 1;
    while at < end {
        let (name_at, info) = (header + strings + word(at)? as usize, word(at + 4)?);
        let (kind, members) = (info >> 24 & 31, info as usize & 0xffff);
        let found = data.get(name_at..)?.split(|&byte| byte == 0).next()?;
        if kind == KIND_FUNC && found == name.as_bytes() {
            return Some(number);
        }
        // What follows the twelve bytes, by `Documentation/bpf/btf.rst`.
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * members,
                6 | 13 => 8 * members,
                _ => 0,
            };
        number += 1;
    }
    None
}

/// `include/uapi/linux/btf.h`: a header, types, strings.
fn blob() -> Vec<u8> {
    const KIND_INT: u32 = 1;
    const KIND_FUNC: u32 = 12;
    const KIND_FUNC_PROTO: u32 = 13;
    let mut strings = b"\0int\0a\0".to_vec();
    let mut types: Vec<u32> = vec![
        // 1: an int of 4 bytes, signed, 32 bits.
        1,
        KIND_INT << 24,
        4,
        1 << 24 | 32,
        // 2: a function of one parameter, `a`, of type 1, which returns type 1.
        0,
        KIND_FUNC_PROTO << 24 | 1,
        1,
        5,
        1,
    ];
    for function in 0..FUNCTIONS {
        for linkage in ["static", "global"] {
            let name = u32::try_from(strings.len()).expect("short");
            strings.extend(format!("f{function}_{linkage}\0").bytes());
            types.extend([name, KIND_FUNC << 24 | u32::from(linkage == "global"), 2]);
        }
    }
    let len = |bytes: usize| u32::try_from(bytes).expect("short");
    let types_len = len(types.len() * 4);
    let header = [24, 0, types_len, types_len, len(strings.len())];
    let mut blob = 0xeb9f_u16.to_ne_bytes().to_vec();
    // The version, and no flags.
    blob.extend([1, 0]);
    blob.extend(header.iter().chain(&types).flat_map(|word| word.to_ne_bytes()));
    blob.extend(strings);
    blob
}
