//! What has to come out, found by trying.

use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

use super::tiny::{Tiny, Ways, Word};
use super::{Item, Kind, number};
use crate::Isa;

/// What stands for an item: the branch that leads to where it led, and what comes before that.
#[derive(Clone, Copy)]
struct Form {
    before: Option<Kind>,
    last: Kind,
}

impl Form {
    fn len(self) -> usize {
        self.last_at() + self.last.len()
    }

    /// Where in it the last instruction begins.
    fn last_at(self) -> usize {
        self.before.map_or(0, Kind::len)
    }
}

/// How many times a branch has to be lengthened, and how long the program is then; `None` if that does not help.
pub(super) fn lengthen(items: &[Item], ways: Ways) -> Option<(u32, usize)> {
    let mut forms = originals(items);
    let mut lengthened = 0;
    loop {
        let places = places(items, &forms);
        let overlong = items.iter().zip(&forms).position(|(item, &form)| {
            let leads_to = item.to.iter().map(|&to| places[usize::from(to)]);
            !reaches(form, places[usize::from(item.id)], leads_to)
        });
        let Some(overlong) = overlong else {
            return Some((lengthened, forms.iter().map(|form| form.len()).sum()));
        };
        let form = &mut forms[overlong];
        match *ways.form(form.last)? {
            [last] => form.last = last,
            [before, last] => *form = Form { before: Some(before), last },
            _ => unreachable!("a longer form is one instruction or two"),
        }
        lengthened += 1;
    }
}

/// The items as they come.
fn originals(items: &[Item]) -> Vec<Form> {
    items.iter().map(|item| Form { before: None, last: item.kind }).collect()
}

/// Where each instruction is, by its number.
fn places(items: &[Item], forms: &[Form]) -> Vec<usize> {
    let mut at = 0;
    let mut places = vec![0; items.len() + 1];
    for (item, form) in items.iter().zip(forms) {
        places[usize::from(item.id)] = at;
        at += form.len();
    }
    places
}

/// Whether the last instruction of a form that begins at `at` reaches all that it leads to.
fn reaches(form: Form, at: usize, leads_to: impl ExactSizeIterator<Item = usize>) -> bool {
    if leads_to.len() == 0 {
        return true;
    }
    let words: Vec<Word> = form.last.words(0).collect();
    let at = number(at + form.last_at());
    leads_to
        .enumerate()
        .all(|(field, to)| Tiny.range(&words, field).contains(&(number(to) - at - Tiny.base(&words, field))))
}

/// Whether trampolines have to help: everything that does not reach may detour, and those that pass over any
/// one place fill less than a quarter of what each of them reaches, and of `shortest`.
pub(super) fn must_have_ways(items: &[Item], ways: Ways, shortest: i64) -> bool {
    let Some(trampoline) = ways.trampoline else { return false };
    let places = places(items, &originals(items));
    let mut reach = shortest.min(*Tiny.range(&[trampoline], 0).end());
    let mut over: BTreeMap<usize, BTreeSet<(u16, bool)>> = BTreeMap::new();
    for item in items {
        if item.kind.is_call() {
            return false;
        }
        let words: Vec<Word> = item.kind.words(item.id).collect();
        for (field, to) in item.to.iter().enumerate() {
            let (from, place) = (places[usize::from(item.id)], places[usize::from(*to)]);
            reach = reach.min(*Tiny.range(&words, field).end());
            for cut in from.min(place)..from.max(place) {
                over.entry(cut).or_default().insert((*to, from < place));
            }
        }
    }
    let most = over.values().map(BTreeSet::len).max().unwrap_or(0);
    number(most) * 4 < reach
}
