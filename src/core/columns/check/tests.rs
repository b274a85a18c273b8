//! That [`List::check`] finds what is wrong: everything in a list is changed, one thing at a time.

use std::format;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::core::site::{Run, RunId, Site};
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

#[test]
fn every_bit_of_the_words_counts() {
    let bits = count(|list| list.words.len()) * WORD;
    for at in 0..bits {
        let (word, bit) = (at / WORD, 1 << (at % WORD));
        broken(&[], &format!("inner {at}"), |list| list.words[word].inner ^= bit);
        broken(&[1, 8], &format!("branch {at}"), |list| list.words[word].branch ^= bit);
        broken(&[1, 2, 3], &format!("dead {at}"), |list| list.words[word].dead ^= bit);
        broken(&[], &format!("edited {at}"), |list| list.words[word].edited ^= bit);
        broken(&[4], &format!("bodies {at}"), |list| list.words[word].bodies ^= bit);
    }
}

#[test]
fn every_count_counts() {
    broken(&[2], "more live", |list| list.live += 1);
    broken(&[2], "fewer live", |list| list.live -= 1);
    broken(&[1], "one unit more", |list| list.inserted.push(ONE));
    broken(&[1, 3], "one unit fewer", |list| _ = list.inserted.pop());
    broken(&[1], "one word more", |list| list.words.push(Word::default()));
    broken(&[1], "one fact more", |list| list.aux.extend::<1>());
    broken(&[8], "one target more", |list| list.targets.push(None));
    broken(&[8], "one target fewer", |list| _ = list.targets.pop());
    broken(&[4], "a site of nobody", |list| list.sites.push(Site::default()));
    broken(&[3], "one run fewer", |list| _ = list.runs.pop());
    broken(&[3], "an empty run", |list| {
        let (id, end) = (to_u32(list.runs.len()), list.fresh());
        list.runs.push(Run::new(end, end, Handle::new(4), Chain::Post, id));
    });
}

#[test]
fn every_run_counts() {
    for id in 0..count(|list| list.runs.len()) {
        broken(&[3], &format!("start {id}"), |list| {
            list.runs[id].start = Handle::new(list.runs[id].start.index() + 1);
        });
        broken(&[3], &format!("start {id} in the middle of an instruction"), |list| {
            let start = list.runs[id].start.at();
            list.words[start / WORD].inner |= 1 << (start % WORD);
        });
        broken(&[3], &format!("end {id}"), |list| list.runs[id].end += 1);
        broken(&[3], &format!("end {id}"), |list| list.runs[id].end -= 1);
        broken(&[4, 5, 6], &format!("anchor {id}"), |list| {
            let anchor = list.runs[id].anchor.index();
            list.runs[id].anchor = Handle::new(anchor.checked_sub(1).unwrap_or(1));
        });
        broken(&[5], &format!("anchor {id} that is itself"), |list| {
            list.runs[id].anchor = list.runs[id].start;
        });
        if count(|list| usize::from(list.runs[id].chain() == Chain::Body)) == 1 {
            broken(&[], &format!("kind {id}"), |list| {
                let old = list.runs[id];
                list.runs[id] = Run::new(old.start.index(), old.end, old.anchor, Chain::Post, to_u32(id));
                list.runs[id].set_next(old.next());
            });
        }
        broken(&[5], &format!("next {id}"), |list| {
            let (runs, next) = (list.runs.len(), list.runs[id].next());
            let other = if next == RunId::new(to_u32((id + 1) % runs)) { id + 2 } else { id + 1 };
            list.runs[id].set_next(RunId::new(to_u32(other % runs)));
        });
        broken(&[5], &format!("next {id} that is none"), |list| list.runs[id].set_next(RunId::new(1000)));
        if count(|list| usize::from(list.runs[id].is_touched())) == 0 {
            broken(&[3], &format!("touched {id}"), |list| list.runs[id].touch());
        }
        if count(|list| usize::from(list.runs[id].is_labeled())) == 0 {
            broken(&[3], &format!("labeled {id}"), |list| list.runs[id].label());
        }
    }
}

#[test]
fn every_site_and_slot_counts() {
    for id in 0..count(|list| list.sites.len()) {
        for chain in [Chain::Fall, Chain::Pre, Chain::Post] {
            if count(|list| usize::from(list.sites[id].chain(chain).is_some())) == 1 {
                broken(&[5], &format!("no {chain:?} {id}"), |list| *list.sites[id].chain_mut(chain) = None);
                broken(&[5], &format!("no such {chain:?} {id}"), |list| {
                    *list.sites[id].chain_mut(chain) = Some(RunId::new(1000));
                });
            }
            broken(&[5], &format!("other {chain:?} {id}"), |list| {
                let first = list.sites[id].chain(chain) == Some(RunId::new(0));
                *list.sites[id].chain_mut(chain) = Some(RunId::new(u32::from(first)));
            });
        }
        broken(&[6], &format!("body {id}"), |list| list.sites[id].body = Some(list.runs[0].start));
    }
    for at in (0..WORD).filter(|at| count(|list| usize::from(list.words.is_edited(WORD + at))) == 1) {
        broken(&[], &format!("slot {at}"), |list| {
            let first = list.slot(Handle::new(to_u32(WORD + at))) == Slot::Site(0);
            let other = if first { Slot::Lone(RunId::new(0)) } else { Slot::Site(0) };
            let block = list.words[1].block as usize - 1;
            list.blocks[block][at] = other.pack();
        });
    }
    for word in 0..count(|list| list.words.len()) {
        let edited = count(|list| list.words[word].edited.count_ones() as usize);
        if edited > 0 && count(|list| list.words[word].block as usize) == 0 {
            broken(&[], &format!("first run {word}"), |list| list.words[word].first_run += 1);
            broken(&[], &format!("first run {word}"), |list| list.words[word].first_run = 1000);
        }
    }
}

#[test]
fn every_target_counts() {
    for at in 0..count(|list| list.targets.len()) {
        broken(&[8], &format!("target {at}"), |list| {
            let target = &mut list.targets[at];
            *target = if target.is_some() { None } else { Some(Handle::new(0)) };
        });
        if count(|list| usize::from(list.targets[at].is_some())) == 1 {
            broken(&[8], &format!("far target {at}"), |list| {
                list.targets[at] = Some(Handle::new(to_u32(list.len())));
            });
            broken(&[8], &format!("inner target {at}"), |list| list.targets[at] = Some(Handle::new(3)));
        }
    }
    let first = count(|list| list.base as usize / WORD);
    for word in first..count(|list| list.words.len()) {
        if count(|list| list.words[word].branch.count_ones() as usize) > 0 {
            broken(&[8], &format!("branches before {word}"), |list| list.words[word].branches += 1);
        }
        broken(&[3], &format!("run of {word}"), |list| list.words[word].run += 1);
    }
}

#[test]
fn the_window_counts() {
    // A short edit leaves it open.
    let open = count(|list| list.window.units.count_ones() as usize);
    assert!(open > 0, "the last edit leaves no window");
    for bit in 0..WORD {
        if count(|list| usize::from(list.window.units >> bit & 1 == 0)) == 1 {
            let named = |list: &mut ToyList<'_>| list.window.units ^= 1 << bit;
            let plain = count(|list| {
                let at = list.window.word * WORD + bit;
                usize::from(
                    at < list.len()
                        && !list.words.is_inner(at)
                        && !list.words.is_dead(at)
                        && !list.words.is_edited(at)
                        && list.words.len_at(at) == 1,
                )
            });
            if plain == 0 {
                broken(&[7], &format!("window {bit}"), named);
            }
        }
    }
    broken(&[7], "its block", |list| list.window.block += 1);
}

#[test]
fn it_says_what_is_broken() {
    let (arena, program) = (Arena::new(), program());
    let mut list = list(&arena, &program);
    list.words[0].dead ^= 1 << 5;
    let broken = list.check().unwrap_err();
    assert_eq!(broken.invariant(), 2);
    assert!(broken.to_string().starts_with("invariant 2 of the list does not hold at "), "{broken}");
    list.words[0].dead ^= 1 << 5;
    list.words[1].bodies ^= 1 << 7;
    assert_eq!(list.check().unwrap_err().to_string(), "invariant 4 of the list does not hold at 64");
}

#[cfg(debug_assertions)]
#[test]
fn debug_builds_check_a_short_list_after_each_edit() {
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
        list.live += 1;
        assert!(catch_unwind(AssertUnwindSafe(|| edit(&mut list, 30))).is_err());
    }
}

#[cfg(debug_assertions)]
#[test]
fn debug_builds_check_a_long_list_now_and_then() {
    let (arena, program) = (Arena::new(), [ONE; 1000]);
    let mut list = ToyList::with_aux(&arena, &program, &[]).unwrap();
    let unchecked: Vec<usize> = (0..50)
        .map(|at| {
            list.append(Handle::new(at), &[ONE][..]).unwrap();
            list.unchecked
        })
        .collect();
    // It is more than four times as long as a short one.
    let expected: Vec<usize> = (1..=16).chain([0]).cycle().take(50).collect();
    assert_eq!(unchecked, expected);
}
