//! Constant blinding with a hidden register.

use relinear::bpf::{Aux, Insn};
use relinear::passes::harden;
use relinear::passes::misc_fixups::{self, Options, Subprogs};
use relinear::passes::{self, Error};
use relinear::{Arena, List};

use super::{AX, EXIT, Edited, edited, slot};

const HARDENING: harden::Options = harden::Options { seed: 3, ax: AX, zext: false };

fn hardened(program: &[Insn], options: &harden::Options) -> Result<Edited, Error> {
    edited(program, |list| harden::run(list, options).map(drop))
}

/// Checks `a = x ^ key; a ^= key`, of class `class`, and that the two give `imm`.
fn check_halves(halves: &[Insn], class: u8, ax: u8, imm: i32) {
    let [value, key] = *halves else { panic!("two halves") };
    assert_eq!(value, slot(class | 0xb0, ax, 0, 0, value.imm));
    assert_eq!(key, slot(class | 0xa0, ax, 0, 0, key.imm));
    assert_eq!(value.imm ^ key.imm, imm);
    assert_ne!(key.imm, 0);
}

#[test]
fn every_form_is_split_as_by_the_kernel() {
    let alu = [0x04, 0x14, 0x54, 0x44, 0xa4, 0x24, 0xb4, 0x34, 0x94];
    for code in alu.into_iter().chain(alu.map(|code| code | 3)) {
        let off = i16::from(code & 0xf0 == 0x30 || code & 0xf0 == 0x90);
        let insns = hardened(&[slot(code, 5, 0, off, -77), EXIT], &HARDENING).expect("no error").insns;
        check_halves(&insns[..2], code & 7, AX, -77);
        assert_eq!(insns[2..], [slot(code | 8, 5, AX, off, 0), EXIT], "{code:#x}");
    }
    let jumps = [0x10, 0x50, 0x20, 0xa0, 0x30, 0xb0, 0x60, 0xc0, 0x70, 0xd0, 0x40];
    for (class, by) in [(5, 7), (6, 4)] {
        for op in jumps {
            let insns = hardened(&[slot(class | op, 5, 0, 0, 9), EXIT], &HARDENING).expect("no error").insns;
            check_halves(&insns[..2], by, AX, 9);
            assert_eq!(insns[2..], [slot(class | op | 8, 5, AX, 0, 0), EXIT]);
        }
    }
    // Stores, those into an arena (0xa0) among them.
    for code in [0x7a, 0x62, 0x6a, 0x72, 0xba, 0xa2, 0xaa, 0xb2] {
        let insns = hardened(&[slot(code, 5, 0, -16, 9), EXIT], &HARDENING).expect("no error").insns;
        check_halves(&insns[..2], 7, AX, 9);
        assert_eq!(insns[2..], [slot(code + 1, 5, AX, -16, 0), EXIT]);
    }
    for code in [0xb4, 0xb7] {
        let insns = hardened(&[slot(code, 5, 0, 0, 0), EXIT], &HARDENING).expect("no error").insns;
        assert_eq!(insns, [slot(0xaf, 5, 5, 0, 0), EXIT]);
    }
}

#[test]
fn the_halves_of_a_wide_load_are_split_one_by_one() {
    for src in [0, 1, 2, 3, 5, 6] {
        for zext in [false, true] {
            let program = [slot(0x18, 5, src, 0, 0x1234), slot(0, 0, 0, 0, -2), EXIT];
            let insns = hardened(&program, &harden::Options { zext, ..HARDENING }).expect("no error").insns;
            check_halves(&insns[..2], 7, AX, -2);
            assert_eq!(insns[2..4], [slot(0x67, AX, 0, 0, 32), slot(0xbf, 5, AX, 0, 0)]);
            check_halves(&insns[4..6], 4, AX, 0x1234);
            let extension = [slot(0xbc, AX, AX, 0, 1)];
            let extension = if zext { &extension[..] } else { &[] };
            assert_eq!(insns[6..], [extension, &[slot(0x4f, 5, AX, 0, 0), EXIT]].concat());
        }
    }
}

#[test]
fn what_the_kernel_leaves_is_left() {
    let program = [
        slot(0x67, 5, 0, 0, 3),
        slot(0x74, 5, 0, 0, 3),
        slot(0xc7, 5, 0, 0, 3),
        slot(0x87, 5, 0, 0, 0),
        slot(0xd4, 5, 0, 0, 16),
        slot(0xd7, 5, 0, 0, 16),
        slot(0x0f, 5, 4, 0, 0),
        slot(0xe5, 0, 0, 0, 0),
        slot(0x05, 0, 0, 0, 0),
        slot(0x06, 0, 0, 0, 0),
        slot(0x18, 5, 4, 0, 3),
        slot(0, 0, 0, 0, 0),
        slot(0x79, 5, 10, -8, 0),
        slot(0xdb, 10, 5, -8, 1),
        Insn::call(5),
        slot(0x07, AX, 0, 0, 4),
        slot(0x15, AX, 0, 0, 4),
        slot(0x7a, AX, 0, 0, 4),
        EXIT,
    ];
    assert_eq!(hardened(&program, &HARDENING).expect("no error").insns, program);
    // With another register r11 is one of the program's own.
    let other = hardened(&program, &harden::Options { ax: 12, ..HARDENING }).expect("no error").insns;
    assert_eq!(other.len(), program.len() + 6);
    check_halves(&other[15..17], 7, 12, 4);
}

#[test]
fn a_backward_jump_counts_its_own_halves() {
    let program = [slot(0xbf, 0, 1, 0, 0), slot(0x15, 0, 0, -2, 5), slot(0x16, 0, 0, -1, 5), EXIT];
    let insns = hardened(&program, &HARDENING).expect("no error").insns;
    assert_eq!([insns[3].off, insns[6].off], [-4, -3]);
}

/// The kernel wraps here: a displacement below -32766 has no room for the two halves.
#[test]
fn a_backward_jump_that_does_not_reach_is_an_error() {
    for (off, reaches) in [(-32766_i16, true), (-32767, false), (-32768, false)] {
        let mut program = vec![slot(0xbf, 0, 1, 0, 0); off.unsigned_abs() as usize - 1];
        program.extend([slot(0x15, 0, 0, off, 5), EXIT]);
        let result = hardened(&program, &HARDENING);
        assert_eq!(result.is_ok(), reaches, "{off}");
        let expected = |error| matches!(error, Error::Edit(relinear::Error::OutOfRange { .. }));
        assert!(result.err().is_none_or(expected));
    }
}

#[test]
fn bad_input_is_refused() {
    for reg in [0, 10, 16] {
        let error = hardened(&[EXIT], &harden::Options { ax: reg, ..HARDENING }).err();
        assert_eq!(error, Some(Error::BadHidden { reg }));
    }
    // Within the patch the displacement would lead to one of the halves.
    let out = [slot(0x15, 0, 0, -2, 5), EXIT];
    let error = hardened(&out, &HARDENING).err();
    assert_eq!(error, Some(Error::Edit(relinear::Error::BranchOutside { origin: 0, target: -1 })));
}

/// Constants of what other passes inserted are blinded like those of the program, whatever the type of
/// the facts.
#[test]
fn inserted_code_is_blinded_too() {
    let program = [slot(0x15, 1, 0, 1, 6), slot(0x3f, 6, 7, 0, 0), slot(0xbf, 0, 6, 0, 0), EXIT];
    let arena = Arena::new();
    let mut list = List::with_aux(&arena, &program, &[Aux::<u64>::default(); 4]).expect("a list");
    let mut subprogs = Subprogs { starts: &[0], stack: &mut [0] };
    misc_fixups::run(&mut list, &mut subprogs, &(), &Options::default()).expect("no error");
    let report = harden::run(&mut list, &HARDENING).expect("no error");
    assert_eq!(report, passes::blind::Report { blinded: 2, ..Default::default() });
    let insns = list.linearize().expect("a program").units;
    check_halves(&insns[..2], 7, AX, 6);
    assert_eq!(insns[2], slot(0x1d, 1, AX, 6, 0));
    check_halves(&insns[3..5], 7, AX, 0);
    assert_eq!(insns[5], slot(0x5d, 7, AX, 2, 0));
    assert_eq!(insns[6..9], [slot(0xac, 6, 6, 0, 0), slot(0x05, 0, 0, 1, 0), program[1]]);
}
