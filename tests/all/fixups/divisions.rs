//! Divisions.

use relinear::bpf::Insn;
use relinear::passes::kernel::Kernel;
use relinear::passes::misc_fixups::Options;

use super::{AX, EXIT, fixed, slot, try_fixed};

const VERSIONS: [Kernel; 3] = [Kernel::V6_1, Kernel::V6_12, Kernel::V6_18];

/// `r6 /= r7` and the like, and what Linux 6.18 made of them.
fn table() -> Vec<(Insn, Vec<Insn>)> {
    let signed = |code, imm| slot(code, 6, 0, 1, imm);
    let div = |code, off| slot(code, 6, 7, off, 0);
    vec![
        (
            div(0x3f, 0),
            vec![slot(0x55, 7, 0, 2, 0), slot(0xac, 6, 6, 0, 0), slot(5, 0, 0, 1, 0), div(0x3f, 0)],
        ),
        (
            div(0x3c, 0),
            vec![slot(0x56, 7, 0, 2, 0), slot(0xac, 6, 6, 0, 0), slot(5, 0, 0, 1, 0), div(0x3c, 0)],
        ),
        (div(0x9f, 0), vec![slot(0x15, 7, 0, 1, 0), div(0x9f, 0)]),
        (
            div(0x9c, 0),
            vec![slot(0x16, 7, 0, 2, 0), div(0x9c, 0), slot(5, 0, 0, 1, 0), slot(0xbc, 6, 6, 0, 0)],
        ),
        (
            div(0x3f, 1),
            vec![
                slot(0xbf, AX, 7, 0, 0),
                slot(0x07, AX, 0, 0, 1),
                slot(0x25, AX, 0, 4, 1),
                slot(0x15, AX, 0, 1, 0),
                slot(0xb7, 6, 0, 0, 0),
                slot(0x87, 6, 0, 0, 0),
                slot(0x05, 0, 0, 1, 0),
                div(0x3f, 1),
            ],
        ),
        (
            div(0x3c, 1),
            vec![
                slot(0xbf, AX, 7, 0, 0),
                slot(0x04, AX, 0, 0, 1),
                slot(0x26, AX, 0, 4, 1),
                slot(0x16, AX, 0, 1, 0),
                slot(0xb4, 6, 0, 0, 0),
                slot(0x84, 6, 0, 0, 0),
                slot(0x05, 0, 0, 1, 0),
                div(0x3c, 1),
            ],
        ),
        (
            div(0x9f, 1),
            vec![
                slot(0xbf, AX, 7, 0, 0),
                slot(0x07, AX, 0, 0, 1),
                slot(0x25, AX, 0, 3, 1),
                slot(0x15, AX, 0, 3, 1),
                slot(0xb4, 6, 0, 0, 0),
                slot(0x05, 0, 0, 1, 0),
                div(0x9f, 1),
            ],
        ),
        (
            div(0x9c, 1),
            vec![
                slot(0xbf, AX, 7, 0, 0),
                slot(0x04, AX, 0, 0, 1),
                slot(0x26, AX, 0, 3, 1),
                slot(0x16, AX, 0, 4, 1),
                slot(0xb4, 6, 0, 0, 0),
                slot(0x05, 0, 0, 1, 0),
                div(0x9c, 1),
                slot(0x05, 0, 0, 1, 0),
                slot(0xbc, 6, 6, 0, 0),
            ],
        ),
        (signed(0x37, -1), vec![slot(0x87, 6, 0, 0, 0)]),
        (signed(0x34, -1), vec![slot(0x84, 6, 0, 0, 0)]),
        (signed(0x97, -1), vec![slot(0xb4, 6, 0, 0, 0)]),
        (signed(0x94, -1), vec![slot(0xb4, 6, 0, 0, 0)]),
    ]
}

#[test]
fn every_form_becomes_what_the_kernel_makes_of_it() {
    for version in VERSIONS {
        for (insn, expected) in table() {
            let (edited, report) = fixed(&[insn, EXIT], &(), &Options { version, ..Options::default() });
            assert_eq!(edited.insns, [expected, vec![EXIT]].concat(), "{insn:?}");
            assert_eq!(report.divisions, 1);
        }
    }
}

#[test]
fn constants_that_cannot_trap_stay() {
    for insn in [
        slot(0x37, 6, 0, 0, -1),
        slot(0x97, 6, 0, 0, -1),
        slot(0x37, 6, 0, 1, 7),
        slot(0x94, 6, 0, 1, -2),
        slot(0x34, 6, 0, 0, 1),
    ] {
        let (edited, report) = fixed(&[insn, EXIT], &(), &Options::default());
        assert_eq!(edited.insns, [insn, EXIT]);
        assert_eq!(report.divisions, 0);
    }
}

#[test]
fn jumps_to_a_division_land_on_its_guard() {
    let head = [Insn::call(7), slot(0xbf, 8, 0, 0, 0), slot(0xbf, 7, 0, 0, 0)];
    let jumps = |a, b| [slot(0x45, 8, 0, a, 1), slot(0x45, 8, 0, b, 2)];
    let division = slot(0x3f, 8, 7, 0, 0);
    let tail = |a, b| [slot(0xb7, 0, 0, 0, 0), slot(0x05, 0, 0, a, 0), slot(0x05, 0, 0, b, 0), EXIT];
    let program = [&head[..], &jumps(1, 3), &[division], &tail(1, -4)].concat();
    let guard = [slot(0x55, 7, 0, 2, 0), slot(0xac, 8, 8, 0, 0), slot(0x05, 0, 0, 1, 0)];
    let (edited, _) = fixed(&program, &(), &Options::default());
    assert_eq!(edited.insns, [&head[..], &jumps(1, 6), &guard, &[division], &tail(1, -7)].concat());
    // The facts of the division are with the last; of all patched ones it is known by their code whether
    // they define the low half of a register.
    let user: Vec<_> = edited.aux.iter().map(|aux| aux.user).collect();
    assert_eq!(user, [0, 1, 2, 3, 4, 0, 0, 0, 5, 6, 7, 8, 9]);
    let zext = (0..).zip(&edited.aux).filter(|(_, aux)| aux.zext_dst).map(|(at, _)| at);
    assert_eq!(zext.collect::<Vec<u32>>(), [6]);
    assert!(edited.aux.iter().all(|aux| aux.seen));
}

/// A jump forwards over one division reaches up to here.
#[test]
fn a_jump_over_a_division_has_the_reach_of_the_kernel() {
    for (off, reaches) in [(32764_i16, true), (32765, false)] {
        let mut program = vec![slot(0x15, 1, 0, off, 0), slot(0x3f, 6, 7, 0, 0)];
        program.resize(off.unsigned_abs() as usize + 1, slot(0xb7, 0, 0, 0, 0));
        program.push(EXIT);
        let result = try_fixed(&program, &(), &Options::default());
        assert_eq!(result.is_ok(), reaches, "{off}: {:?}", result.err());
    }
    for (off, reaches) in [(-32765_i16, true), (-32766, false)] {
        let mut program = vec![slot(0xb7, 0, 0, 0, 0), slot(0x3f, 6, 7, 0, 0)];
        program.resize(off.unsigned_abs() as usize - 1, slot(0xb7, 0, 0, 0, 0));
        program.extend([slot(0x15, 1, 0, off, 0), EXIT]);
        let result = try_fixed(&program, &(), &Options::default());
        assert_eq!(result.is_ok(), reaches, "{off}: {:?}", result.err());
    }
}
