//! The kernel's own tests of dead code and its tables: the table of `prog_tests/btf.c`, and
//! `verifier/dead_code.c`.

use relinear::bpf::opcode::DW;
use relinear::bpf::{Aux, FuncInfo, Insn, LineInfo, Program};
use relinear::passes::kernel::{Kernel, patch};
use relinear::{Arena, Handle, Patch};

use super::{Step, at_once, privileged};
#[cfg(target_os = "linux")]
use crate::differential::{self, image::Image, load::Request};
#[cfg(target_os = "linux")]
use crate::kernel;
use crate::random;

/// `BPF_PROG_TYPE_TRACEPOINT`.
#[cfg(target_os = "linux")]
const TRACEPOINT: u32 = 5;

/// A row of the table: what a program is, which of its instructions the verifier does not see, and what is left.
struct Row {
    name: &'static str,
    text: &'static str,
    /// Where lines start.
    lines: &'static [u32],
    dead: &'static [u32],
    /// One bit a line: it goes.
    lines_lost: u32,
    /// One bit a function: it goes.
    funcs_lost: u32,
    expected: &'static str,
}

const ROWS: [Row; 9] = [
    Row {
        name: "no subprog",
        text: "r0 = 1\nr1 = 2\nr0 += r1\nexit",
        lines: &[0, 1, 2, 3],
        dead: &[],
        lines_lost: 0,
        funcs_lost: 0,
        expected: "r0 = 1\nr1 = 2\nr0 += r1\nexit",
    },
    Row {
        name: "dead start",
        text: "goto +0\nr0 = 1\nr1 = 2\nr0 += r1\nexit",
        lines: &[0, 1, 2, 3, 4],
        dead: &[],
        lines_lost: 0x01,
        funcs_lost: 0,
        expected: "r0 = 1\nr1 = 2\nr0 += r1\nexit",
    },
    Row {
        name: "dead end",
        text: "r0 = 1\nr1 = 2\nr0 += r1\nif r0 >= 10 goto +1\nexit\nexit",
        lines: &[0, 1, 2, 3, 4, 5],
        dead: &[5],
        lines_lost: 0x28,
        funcs_lost: 0,
        expected: "r0 = 1\nr1 = 2\nr0 += r1\nexit",
    },
    Row {
        name: "dead code + subprog + func_info",
        text: "r2 = 1\nr2 += 1\nr1 = r2\nif r2 s>= 0 goto +8\nr2 = 1\nr2 = 1\nr2 = 1\nr2 = 1\nr2 = 1\nr2 = 1\nr2 = 1\nr2 = 1\n\
               call pc+1\nexit\nr0 = r1\nr0 += 1\nexit",
        lines: &[0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16],
        dead: &[4, 5, 6, 7, 8, 9, 10, 11],
        lines_lost: 0x3fe,
        funcs_lost: 0,
        expected: "r2 = 1\nr2 += 1\nr1 = r2\ncall pc+1\nexit\nr0 = r1\nr0 += 1\nexit",
    },
    Row {
        name: "dead subprog",
        text: "r2 = 1\nif r2 s>= 0 goto +1\ncall pc+3\ncall pc+5\nr0 = 0\nexit\n\
               r0 = 0\ncall pc+1\nexit\n\
               r0 = r2\nr0 += 1\nexit",
        lines: &[0, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        dead: &[2, 6, 7, 8],
        lines_lost: 0x70,
        funcs_lost: 0b10,
        expected: "r2 = 1\ncall pc+2\nr0 = 0\nexit\nr0 = r2\nr0 += 1\nexit",
    },
    Row {
        name: "dead last subprog",
        text: "r2 = 1\nif r2 s>= 0 goto +1\ncall pc+2\nr0 = 0\nexit\n\
               r0 = 0\nexit",
        lines: &[0, 3, 4, 5, 6],
        dead: &[2, 5, 6],
        lines_lost: 0x18,
        funcs_lost: 0b10,
        expected: "r2 = 1\nr0 = 0\nexit",
    },
    Row {
        name: "dead subprog + dead start",
        text: "goto +0\nr2 = 1\nif r2 s>= 0 goto +1\ncall pc+3\ncall pc+5\nr0 = 0\nexit\n\
               r0 = 0\ncall pc+1\nexit\n\
               goto +0\nr0 = r2\nr0 += 1\nexit",
        lines: &[0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
        dead: &[3, 7, 8, 9],
        lines_lost: 0x1e2,
        funcs_lost: 0b10,
        expected: "r2 = 1\ncall pc+2\nr0 = 0\nexit\nr0 = r2\nr0 += 1\nexit",
    },
    Row {
        name: "dead subprog + dead start w/ move",
        text: "r2 = 1\nif r2 s>= 0 goto +1\ncall pc+3\ncall pc+5\nr0 = 0\nexit\n\
               r0 = 0\ncall pc+1\nexit\n\
               goto +0\nr0 = r2\nr0 += 1\nexit",
        lines: &[0, 3, 4, 5, 6, 7, 8, 9, 11, 12],
        dead: &[2, 6, 7, 8],
        lines_lost: 0x70,
        funcs_lost: 0b10,
        expected: "r2 = 1\ncall pc+2\nr0 = 0\nexit\nr0 = r2\nr0 += 1\nexit",
    },
    Row {
        name: "dead end + subprog start w/ no linfo",
        text: "r0 = 0\nif r0 s>= 1 goto +3\ncall pc+3\nr0 = 0\nexit\nexit\n\
               goto +0\nexit",
        lines: &[0, 6],
        dead: &[5],
        lines_lost: 0,
        funcs_lost: 0,
        expected: "r0 = 0\ncall pc+2\nr0 = 0\nexit\nexit",
    },
];

fn line(insn_off: u32) -> LineInfo {
    LineInfo { insn_off, file_name_off: 1, line_off: 1, line_col: insn_off << 10 }
}

/// A program with facts, and a record for each subprogram.
fn program(text: &str, lines: &[u32], dead: &[u32]) -> Program<u32> {
    let Program { insns, subprogs, .. } = random::program(text);
    let seen = (0..).map(|at| !dead.contains(&at));
    let aux = seen.take(insns.len()).map(|seen| Aux { seen, ..Aux::default() }).collect();
    let func_info =
        subprogs.iter().zip(1..).map(|(&insn_off, type_id)| FuncInfo { insn_off, type_id }).collect();
    let line_info = lines.iter().map(|&insn_off| line(insn_off)).collect();
    Program { insns, subprogs, aux, func_info, line_info, ..Program::default() }
}

fn kept<T: Copy>(records: &[T], lost: u32) -> Vec<T> {
    records
        .iter()
        .enumerate()
        .filter(|(index, _)| lost >> index & 1 == 0)
        .map(|(_, record)| *record)
        .collect()
}

#[test]
fn dead_code_with_btf() {
    for row in &ROWS {
        let name = row.name;
        let before = program(row.text, row.lines, row.dead);
        let expected = random::program(row.expected);
        for version in [Kernel::V6_1, Kernel::V6_12, Kernel::V6_18] {
            let after = at_once(&before, &privileged(version));
            assert_eq!(after.insns, expected.insns, "{name}");
            assert_eq!(after.subprogs, expected.subprogs, "{name}");
            let types: Vec<u32> = after.func_info.iter().map(|record| record.type_id).collect();
            let given: Vec<u32> = before.func_info.iter().map(|record| record.type_id).collect();
            assert_eq!(types, kept(&given, row.funcs_lost), "{name}");
            assert!(after.func_info.iter().map(|record| &record.insn_off).eq(&after.subprogs), "{name}");
            let columns: Vec<u32> = after.line_info.iter().map(|record| record.line_col).collect();
            let given: Vec<u32> = before.line_info.iter().map(|record| record.line_col).collect();
            assert_eq!(columns, kept(&given, row.lines_lost), "{name}");
            let places: Vec<u32> = after.line_info.iter().map(|record| record.insn_off).collect();
            assert_eq!(places[0], 0, "{name}");
            assert!(places.is_sorted_by(|a, b| a < b), "{name}");
        }
    }
}

/// Text, where lines start, what is dead, and where lines go: (new place, old place).
type Moves = (&'static str, &'static [u32], &'static [u32], &'static [(u32, u32)]);

const HOLE: &str = "r0 = 7\nif r0 >= 10 goto +2\nr1 = 1\ngoto +2\nr3 = 3\nr3 = 4\nr2 = 4\nexit";

const MOVES: [Moves; 5] = [
    ("goto +0\nr0 = 0\nr1 = 0\nexit", &[0, 2], &[], &[(0, 0), (1, 2)]),
    (HOLE, &[0, 4, 5, 7], &[4, 5], &[(0, 0), (2, 5), (3, 7)]),
    (HOLE, &[0, 7], &[4, 5], &[(0, 0), (3, 7)]),
    (
        ROWS[4].text,
        &[0, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        &[2, 6, 7, 8],
        &[(0, 0), (1, 3), (2, 4), (3, 5), (4, 9), (5, 10), (6, 11)],
    ),
    // Every kind of NOP at once.
    (
        "r8 = 7\nif r8 == 7 goto +2\nr1 = 1\nr1 = 2\ncall 7\nr9 = r0\nif r9 & 1 goto +1\nr2 = 2\n\
         if r8 == 8 goto +1\ngoto +1\nr3 = 3\nr0 = 0\nexit",
        &[0, 2, 3, 5, 8, 10, 12],
        &[2, 3, 10],
        &[(0, 0), (1, 3), (2, 5), (5, 10), (6, 12)],
    ),
];

#[test]
fn lines_move_as_worked_out_and_seen_in_the_kernel() {
    for (text, lines, dead, expected) in MOVES {
        let after = at_once(&program(text, lines, dead), &privileged(Kernel::V6_18));
        let moved: Vec<(u32, u32)> =
            after.line_info.iter().map(|record| (record.insn_off, record.line_col >> 10)).collect();
        assert_eq!(moved, expected, "{text}");
    }
}

#[test]
fn nops_that_come_into_being() {
    let (text, lines, dead, _) = MOVES[4];
    let after = at_once(&program(text, lines, dead), &privileged(Kernel::V6_18));
    let expected = "r8 = 7\ncall 7\nr9 = r0\nif r9 & 1 goto +1\nr2 = 2\nr0 = 0\nexit";
    assert_eq!(after.insns, random::program(expected).insns);
}

#[test]
fn jumps_that_come_to_lead_on_behind_the_cursor_stay() {
    let after = |version, text: &str| at_once(&program(text, &[], &[]), &privileged(version)).insns;
    let goto = "call 7\nif r0 & 1 goto +1\ngoto +1\ngoto +0\nexit";
    let left = random::program("call 7\nif r0 & 1 goto +1\ngoto +0\nexit").insns;
    for version in [Kernel::V6_1, Kernel::V6_12, Kernel::V6_18] {
        assert_eq!(after(version, goto), left);
    }
    let may_goto = |offsets: &[i16]| {
        let mut insns: Vec<Insn> = offsets.iter().map(|&off| Insn::may_goto(off)).collect();
        insns.push(Insn::exit());
        let aux = vec![Aux { seen: true, ..Aux::default() }; insns.len()];
        Program { insns, subprogs: vec![0], aux, ..Program::default() }
    };
    for offsets in [&[0][..], &[0, 0], &[1, 0], &[2, 1, 0], &[2, 0, 0]] {
        let before = may_goto(offsets);
        assert_eq!(at_once(&before, &privileged(Kernel::V6_18)).insns, [Insn::exit()], "{offsets:?}");
        assert_eq!(at_once(&before, &privileged(Kernel::V6_12)).insns, before.insns, "{offsets:?}");
    }
    // The cursor steps back for a `may_goto`, not for a `goto`.
    let mut mixed = may_goto(&[1]);
    mixed.insns.insert(1, Insn::ja(0));
    mixed.aux.push(mixed.aux[0]);
    assert_eq!(at_once(&mixed, &privileged(Kernel::V6_18)).insns, may_goto(&[0]).insns);
}

/// `verifier/dead_code.c`: what is dead, what is left.
const DEAD_CODE: [(&str, &[u32], &str); 9] = [
    // start
    ("goto +2\nr7 = *(u8 *)(r9 + 0)\ngoto +2\nr0 = 7\nif r0 >= 10 goto -4\nexit", &[1, 2], "r0 = 7\nexit"),
    // mid 1
    ("r0 = 7\nif r0 >= 0 goto +1\nr0 = 0\nexit", &[2], "r0 = 7\nexit"),
    // end 1
    ("r0 = 7\nif r0 >= 10 goto +1\nexit\nr0 = 12\nexit", &[3, 4], "r0 = 7\nexit"),
    // end 3
    (
        "r0 = 7\nif r0 >= 8 goto +1\nexit\nif r0 >= 10 goto +1\ngoto +1\nr0 = 12\ngoto -5",
        &[3, 4, 5, 6],
        "r0 = 7\nexit",
    ),
    // tail of main + func
    ("r0 = 7\nif r0 >= 8 goto +1\nexit\ncall pc+1\nexit\nr0 = 12\nexit", &[3, 4, 5, 6], "r0 = 7\nexit"),
    // function in the middle and mid of another func
    (
        "r1 = 7\ncall pc+3\nexit\nr0 = 12\nexit\nr0 = 7\nif r1 == 7 goto +1\ncall pc-5\nexit",
        &[3, 4, 7],
        "r1 = 7\ncall pc+1\nexit\nr0 = 7\nexit",
    ),
    // middle of main before call
    (
        "r0 = 2\nr1 = 2\nif r1 s> 1 goto +1\nr1 = 5\ncall pc+1\nexit\nr0 = r1\nexit",
        &[3],
        "r0 = 2\nr1 = 2\ncall pc+1\nexit\nr0 = r1\nexit",
    ),
    // start of a function
    ("r1 = 2\ncall pc+1\nexit\ngoto +0\nr0 = r1\nexit", &[], "r1 = 2\ncall pc+1\nexit\nr0 = r1\nexit"),
    // zero extension
    ("r0 = 0\nif r0 == 0 goto +1\nw0 = 1\nexit", &[2], "r0 = 0\nexit"),
];

#[test]
fn dead_code_of_the_verifier_tests() {
    for (text, dead, expected) in DEAD_CODE {
        let after = at_once(&program(text, &[], dead), &privileged(Kernel::V6_18));
        assert_eq!(after.insns, random::program(expected).insns, "{text}");
    }
}

/// All of these, in the running kernel.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_does_the_same() {
    let Some(fixtures) = differential::load::fixtures() else { return };
    let Some(_held) = kernel::unhardened() else { return };
    let rows = ROWS.iter().map(|row| (row.text, row.lines, row.dead));
    let moves = MOVES.iter().map(|&(text, lines, dead, _)| (text, lines, dead));
    let dead_code = DEAD_CODE.iter().map(|&(text, dead, _)| (text, &[][..], dead));
    for (text, lines, dead) in rows.chain(moves).chain(dead_code) {
        let mut before = program(text, lines, dead);
        for (number, record) in before.func_info.iter_mut().enumerate() {
            record.type_id = differential::btf::function(number, false);
        }
        let image = |program: Program<u32>| Image {
            insns: program.insns,
            lines: program.line_info,
            funcs: program.func_info,
        };
        let ours = image(at_once(&before, &privileged(Kernel::V6_18)));
        let before = image(before);
        let request = Request { kind: TRACEPOINT, attach: 0, flags: 0, image: &before, hardening: 0 };
        let theirs = fixtures.load(&request).unwrap_or_else(|refused| panic!("{text}\n{}", refused.log));
        let ours = ours.dumped(fixtures.map_id).masked();
        assert_eq!(ours, theirs.masked(), "{text}\nours:\n{ours}");
    }
}

/// `prog_tests/bpf_insn_array.c`: where the entries of an array go when NOPs are removed and each read of jiffies
/// becomes two instructions of three slots.
#[test]
fn instruction_arrays() {
    let both =
        "goto +0\ncall 118\ngoto +0\ncall pc+2\nr0 = 0\nexit\ngoto +0\ncall 118\ngoto +0\nr0 = 0\nexit";
    let none = u32::MAX;
    for (name, text, expected) in [
        ("one2one", "r0 = 4\nr0 = 3\nr0 = 2\nr0 = 1\nr0 = 0\nexit", &[0, 1, 2, 3, 4, 5][..]),
        ("simple", "r0 = 0\ncall 118\nr0 = 1\ncall 118\nr0 = 2\nexit", &[0, 1, 4, 5, 8, 9]),
        ("deletions", "r0 = 0\ngoto +0\nr0 = 1\ngoto +0\nr0 = 2\nexit", &[0, none, 1, none, 2, 3]),
        ("deletions-with-functions", both, &[none, 0, none, 3, 4, 5, none, 6, none, 9, 10]),
    ] {
        let mut before = program(text, &[], &[]);
        before.insn_array = (0..).map(Some).take(before.insns.len()).collect();
        let arena = Arena::new();
        let mut editor = before.edit(&arena).unwrap();
        for step in privileged(Kernel::V6_18) {
            Step::run(step, editor.list());
        }
        let [low, high] = Insn::ld_imm64(0, 0xffff_ffff_8100_0000);
        let jiffies = [low, high, Insn::ldx(DW, 0, 0, 0)];
        for at in (0..).map(Handle::new).take(before.insns.len()) {
            if editor.list().insn(at) == Some(&[Insn::call(118)]) {
                patch(editor.list(), at, Patch::new(&jiffies)).unwrap();
            }
        }
        let after = editor.linearize().unwrap().insn_array;
        let after: Vec<u32> = after.into_iter().map(|entry| entry.unwrap_or(none)).collect();
        assert_eq!(after, expected, "{name}");
    }
}
