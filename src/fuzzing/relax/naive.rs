//! What has to come out, found by trying.

use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

use super::tiny::{Tiny, Ways, Word};
use super::{Item, Kind, number};
use crate::Isa;

/// How many times a branch has to be lengthened, and how long the program is then; `None` if that does not help.
pub(super) fn lengthen(items: &[Item], ways: Ways) -> Option<(u32, usize)> {
    let mut forms: Vec<Vec<Kind>> = items.iter().map(|item| vec![item.kind]).collect();
    let mut lengthened = 0;
    loop {
        let places = places(items, &forms);
        let overlong = items.iter().zip(&forms).position(|(item, form)| {
            item.to.iter().enumerate().any(|(field, to)| !reaches(form, places[&item.id], field, places[to]))
        });
        let Some(overlong) = overlong else {
            return Some((lengthened, forms.iter().flatten().map(|kind| kind.len()).sum()));
        };
        let last = forms[overlong].pop()?;
        forms[overlong].extend(ways.form(last)?);
        lengthened += 1;
    }
}

/// Where each instruction is, by its number.
fn places(items: &[Item], forms: &[Vec<Kind>]) -> BTreeMap<u16, usize> {
    let mut at = 0;
    let mut places = BTreeMap::new();
    for (item, form) in items.iter().zip(forms) {
        places.insert(item.id, at);
        at += form.iter().map(|kind| kind.len()).sum::<usize>();
    }
    places
}

/// Whether the last instruction of a form that begins at `at` reaches.
fn reaches(form: &[Kind], at: usize, field: usize, to: usize) -> bool {
    let (last, before) = form.split_last().expect("a form has instructions");
    let at = at + before.iter().map(|kind| kind.len()).sum::<usize>();
    let words: Vec<Word> = last.words(0).collect();
    Tiny::range(&words, field).contains(&(number(to) - number(at) - Tiny::base(&words, field)))
}

/// Whether trampolines have to help: everything that does not reach may detour, and those that pass over any
/// one place fill less than a quarter of what each of them reaches, and of `shortest`.
pub(super) fn must_have_ways(items: &[Item], ways: Ways, shortest: i64) -> bool {
    let Some(trampoline) = ways.trampoline else { return false };
    let forms: Vec<Vec<Kind>> = items.iter().map(|item| vec![item.kind]).collect();
    let places = places(items, &forms);
    let mut reach = shortest.min(*Tiny::range(&[trampoline], 0).end());
    let mut over: BTreeMap<usize, BTreeSet<(u16, bool)>> = BTreeMap::new();
    for item in items {
        if item.kind.is_call() {
            return false;
        }
        let words: Vec<Word> = item.kind.words(item.id).collect();
        for (field, to) in item.to.iter().enumerate() {
            let (from, place) = (places[&item.id], places[to]);
            reach = reach.min(*Tiny::range(&words, field).end());
            for cut in from.min(place)..from.max(place) {
                over.entry(cut).or_default().insert((*to, from < place));
            }
        }
    }
    let most = over.values().map(BTreeSet::len).max().unwrap_or(0);
    number(most) * 4 < reach
}
