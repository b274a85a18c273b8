//! Cases worked out by hand, for the model and for lists: whoever doubts the model can check it here.
//!
//! A program is words. A letter is an instruction of one unit, a capital of two. `>3` is a branch to
//! position 3, `~3` a narrow one, `>3>5` one of two units and two fields. In a patch, `>3` leads to the
//! original position 3, `>b` to the instruction `b`, `>.1` to unit 1 of the patch and `>$` to its end.
//! In an edit, `$` is the end of the program.

use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::Toy;
use super::edits::insert;
use super::mirror::{Mirror, ToyLinear, ToyList};
use super::model::{FaultKind, Id, Kind, Output, Patch, Target};
use crate::{Arena, Isa, Origin};

/// A program, the edits to it, and the program that comes out.
const CASES: &[[&str; 3]] = &[
    ["a b >1", "", "a b >1"],
    // Prepended: run on every way in, a later one nearer.
    ["a b >1", "pre b x", "a x b >1"],
    ["a b >1", "pre b x; pre b y", "a x y b >1"],
    ["a b >1", "pre b x y; pre b z", "a x y z b >1"],
    // Prepended for fall-through only: a branch does not run it.
    ["a b >1", "fall b x", "a x b >2"],
    ["a b >1", "fall b x; fall b y", "a x y b >3"],
    ["a b >1", "pre b x; fall b y", "a y x b >2"],
    ["a b >1", "fall b x; pre b y", "a x y b >2"],
    // Appended: a branch to what follows does not run it, a later one stands nearer.
    ["a b >1", "post a x", "a x b >2"],
    ["a b >1", "post a x; post a y", "a y x b >3"],
    ["a b >1", "fall b x; post a y", "a y x b >3"],
    // Replaced.
    ["a b >1", "rep b x y", "a x y >1"],
    ["a b >1", "pre b x; rep b y z", "a x y z >1"],
    ["a b >1", "rep b y z; pre b x", "a x y z >1"],
    ["a b >1", "rep b x y; rep b u v", "a u v y >1"],
    ["a b >1", "post b x; rep b y z", "a y z x >1"],
    ["a b >1", "rep b y z; post b x", "a y x z >1"],
    ["a b >1", "rep b x y; pre y z", "a x z y >1"],
    // Deleted: a branch lands on the next live instruction, whatever that is.
    ["a b c >1", "del b", "a c >1"],
    ["a b c >1", "del b; del c", "a >1"],
    ["a b c >1", "pre b x; del b", "a x c >1"],
    ["a b c >1", "post b x; del b", "a x c >1"],
    ["a b c >1", "fall b x; del b", "a x c >2"],
    ["a b c >1", "fall c x; del b", "a x c >1"],
    ["a b c >1", "pre c x; del b", "a x c >1"],
    ["a b c >1", "rep b x y; del b", "a y c >1"],
    ["a b", "del a; del b", ""],
    ["a >2 b", "del b", "tail 1"],
    ["a >2 b", "del b; pre $ x", "a >2 x"],
    // Around what was inserted.
    ["a b >1", "pre b x; pre x y", "a y x b >1"],
    ["a b >1", "pre b x; fall x y", "a y x b >2"],
    ["a b >1", "pre b x; fall x y; del x", "a y b >2"],
    ["a b >1", "pre b x; del x", "a b >1"],
    ["a b >1", "pre b x; pre x y; fall y z", "a z y x b >2"],
    ["a b >1", "pre b x y; post x z", "a x z y b >1"],
    ["a b >1", "post a x; pre x y", "a y x b >3"],
    ["a b >1", "fall b x; pre x y", "a y x b >3"],
    ["a b >1", "pre b x; del x; post a y; del y; fall b z; del z", "a b >1"],
    // A branch to the end of its patch.
    ["a b >1", "pre b >$ x", "a >3 x b >1"],
    ["a b >1", "pre b >$ x; post x y", "a >4 x y b >1"],
    ["a b >1", "pre b >$ x; pre b y", "a >3 x y b >1"],
    ["a b >1", "post a >$ x", "a >3 x b >3"],
    ["a b >1", "post a >$ x; fall b y", "a >3 x y b >4"],
    ["a b >1", "post a x; post a >$ y", "a >3 y x b >4"],
    ["a b >1", "rep b >$ x; post b y", "a >4 y x >1"],
    ["a b >1", "rep b >$; post b y", "a >3 y >1"],
    ["a b >1", "fall b >$ x; fall b y", "a >3 x y b >4"],
    // A branch to the start of its patch.
    ["a b >1", "pre b x >.0", "a x >1 b >1"],
    ["a b >1", "pre b x >.0; pre x y", "a y x >1 b >1"],
    ["a b >1", "rep b x >.0", "a x >1 >1"],
    ["a b >1", "rep b x >.0; pre b y", "a y x >1 >1"],
    ["a b >1", "pre b y; rep b x >.0", "a y x >2 >1"],
    ["a b >1", "pre b y; rep b x >.0; pre b z", "a y z x >2 >1"],
    ["a b >1", "pre b y; rep b >$ >.0", "a y >4 >2 >1"],
    ["a b >1", "pre b y; rep b >.0 >$", "a y >2 >4 >1"],
    // A branch elsewhere.
    ["a b c", "pre b >c", "a >3 b c"],
    ["a b c", "pre b >c; pre c x", "a >3 b x c"],
    ["a b c", "pre b >c; del c; post c x", "dead c"],
    ["a b c", "pre a >1; del b", ">2 a c"],
    ["a b c", "pre c x y; pre a >y", ">4 a b x y c"],
    ["a b c", "pre a >3; pre $ x", ">4 a b c x"],
    ["a b c", "pre a >3", "tail 0"],
    ["a b c", "pre a >3; fall $ x", "tail 0"],
    ["a >4>0 b c", "pre c x; post b y; fall b z", "a >6>0 z b y x c"],
    ["a >7", "", "outside 1"],
    ["a >2", "", "outside 1"],
    ["A b >1", "", "inside 3"],
    // Instructions of two units.
    ["A b >2", "pre A x", "x A b >3"],
    ["A b >2", "del A", "b >0"],
    ["A b >0", "rep A x", "x b >0"],
    ["a b >1", "rep a X", "X b >2"],
    ["a b >1", "pre b X >.0 Y", "a X >1 Y b >1"],
    // A field of four bits.
    ["a b ~0", "post a x x x x x x", "a x x x x x x b ~0"],
    ["a b ~0", "post a x x x x x x x", "range 2"],
    ["a b ~0", "post a x x x x x x x; del b", "a x x x x x x x ~0"],
    ["a ~3 b c", "pre c x x x x x", "a ~3 b x x x x x c"],
    ["a ~3 b c", "fall c x x x x x", "a ~8 b x x x x x c"],
    ["a ~3 b c", "fall c x x x x x x", "range 1"],
];

/// A program, the edits to it, and for each old position the new one and the own new one (nothing
/// for what was deleted), for each new position the old one (with a `+` for what is inserted).
const MAPS: &[[&str; 5]] = &[
    ["a b c d", "pre b x; del c; rep d y z", "0 1 3 3 5", "0 2 . 3 .", "0 +1 1 3 +3"],
    ["a b c", "fall b x; post b y; pre $ z", "0 2 4 5", "0 2 4 .", "0 +1 1 +1 2 +3"],
    ["a b c", "pre b x y; del x; post y z; del b", "0 1 3 4", "0 . 3 .", "0 +1 +1 2"],
    ["A b", "pre A x", "0 2 3 4", "1 2 3 .", "+0 0 1 2"],
    ["A b", "rep A X y", "0 3 3 4", "0 . 3 .", "0 +0 +0 2"],
    ["A b", "pre A x; del A", "0 1 1 2", ". . 1 .", "+0 2"],
    ["a b", "rep a x y; rep y u v", "0 3 4", "0 3 .", "0 +0 +0 1"],
];

/// The instruction of a word: its units, with displacements that do not matter, and where its fields lead.
fn insn(word: &str) -> (Vec<u16>, Vec<&str>) {
    let to: Vec<&str> = word.split(['>', '~']).skip(1).collect();
    let first = word.chars().next().unwrap();
    let high = u16::from(u8::try_from(first).unwrap()) << 8;
    let narrow = if word.contains('~') { 1 << 4 } else { 0 };
    match to.len() {
        0 if first.is_uppercase() => (Vec::from([high | 2, 0]), to),
        0 => (Vec::from([high | 1]), to),
        1 => (Vec::from([1 << 2 | 1 | narrow]), to),
        _ => (Vec::from([2 << 2 | 2 | narrow, 0]), to),
    }
}

fn assemble(text: &str) -> Vec<u16> {
    let mut units = Vec::new();
    for word in text.split_whitespace() {
        let (mut new, to) = insn(word);
        for (field, to) in to.iter().enumerate() {
            let to: i64 = to.parse().unwrap();
            Toy::default().write(&mut new, field, to - i64::try_from(units.len()).unwrap());
        }
        units.extend(new);
    }
    units
}

fn disassemble(units: &[u16]) -> String {
    let mut words = Vec::new();
    let mut at = 0;
    while at < units.len() {
        let insn = &units[at..at + Toy::default().len(&units[at..]).unwrap()];
        let mark = if insn[0] & 1 << 4 == 0 { '>' } else { '~' };
        let to = |field| i64::try_from(at).unwrap() + Toy::default().read(insn, field);
        words.push(match Toy::default().fields(insn) {
            0 => char::from(insn[0].to_be_bytes()[0]).to_string(),
            fields => (0..fields).fold(String::new(), |word, field| format!("{word}{mark}{}", to(field))),
        });
        at += insn.len();
    }
    words.join(" ")
}

fn patch(words: &[&str], names: &BTreeMap<String, Id>) -> Patch {
    let mut patch = Patch::default();
    for word in words {
        let (units, to) = insn(word);
        let unit = u32::try_from(patch.units.len()).unwrap();
        for (field, to) in (0..).zip(to) {
            let target = match (to.strip_prefix('.'), to.parse()) {
                (Some(local), _) => Target::Local(local.parse().unwrap()),
                (_, Ok(original)) => Target::Original(original),
                _ if to == "$" => Target::End,
                _ => Target::Insn(names[to]),
            };
            patch.targets.push((unit, field, target));
        }
        patch.units.extend(units);
    }
    patch
}

/// Makes the edits to a list and to the model. `None` if what an edit names was deleted.
fn run(program: &str, edits: &str) -> Result<Output, String> {
    let arena = Arena::new();
    let units = assemble(program);
    let mut list = ToyList::<2>::with_aux(&arena, &units, &[]).unwrap();
    let mut mirror = Mirror::new(&units, &[]);
    let mut names: BTreeMap<String, Id> = program.split_whitespace().map(String::from).zip(0..).collect();
    names.insert("$".into(), mirror.model.end());
    for edit in edits.split(';').filter(|edit| !edit.is_empty()) {
        let words: Vec<&str> = edit.split_whitespace().collect();
        let id = names[words[1]];
        let handle = mirror.name(id);
        let kind = match words[0] {
            "pre" => Kind::Prepend,
            "fall" => Kind::PrependFallthrough,
            "post" => Kind::Append,
            "rep" => Kind::Replace,
            _ => {
                mirror.delete(id, || list.delete(handle));
                continue;
            }
        };
        let first = mirror.model.ids() - usize::from(kind == Kind::Replace);
        let made = mirror
            .edit(kind, id, &patch(&words[2..], &names), |patch| insert(&mut list, kind, handle, patch));
        if !made {
            return Err(format!("dead {}", words[1]));
        }
        for (id, &word) in (first..).zip(&words[2..]).skip(usize::from(kind == Kind::Replace)) {
            names.insert(word.into(), id);
        }
    }
    mirror.compare(&list);
    _ = mirror.linearize(&list, &mut ToyLinear::default());
    mirror.model.linearize().map_err(|fault| {
        let kind = match fault.kind {
            FaultKind::Outside(_) => "outside",
            FaultKind::Inside(_) => "inside",
            FaultKind::Tail(_) => "tail",
            FaultKind::Range { .. } => "range",
        };
        format!("{kind} {}", fault.origin)
    })
}

#[test]
fn programs_come_out_as_worked_out_by_hand() {
    for [program, edits, expected] in CASES {
        let got = run(program, edits).map_or_else(|error| error, |output| disassemble(&output.units));
        assert_eq!(&got, expected, "{program}: {edits}");
    }
}

#[test]
fn positions_come_out_as_worked_out_by_hand() {
    for [program, edits, new_of, position_of, origins] in MAPS {
        let output = run(program, edits).unwrap();
        let words: Vec<String> = output.new_of.iter().map(u32::to_string).collect();
        assert_eq!(&words.join(" "), new_of, "{program}: {edits}: new positions");
        let word = |position: &Option<u32>| position.map_or(".".into(), |position| position.to_string());
        let words: Vec<String> = output.position_of.iter().map(word).collect();
        assert_eq!(&words.join(" "), position_of, "{program}: {edits}: own new positions");
        let word = |origin: &Origin| match origin {
            Origin::Original(at) => at.to_string(),
            Origin::InsertedFor(at) => format!("+{at}"),
        };
        let words: Vec<String> = output.origins.iter().map(word).collect();
        assert_eq!(&words.join(" "), origins, "{program}: {edits}: origins");
    }
}
