//! Which encodings are valid, against a list written code by code from RFC 9669 (and, for `may_goto`, address
//! space casts and ordered atomics, from the kernel's documentation).

use relinear::bpf::opcode::{AX, FRAME_POINTER};
use relinear::bpf::{Insn, InsnReason, check_insn};

/// The atomic operations of the RFC, each with and without fetch, then the two exchanges.
const ATOMIC: [i32; 10] = [0x00, 0x40, 0x50, 0xa0, 0x01, 0x41, 0x51, 0xa1, 0xe1, 0xf1];
/// Load-acquire and store-release.
const ORDERED: [i32; 2] = [0x100, 0x110];

/// One slot is valid, taking that of `ld_imm64` as followed by a second one of zeros.
#[expect(clippy::match_same_arms, reason = "an arm per table of the RFC")]
pub(crate) fn is_valid(insn: Insn, highest: u8) -> bool {
    let (code, dst, src, off, imm) = (insn.code, insn.dst(), insn.src(), insn.off, insn.imm);
    let (dst_ok, src_ok) = (dst <= highest, src <= highest);
    let (d0, s0, o0, i0) = (dst == 0, src == 0, off == 0, imm == 0);
    match code {
        // Immediate, packet absolute, packet indirect.
        0x18 => dst_ok && src <= 6 && o0,
        0x20 | 0x28 | 0x30 => d0 && s0 && o0,
        0x40 | 0x48 | 0x50 => d0 && src_ok && o0,
        // Loads, sign-extending loads, stores of immediates and of registers.
        0x61 | 0x69 | 0x71 | 0x79 | 0x81 | 0x89 | 0x91 => dst_ok && src_ok && i0,
        0x62 | 0x6a | 0x72 | 0x7a => dst_ok && s0,
        0x63 | 0x6b | 0x73 | 0x7b => dst_ok && src_ok && i0,
        0xc3 | 0xdb => dst_ok && src_ok && (ATOMIC.contains(&imm) || ORDERED.contains(&imm)),
        0xcb | 0xd3 => dst_ok && src_ok && ORDERED.contains(&imm),
        // Arithmetic with an immediate: add, sub, mul, or, and, lsh, rsh, xor, mov, arsh.
        0x04 | 0x14 | 0x24 | 0x44 | 0x54 | 0x64 | 0x74 | 0xa4 | 0xb4 | 0xc4 => dst_ok && s0 && o0,
        0x07 | 0x17 | 0x27 | 0x47 | 0x57 | 0x67 | 0x77 | 0xa7 | 0xb7 | 0xc7 => dst_ok && s0 && o0,
        // The same with a register, but mov.
        0x0c | 0x1c | 0x2c | 0x4c | 0x5c | 0x6c | 0x7c | 0xac | 0xcc => dst_ok && src_ok && o0 && i0,
        0x0f | 0x1f | 0x2f | 0x4f | 0x5f | 0x6f | 0x7f | 0xaf | 0xcf => dst_ok && src_ok && o0 && i0,
        // Division and remainder; an offset of 1 makes them signed.
        0x34 | 0x94 | 0x37 | 0x97 => dst_ok && s0 && matches!(off, 0 | 1),
        0x3c | 0x9c | 0x3f | 0x9f => dst_ok && src_ok && matches!(off, 0 | 1) && i0,
        0x84 | 0x87 => dst_ok && s0 && o0 && i0,
        0xbc => dst_ok && src_ok && matches!(off, 0 | 8 | 16) && i0,
        0xbf if off == 1 => dst_ok && src_ok && matches!(imm, 1 | 0x10000),
        0xbf => dst_ok && src_ok && matches!(off, 0 | 8 | 16 | 32) && i0,
        0xd4 | 0xdc | 0xd7 => dst_ok && s0 && o0 && matches!(imm, 16 | 32 | 64),
        // Jumps: ja, may_goto, gotox, gotol, call, exit.
        0x05 | 0xe5 => d0 && s0 && i0,
        0x0d => dst_ok && s0 && o0 && i0,
        0x06 => d0 && s0 && o0,
        0x85 => d0 && (src == 2 || (src < 2 && o0)),
        0x95 => d0 && s0 && o0 && i0,
        // Conditional jumps with an immediate, then with a register.
        0x15 | 0x25 | 0x35 | 0x45 | 0x55 | 0x65 | 0x75 | 0xa5 | 0xb5 | 0xc5 | 0xd5 => dst_ok && s0,
        0x16 | 0x26 | 0x36 | 0x46 | 0x56 | 0x66 | 0x76 | 0xa6 | 0xb6 | 0xc6 | 0xd6 => dst_ok && s0,
        0x1d | 0x2d | 0x3d | 0x4d | 0x5d | 0x6d | 0x7d | 0xad | 0xbd | 0xcd | 0xdd => dst_ok && src_ok && i0,
        0x1e | 0x2e | 0x3e | 0x4e | 0x5e | 0x6e | 0x7e | 0xae | 0xbe | 0xce | 0xde => dst_ok && src_ok && i0,
        _ => false,
    }
}

/// Every code with the values of each field at which something changes.
pub(crate) fn grid() -> impl Iterator<Item = Insn> {
    const DST: [u8; 6] = [0, 1, 10, 11, 12, 15];
    const SRC: [u8; 12] = [0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 15];
    const OFF: [i16; 11] = [0, 1, -1, 2, 8, 16, 32, 64, -512, i16::MIN, i16::MAX];
    const IMM: [i32; 10] = [2, 8, 16, 32, 64, 0x10000, 0xe0, 0xf0, i32::MIN, i32::MAX];
    const IMMS: [&[i32]; 4] = [&IMM, &ATOMIC, &ORDERED, &[-1]];
    (0..=255).flat_map(|code| {
        DST.into_iter().flat_map(move |dst| {
            SRC.into_iter().flat_map(move |src| {
                OFF.into_iter().flat_map(move |off| {
                    let imms = IMMS.into_iter().flatten();
                    imms.map(move |&imm| Insn::new(code, dst, src, off, imm))
                })
            })
        })
    })
}

#[test]
fn one_slot_is_valid_exactly_where_the_list_says_so() {
    for insn in grid() {
        for highest in [FRAME_POINTER, AX] {
            let slots = [insn, Insn::default()];
            let expected = is_valid(insn, highest).then_some(if insn.code == 0x18 { 2 } else { 1 });
            let found = check_insn(&slots, 0, highest);
            assert_eq!(found.ok(), expected, "{insn:?} {found:?}");
        }
    }
}

#[test]
fn the_second_slot_of_a_wide_load_has_an_immediate_at_most() {
    for kind in 0..7 {
        let wide = Insn::ld_imm64_kind(1, kind, 5, 7);
        let whole_map = kind == 1 || kind == 5;
        let reason = check_insn(&wide, 0, 10).map_err(|error| error.reason);
        assert_eq!(reason, if whole_map { Err(InsnReason::SecondSlot) } else { Ok(2) });
        for second in [
            Insn::new(1, 0, 0, 0, 0),
            Insn::new(0, 1, 0, 0, 0),
            Insn::new(0, 0, 1, 0, 0),
            Insn::new(0, 0, 0, 1, 0),
        ] {
            let error = check_insn(&[wide[0], second], 0, 10).unwrap_err();
            assert_eq!(error.reason, InsnReason::SecondSlot);
        }
    }
}

#[test]
fn the_error_names_the_slot_and_the_field() {
    let reason = |insn: Insn| check_insn(&[Insn::exit(), insn], 1, 10).unwrap_err();
    let at = reason(Insn::new(0xff, 0, 0, 0, 0));
    assert_eq!((at.at, at.reason), (1, InsnReason::Code(0xff)));
    assert_eq!(at.to_string(), "slot 1: no instruction has the code 0xff");
    assert_eq!(reason(Insn::mov64_imm(11, 0)).reason, InsnReason::Dst(11));
    assert_eq!(reason(Insn::mov64_imm(1, 0).with_src(3)).reason, InsnReason::Src(3));
    assert_eq!(reason(Insn::mov64_imm(1, 0).with_off(9)).reason, InsnReason::Off(9));
    assert_eq!(reason(Insn::mov64_reg(1, 2).with_imm(4)).reason, InsnReason::Imm(4));
    assert_eq!(reason(Insn::ld_imm64(1, 4)[0]).reason, InsnReason::Cut);
    assert_eq!(check_insn(&[], 0, 10).unwrap_err().reason, InsnReason::End);
    assert_eq!(check_insn(&[Insn::exit()], usize::MAX, 10).unwrap_err().reason, InsnReason::End);
}
