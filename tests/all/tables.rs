//! Side tables: against an oracle that looks at each record alone, and against what the kernel does.

use proptest::collection::vec;
use proptest::prelude::*;
use relinear::bpf::{Bpf, Insn};
use relinear::{Arena, At, Deleted, Handle, List, Map, Patch, TableError};

/// How much is inserted around an instruction, and whether it is deleted.
#[derive(Clone, Copy, Debug, Default)]
struct Around {
    fall: u32,
    pre: u32,
    post: u32,
    dead: bool,
}

fn insns(count: usize) -> Vec<Insn> {
    vec![Insn::mov64_imm(0, 0); count]
}

/// The map of a program with these edits, of which the last are to its end.
fn map(edits: &[Around]) -> Map {
    let program = insns(edits.len() - 1);
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program).unwrap();
    for (at, around) in (0..).map(Handle::new).zip(edits) {
        let code = insns(8);
        let patch = |units: u32| (units > 0).then(|| Patch::new(&code[..units as usize]));
        patch(around.fall).map(|patch| list.prepend_fallthrough(at, patch).unwrap());
        patch(around.pre).map(|patch| list.prepend(at, patch).unwrap());
        if at != list.end() {
            patch(around.post).map(|patch| list.append(at, patch).unwrap());
            if around.dead {
                list.delete(at).unwrap();
            }
        }
    }
    list.linearize().unwrap().map
}

/// Where everything went, by adding up: the label and own place of each instruction and of the end, and the
/// length.
fn places(edits: &[Around]) -> (Vec<u32>, Vec<Option<u32>>, u32) {
    let (mut labels, mut own, mut at) = (Vec::new(), Vec::new(), 0);
    for (index, around) in edits.iter().enumerate() {
        let end = index + 1 == edits.len();
        labels.push(at + around.fall);
        at += around.fall + around.pre;
        own.push((!around.dead && !end).then_some(at));
        at += if end { 0 } else { u32::from(!around.dead) + around.post };
    }
    (labels, own, at)
}

fn edits() -> impl Strategy<Value = Vec<Around>> {
    let few = prop_oneof![3 => Just(0u32), 1 => 1..4u32];
    let around = (few.clone(), few.clone(), few, any::<bool>());
    vec(around.prop_map(|(fall, pre, post, dead)| Around { fall, pre, post, dead }), 2..30)
}

/// Edits, and positions of the program, with what they are drawn from.
fn edits_and_positions() -> impl Strategy<Value = (Vec<Around>, Vec<u32>)> {
    edits().prop_flat_map(|edits| {
        let units = u32::try_from(edits.len()).unwrap() - 1;
        (Just(edits), vec(0..units, 0..30))
    })
}

/// A record with the index it had.
type Record = (u32, usize);

fn records(positions: &[u32]) -> Vec<Record> {
    positions.iter().copied().zip(0..).collect()
}

/// The new place of a record that stays, if no other record is in its way.
fn point(edits: &[Around], old: u32, at: At, deleted: Deleted) -> Option<(u32, bool)> {
    let (labels, own, len) = places(edits);
    let label = labels[old as usize];
    let start = label - edits[old as usize].fall;
    match (own[old as usize], at, deleted) {
        (Some(own), At::Insn, _) => Some((own, true)),
        (Some(_), At::Label, _) => Some((label, true)),
        (Some(_), At::Start, _) => Some((start, true)),
        (None, _, Deleted::Drop) => None,
        (None, At::Start, Deleted::Slide) => (start < len).then_some((start, false)),
        (None, _, Deleted::Slide) => (label < len).then_some((label, false)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn points_go_where_each_one_alone_would((edits, mut positions) in edits_and_positions()) {
        let map = map(&edits);
        for sorted in [false, true] {
            if sorted {
                positions.sort_unstable();
            }
            for at in [At::Insn, At::Label, At::Start] {
                for deleted in [Deleted::Drop, Deleted::Slide] {
                    if deleted == Deleted::Slide && !sorted {
                        continue;
                    }
                    let new: Vec<_> = positions.iter().map(|&old| point(&edits, old, at, deleted)).collect();
                    let expected: Vec<Record> = (0..new.len())
                        .filter_map(|index| {
                            let (place, own) = new[index]?;
                            let taken = new.contains(&Some((place, true)))
                                || new[index + 1..].contains(&Some((place, false)));
                            (own || !taken).then_some((place, index))
                        })
                        .collect();
                    let mut got = records(&positions);
                    map.adjust_points(&mut got, at, deleted, |record| &mut record.0).unwrap();
                    prop_assert_eq!(got, expected, "{:?} {:?}", at, deleted);
                }
            }
        }
    }

    #[test]
    fn every_unit_stays_in_the_part_it_was_in((edits, mut positions) in edits_and_positions()) {
        positions.sort_unstable();
        positions.dedup();
        let map = map(&edits);
        let (labels, _, len) = places(&edits);
        let mut got = records(&positions);
        let removed = map.adjust_starts(&mut got, |record| &mut record.0).unwrap();
        // The part that each new unit is in: the last one that starts at or before it.
        let part = |unit| {
            let start = |old: u32| labels[old as usize] - edits[old as usize].fall;
            positions.iter().rposition(|&old| start(old) <= unit)
        };
        for unit in 0..len {
            let got = got.iter().rfind(|record| record.0 <= unit);
            prop_assert_eq!(got.map(|record| record.1), part(unit), "unit {}", unit);
        }
        let full: Vec<usize> = got.iter().map(|record| record.1).collect();
        let empty: Vec<usize> = (0..positions.len()).filter(|index| !full.contains(index)).collect();
        prop_assert_eq!(removed, empty);
        prop_assert!(full.iter().all(|&index| (0..len).any(|unit| part(unit) == Some(index))));
    }

    #[test]
    fn ranges_keep_their_ends((edits, positions) in edits_and_positions()) {
        let map = map(&edits);
        let (labels, ..) = places(&edits);
        let end = map.old_len();
        let all: Vec<(u32, u32)> = positions
            .iter()
            .zip(positions.iter().skip(1).chain([&end]))
            .map(|(&one, &other)| (one.min(other), one.max(other)))
            .collect();
        let new = all.iter().map(|&(start, end)| (labels[start as usize], labels[end as usize]));
        let expected: Vec<(u32, u32)> = new.filter(|(start, end)| start < end).collect();
        let mut got = all.clone();
        map.adjust_ranges(&mut got, |range| (&mut range.0, &mut range.1)).unwrap();
        prop_assert_eq!(got, expected);
    }
}

/// What the kernel did to line records of programs that it loaded, and to their subprograms.
struct Removal {
    name: &'static str,
    len: usize,
    dead: &'static [usize],
    lines: &'static [u32],
    /// New positions, each with the old one.
    expected_lines: &'static [(u32, u32)],
    subprogs: &'static [u32],
    expected_subprogs: &'static [u32],
    removed: &'static [usize],
}

const REMOVAL: Removal = Removal {
    name: "",
    len: 0,
    dead: &[],
    lines: &[],
    expected_lines: &[],
    subprogs: &[0],
    expected_subprogs: &[0],
    removed: &[],
};

/// From `tools/testing/selftests/bpf/prog_tests/btf.c` where the names say so, and seen on Linux 6.18.
const REMOVALS: &[Removal] = &[
    Removal {
        name: "dead start",
        len: 5,
        dead: &[0],
        lines: &[0, 1, 2, 3, 4],
        expected_lines: &[(0, 1), (1, 2), (2, 3), (3, 4)],
        ..REMOVAL
    },
    Removal {
        name: "no-op without a record after it",
        len: 4,
        dead: &[0],
        lines: &[0, 2],
        expected_lines: &[(0, 0), (1, 2)],
        ..REMOVAL
    },
    Removal {
        name: "hole, and no record after it",
        len: 8,
        dead: &[1, 3, 4, 5],
        lines: &[0, 4, 5, 7],
        expected_lines: &[(0, 0), (2, 5), (3, 7)],
        ..REMOVAL
    },
    Removal {
        name: "hole without records",
        len: 8,
        dead: &[1, 3, 4, 5],
        lines: &[0, 7],
        expected_lines: &[(0, 0), (3, 7)],
        ..REMOVAL
    },
    Removal {
        name: "dead end",
        len: 6,
        dead: &[3, 5],
        lines: &[0, 1, 2, 3, 4, 5],
        expected_lines: &[(0, 0), (1, 1), (2, 2), (3, 4)],
        ..REMOVAL
    },
    Removal {
        name: "dead code + subprog + func_info",
        len: 17,
        dead: &[3, 4, 5, 6, 7, 8, 9, 10, 11],
        lines: &[0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16],
        expected_lines: &[(0, 0), (3, 12), (5, 14), (7, 16)],
        subprogs: &[0, 14],
        expected_subprogs: &[0, 5],
        ..REMOVAL
    },
    Removal {
        name: "dead subprog",
        len: 12,
        dead: &[1, 2, 6, 7, 8],
        lines: &[0, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        expected_lines: &[(0, 0), (1, 3), (2, 4), (3, 5), (4, 9), (5, 10), (6, 11)],
        subprogs: &[0, 6, 9],
        expected_subprogs: &[0, 4],
        removed: &[1],
    },
    Removal {
        name: "dead last subprog",
        len: 7,
        dead: &[1, 2, 5, 6],
        lines: &[0, 3, 4, 5, 6],
        expected_lines: &[(0, 0), (1, 3), (2, 4)],
        subprogs: &[0, 5],
        expected_subprogs: &[0],
        removed: &[1],
    },
    Removal {
        name: "dead subprog + dead start",
        len: 14,
        dead: &[0, 2, 3, 7, 8, 9, 10],
        lines: &[0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
        expected_lines: &[(0, 0), (1, 4), (2, 5), (3, 6), (4, 11), (5, 12), (6, 13)],
        subprogs: &[0, 7, 10],
        expected_subprogs: &[0, 4],
        removed: &[1],
    },
    Removal {
        name: "dead subprog + dead start w/ move",
        len: 13,
        dead: &[1, 2, 6, 7, 8, 9],
        lines: &[0, 3, 4, 5, 6, 7, 8, 9, 11, 12],
        expected_lines: &[(0, 0), (1, 3), (2, 4), (3, 5), (4, 9), (5, 11), (6, 12)],
        subprogs: &[0, 6, 9],
        expected_subprogs: &[0, 4],
        removed: &[1],
    },
    Removal {
        name: "dead end + subprog start w/ no linfo",
        len: 8,
        dead: &[1, 5, 6],
        lines: &[0, 6],
        expected_lines: &[(0, 0), (4, 6)],
        subprogs: &[0, 6],
        expected_subprogs: &[0, 4],
        ..REMOVAL
    },
    Removal {
        name: "branches that became no-ops",
        len: 13,
        dead: &[1, 2, 3, 8, 9, 10],
        lines: &[0, 2, 3, 5, 8, 10, 12],
        expected_lines: &[(0, 0), (1, 3), (2, 5), (5, 10), (6, 12)],
        ..REMOVAL
    },
];

#[test]
fn removal_is_that_of_the_kernel() {
    for case in REMOVALS {
        let mut edits = vec![Around::default(); case.len + 1];
        for &dead in case.dead {
            edits[dead].dead = true;
        }
        let map = map(&edits);
        let mut lines: Vec<(u32, u32)> = case.lines.iter().map(|&old| (old, old)).collect();
        map.adjust_points(&mut lines, At::Label, Deleted::Slide, |line| &mut line.0).unwrap();
        assert_eq!(lines, case.expected_lines, "{}: lines", case.name);
        let mut subprogs = case.subprogs.to_vec();
        let removed = map.adjust_starts(&mut subprogs, |start| start).unwrap();
        assert_eq!(subprogs, case.expected_subprogs, "{}: subprograms", case.name);
        assert_eq!(removed, case.removed, "{}: removed subprograms", case.name);
    }
}

/// A patch in the place of one instruction: what is above it moves, what is at it stays on the first of the
/// patch. Relocations of the instruction itself go with it.
#[test]
fn patching_is_that_of_the_kernel() {
    let program = insns(4);
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program).unwrap();
    list.replace(Handle::new(1), Patch::new(&insns(3))).unwrap();
    list.prepend(Handle::new(2), Patch::new(&insns(2))).unwrap();
    let map = list.linearize().unwrap().map;

    let mut lines = [0, 1, 2, 3].to_vec();
    map.adjust_points(&mut lines, At::Label, Deleted::Slide, |line| line).unwrap();
    assert_eq!(lines, [0, 1, 4, 7]);
    let mut starts = [0, 1, 2, 3].to_vec();
    assert_eq!(map.adjust_starts(&mut starts, |start| start), Ok(vec![]));
    assert_eq!(starts, [0, 1, 4, 7]);
    let mut relocations = [3, 2, 1].to_vec();
    map.adjust_points(&mut relocations, At::Insn, Deleted::Drop, |at| at).unwrap();
    assert_eq!(relocations, [7, 6, 1]);
    let mut ranges = [(1, 2), (2, 4), (0, 4)].to_vec();
    map.adjust_ranges(&mut ranges, |range| (&mut range.0, &mut range.1)).unwrap();
    assert_eq!(ranges, [(1, 4), (4, 8), (0, 8)]);
}

#[test]
fn bad_tables_are_refused_and_left_alone() {
    let edits = [Around { dead: true, ..Around::default() }; 5];
    let map = map(&edits);
    let points = |table: &[u32], deleted| {
        let mut new = table.to_vec();
        let result = map.adjust_points(&mut new, At::Label, deleted, |at| at);
        assert!(result.is_ok() || new == table);
        result
    };
    let starts = |table: &[u32]| {
        let mut new = table.to_vec();
        let result = map.adjust_starts(&mut new, |at| at);
        assert!(result.is_ok() || new == table);
        result
    };
    let ranges = |table: &[(u32, u32)]| {
        let mut new = table.to_vec();
        let result = map.adjust_ranges(&mut new, |range| (&mut range.0, &mut range.1));
        assert!(result.is_ok() || new == table);
        result
    };
    let outside = |record, position, limit| TableError::Outside { record, position, limit };
    assert_eq!(points(&[3, 4], Deleted::Drop), Err(outside(1, 4, 3)));
    assert_eq!(points(&[3, u32::MAX], Deleted::Slide), Err(outside(1, u32::MAX, 3)));
    assert_eq!(points(&[0, 3, 2], Deleted::Slide), Err(TableError::Order { record: 2 }));
    assert_eq!(points(&[0, 3, 2], Deleted::Drop), Ok(()));
    assert_eq!(starts(&[0, 4]), Err(outside(1, 4, 3)));
    assert_eq!(starts(&[0, 2, 2]), Err(TableError::Order { record: 2 }));
    assert_eq!(starts(&[0, 1, 3]), Ok(vec![0, 1, 2]));
    assert_eq!(ranges(&[(0, 4), (2, 5)]), Err(outside(1, 5, 4)));
    assert_eq!(ranges(&[(0, 4), (3, 2)]), Err(TableError::Inverted { record: 1 }));
    assert_eq!(ranges(&[(0, 4), (4, 4)]), Ok(()));
    let nothing = Map::default();
    assert_eq!(nothing.adjust_starts(&mut vec![0], |at| at), Err(outside(0, 0, 0)));
    assert_eq!(nothing.adjust_ranges(&mut vec![(0, 0)], |range| (&mut range.0, &mut range.1)), Ok(()));
}
