//! That [`List::check`] finds what is wrong: everything in a list is changed, one thing at a time.

use std::format;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::core::columns::{PackedSlot, Site};
use crate::core::{Arena, Branch, Handle, Patch, Target};
use crate::fuzzing::Toy;

type ToyList<'a> = List<'a, Toy, u8>;

/// One unit, two units, and a branch to itself.
const ONE: u16 = 1;
const TWO: [u16; 2] = [2, 0];
const BRANCH: u16 = 1 | 1 << 2;

/// A program of two words, in each of which there are instructions of each kind.
fn program() -> Vec<u16> {
    let mut program = Vec::new();
    while program.len() < 110 {
        program.extend([ONE, BRANCH, TWO[0], TWO[1], ONE, ONE, ONE]);
    }
    program
}

/// A list with all that there is to a list.
fn list<'a>(arena: &'a Arena, program: &'a [u16]) -> ToyList<'a> {
    let mut list = ToyList::with_aux(arena, program, &[]).unwrap();
    let at = Handle::new;
    // The first word is edited in order.
    list.replace(at(4), &[ONE, ONE][..]).unwrap();
    list.replace(at(6), &[ONE][..]).unwrap();
    let touched = list.append(at(9), &[ONE, TWO[0], TWO[1], ONE][..]).unwrap();
    list.prepend(at(20), Patch::new(&[BRANCH, ONE]).branches(&[Branch::new(0, Target::Original(7))]))
        .unwrap();
    list.delete(at(16)).unwrap();
    list.delete(at(40)).unwrap();
    // The second one is not.
    for handle in [at(100), at(84), at(100)] {
        list.prepend(handle, &[ONE][..]).unwrap();
        list.prepend_fallthrough(handle, &[ONE, ONE][..]).unwrap();
        list.append(handle, &[ONE][..]).unwrap();
    }
    list.replace(at(100), &[ONE, ONE][..]).unwrap();
    list.replace(at(105), Patch::new(&[ONE, BRANCH]).branches(&[Branch::new(1, Target::Local(0))])).unwrap();
    // Around inserted code, and with a label.
    list.prepend(touched.at(1), &[ONE][..]).unwrap();
    list.delete(touched.at(0)).unwrap();
    list.append(at(70), Patch::new(&[ONE, BRANCH]).branches(&[Branch::new(1, Target::End)])).unwrap();
    list.prepend(at(86), &[ONE][..]).unwrap();
    list.check().unwrap();
    list
}

/// Makes a change to a list, and expects that it is found to break one of these invariants; of any, if none are given.
#[track_caller]
fn broken(invariants: &[u8], what: &str, change: impl FnOnce(&mut ToyList<'_>)) {
    let (arena, program) = (Arena::new(), program());
    let mut list = list(&arena, &program);
    change(&mut list);
    // What goes on to look at a list that is broken like this may find nothing where it looks.
    let Ok(found) = catch_unwind(AssertUnwindSafe(|| list.check())) else { return };
    let found = found.map_err(Broken::invariant).err();
    let any = invariants.is_empty();
    assert!(found.is_some_and(|found| any || invariants.contains(&found)), "{what}: {found:?}");
}

/// How many there are of something in the list.
fn count(of: impl FnOnce(&ToyList<'_>) -> usize) -> usize {
    let (arena, program) = (Arena::new(), program());
    of(&list(&arena, &program))
}

/// The columns of bits of original units, or of inserted ones, by name.
fn bits<'l>(list: &'l mut ToyList<'_>, inserted: bool, column: &str) -> &'l mut [u64] {
    let words = if inserted { &mut list.columns.tail.words } else { &mut list.columns.words };
    match column {
        "inner" => words.inner,
        "branch" => words.branch,
        "dead" => words.dead,
        "edited" => words.edited,
        _ => words.starts,
    }
}

#[test]
fn every_bit_of_the_words_counts() {
    let original = count(|list| list.columns.words.inner.len()) * WORD;
    let inserted = count(|list| list.columns.tail.units.len());
    for (column, invariants) in [
        ("inner", &[][..]),
        ("branch", &[1, 8]),
        ("dead", &[1, 2, 3, 6]),
        ("edited", &[]),
        ("starts", &[1, 3]),
    ] {
        for (from_edits, len) in [(false, original), (true, inserted + 2)] {
            for at in (0..len).filter(|_| from_edits || column != "starts") {
                broken(invariants, &format!("{column} {from_edits} {at}"), |list| {
                    bits(list, from_edits, column)[at / WORD] ^= 1 << (at % WORD);
                });
            }
        }
    }
}

#[test]
fn every_count_counts() {
    broken(&[2], "more live", |list| list.columns.live += 1);
    broken(&[2], "fewer live", |list| list.columns.live -= 1);
    broken(&[1], "more inserted", |list| list.columns.inserted += 1);
    broken(&[1], "one unit more", |list| list.columns.tail.units.push(ONE));
    broken(&[1, 3], "one unit fewer", |list| _ = list.columns.tail.units.pop());
    broken(&[1], "one fact fewer", |list| {
        let len = list.columns.tail.units.len();
        list.columns.tail.facts.resize(len - 1);
    });
    broken(&[1], "one fact fewer", |list| list.columns.facts.resize(list.columns.base - 1));
    broken(&[8], "one target more", |list| list.columns.targets.push(Handle::new(0)));
    broken(&[8], "one target fewer", |list| _ = list.columns.targets.pop());
    broken(&[4], "a site of nobody", |list| list.columns.sites.push(Site::default()));
    broken(&[3], "one record fewer", |list| list.columns.records.pop());
    broken(&[3], "an empty record", |list| {
        let end = list.columns.fresh();
        assert!(list.columns.records.push(4, end, Meta::new(0, Kind::Post, false)));
    });
    for word in 0..=count(|list| list.columns.tail.units.len()) / WORD {
        broken(&[3], "records before", |list| list.columns.tail.words.records[word] += 1);
        broken(&[8], "targets before", |list| list.columns.tail.words.targets[word] += 1);
    }
}

#[test]
fn every_record_counts() {
    for id in 0..count(|list| list.columns.records.len()) {
        broken(&[3], &format!("start {id}"), |list| {
            list.columns.records.change(id, |_, start, _| *start += 1);
        });
        broken(&[3], &format!("start {id} in the middle of an instruction"), |list| {
            let start = list.columns.records.get(id).start;
            let (words, at) = list.columns.words_at_mut(start);
            words.inner[at / WORD] |= 1 << (at % WORD);
        });
        broken(&[3], &format!("length {id}"), |list| {
            list.columns.records.change(id, |_, _, meta| *meta += 16);
        });
        broken(&[3, 4, 5, 6], &format!("anchor {id}"), |list| {
            list.columns.records.change(id, |orig, _, _| *orig = orig.checked_sub(1).unwrap_or(1));
        });
        broken(&[5], &format!("anchor {id} that is itself"), |list| {
            list.columns.records.change(id, |orig, start, _| *orig = *start);
        });
        for bit in 0..4 {
            let kind = count(|list| list.columns.records.get(id).kind() as usize);
            let other = kind ^ 1 << bit;
            // A lone record of another kind is as good, and bodies are told by that they may be replaced.
            let lone = count(|list| {
                let anchor = list.columns.records.get(id).anchor;
                usize::from(matches!(list.columns.slot(anchor), Slot::Lone(_)))
            });
            let body = kind == Kind::Body as usize || other == Kind::Body as usize;
            if bit < 2 && lone == 1 && !body {
                continue;
            }
            broken(&[], &format!("bit {bit} of {id}"), |list| {
                list.columns.records.change(id, |_, _, meta| *meta ^= 1 << bit);
            });
        }
    }
}

#[test]
fn every_link_counts() {
    let records = count(|list| list.columns.records.len());
    for id in 0..count(|list| list.columns.records.links()) {
        broken(&[5], &format!("next {id}"), |list| {
            let next = list.columns.records.next(id);
            let other = if next == (id + 1) % records { id + 2 } else { id + 1 };
            list.columns.records.link(id, other % records);
        });
        broken(&[5], &format!("next {id} that is none"), |list| list.columns.records.link(id, 1000));
    }
}

#[test]
fn every_site_and_slot_counts() {
    for id in 0..count(|list| list.columns.sites.len()) {
        for kind in [Kind::Fall, Kind::Pre, Kind::Post] {
            if count(|list| usize::from(list.columns.sites[id].ring(kind).is_some())) == 1 {
                broken(&[5], &format!("no {kind:?} {id}"), |list| {
                    *list.columns.sites[id].ring_mut(kind) = None;
                });
                broken(&[5], &format!("no such {kind:?} {id}"), |list| {
                    *list.columns.sites[id].ring_mut(kind) = Some(RecordId::new(1000));
                });
            }
            broken(&[5], &format!("other {kind:?} {id}"), |list| {
                let first = list.columns.sites[id].ring(kind) == Some(RecordId::new(0));
                *list.columns.sites[id].ring_mut(kind) = Some(RecordId::new(usize::from(first)));
            });
        }
        broken(&[6], &format!("body {id}"), |list| {
            let body = list.columns.sites[id].body == Some(RecordId::new(0));
            list.columns.sites[id].body = Some(RecordId::new(usize::from(body)));
        });
    }
    for bit in (0..WORD).filter(|bit| count(|list| usize::from(list.columns.is_edited(WORD + bit))) == 1) {
        broken(&[], &format!("slot {bit}"), |list| {
            let first = list.columns.slot(WORD + bit) == Slot::Site(0);
            let other = if first { PackedSlot::lone(0) } else { PackedSlot::site(0) };
            list.columns.words.blocks[1].as_mut().unwrap()[bit] = other;
        });
    }
    for word in 0..count(|list| list.columns.words.inner.len()) {
        let edited = count(|list| list.columns.words.edited[word].count_ones() as usize);
        if edited > 0 && count(|list| usize::from(list.columns.words.blocks[word].is_some())) == 0 {
            broken(&[], &format!("first record {word}"), |list| list.columns.words.first[word] += 1);
            broken(&[], &format!("first record {word}"), |list| list.columns.words.first[word] = 1000);
        }
    }
}

#[test]
fn every_target_counts() {
    for at in 0..count(|list| list.columns.targets.len()) {
        broken(&[8], &format!("far target {at}"), |list| {
            list.columns.targets[at] = Handle::new(to_u32(list.columns.fresh()));
        });
        broken(&[8], &format!("inner target {at}"), |list| list.columns.targets[at] = Handle::new(3));
    }
}

#[test]
fn the_window_counts() {
    let (arena, program) = (Arena::new(), program());
    let open = |list: &mut ToyList<'_>| {
        // In a word with a block, and in one in which edits are in order.
        list.append(Handle::new(0), &[ONE][..]).unwrap();
        assert!(list.columns.window.units != 0);
    };
    for bit in 0..WORD {
        let mut list = list(&arena, &program);
        open(&mut list);
        if list.columns.window.units >> bit & 1 == 0 {
            let at = list.columns.window.word * WORD + bit;
            let plain = !list.columns.is_edited(at) && list.is_live(Handle::new(to_u32(at)));
            list.columns.window.units ^= 1 << bit;
            let found = list.check().map_err(Broken::invariant);
            assert_eq!(found, if plain { Ok(()) } else { Err(7) }, "window {bit}");
        }
    }
    broken(&[7], "its wide ones", |list| {
        open(list);
        list.columns.window.wide ^= list.columns.window.units;
    });
    broken(&[7], "its block", |list| {
        open(list);
        list.columns.window.blocked ^= true;
    });
}

#[test]
fn it_says_what_is_broken() {
    let (arena, program) = (Arena::new(), program());
    let list = list(&arena, &program);
    list.columns.words.dead[0] ^= 1 << 5;
    let broken = list.check().unwrap_err();
    assert_eq!(broken.invariant(), 2);
    assert!(broken.to_string().starts_with("invariant 2 of the list does not hold at "), "{broken}");
}

#[cfg(feature = "self-check")]
#[test]
fn a_short_list_is_checked_after_each_edit() {
    let edits: [fn(&mut ToyList<'_>, u32); 4] = [
        |list, at| _ = list.append(Handle::new(at), &[ONE][..]).unwrap(),
        |list, at| _ = list.append(Handle::new(at), &[ONE; 9][..]).unwrap(),
        |list, at| list.delete(Handle::new(at)).unwrap(),
        |list, at| _ = list.delete_range(at..at + 1).unwrap(),
    ];
    for edit in edits {
        let (arena, program) = (Arena::new(), [ONE; 100]);
        let mut list = ToyList::with_aux(&arena, &program, &[]).unwrap();
        edit(&mut list, 10);
        edit(&mut list, 20);
        list.columns.live += 1;
        assert!(catch_unwind(AssertUnwindSafe(|| edit(&mut list, 30))).is_err());
    }
}

#[cfg(feature = "self-check")]
#[test]
fn a_long_list_is_checked_now_and_then() {
    let (arena, program) = (Arena::new(), [ONE; 1000]);
    let mut list = ToyList::with_aux(&arena, &program, &[]).unwrap();
    let unchecked: Vec<usize> = (0..50)
        .map(|at| {
            list.append(Handle::new(at), &[ONE][..]).unwrap();
            list.columns.unchecked
        })
        .collect();
    // It is four times as long as a short one.
    let expected: Vec<usize> = (1..=16).chain([0]).cycle().take(50).collect();
    assert_eq!(unchecked, expected);
}
