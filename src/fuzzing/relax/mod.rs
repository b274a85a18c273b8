//! [`check_relaxed`]: branches at the limit of their reach, against positions tried one after the other, and
//! with every way through the output walked.

mod naive;
mod tiny;

use std::vec;
use std::vec::Vec;

use arbitrary::{Arbitrary, Result, Unstructured};

use crate::{Arena, Branch, Error, Handle, Isa, Linear, List, Patch, Relaxed, Target};
use tiny::{Kind, Tiny, Ways, Word};

/// A program, what grows in it, and what its branches may do about it.
#[derive(Clone, Debug)]
pub struct RelaxCase {
    insns: Vec<Insn>,
    ways: Ways,
}

/// An instruction of a case, and what is inserted behind it.
#[derive(Clone, Debug)]
struct Insn {
    kind: Kind,
    /// Which instruction each displacement leads to.
    to: [usize; 2],
    /// What is inserted behind it, and how often.
    filler: Kind,
    fillers: u8,
}

impl<'a> Arbitrary<'a> for RelaxCase {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let narrow = Word { kind: Kind::NarrowJump, ..Word::default() };
        let wide = Word { kind: Kind::WideJump, ..Word::default() };
        let trampoline = *u.choose(&[None, Some(narrow), Some(wide), Some(wide)])?;
        let forms = u.int_in_range(0..=2)?;
        let kinds = [
            Kind::Nop,
            Kind::Stop,
            Kind::Wide,
            Kind::NarrowIf,
            Kind::NarrowJump,
            Kind::WideIf,
            Kind::WideJump,
            Kind::Fork,
            Kind::Call,
        ];
        // Few kinds, so that they come in numbers.
        let kinds = [*u.choose(&kinds)?, *u.choose(&kinds)?, *u.choose(&kinds)?, Kind::Nop, Kind::WideJump];
        let len: usize = u.int_in_range(1..=40)?;
        let near = u.int_in_range(1..=len)?;
        let insns = (0..len).map(|at| {
            let target = |u: &mut Unstructured<'a>| {
                let to = u.int_in_range(0..=2 * near)? + at;
                Ok(to.saturating_sub(near).min(len - 1))
            };
            Ok(Insn {
                kind: *u.choose(&kinds)?,
                to: [target(u)?, target(u)?],
                filler: *u.choose(&[Kind::Nop, Kind::Nop, Kind::Wide, Kind::Stop])?,
                fillers: if u.ratio(1, 3)? { u.int_in_range(0..=70)? } else { u.int_in_range(0..=4)? },
            })
        });
        let mut insns: Vec<Insn> = insns.collect::<Result<_>>()?;
        // A program does not fall off its end.
        insns.push(Insn { kind: Kind::Stop, to: [0; 2], filler: Kind::Nop, fillers: 0 });
        Ok(Self { insns, ways: Ways { forms, trampoline } })
    }
}

/// An instruction of the list, and the numbers of those that its branches lead to.
struct Item {
    kind: Kind,
    id: u16,
    to: Vec<u16>,
}

impl RelaxCase {
    /// All that the program is made of, in its order.
    fn items(&self) -> Vec<Item> {
        let mut items = Vec::new();
        let mut filler = u16::try_from(self.insns.len()).expect("a case is small");
        for (insn, id) in self.insns.iter().zip(1..) {
            let words: Vec<Word> = insn.kind.words(id).collect();
            let to = insn.to[..Tiny.fields(&words)].iter();
            let to = to.map(|&to| u16::try_from(to + 1).expect("a case is small")).collect();
            items.push(Item { kind: insn.kind, id, to });
            for _ in 0..insn.fillers {
                filler += 1;
                items.push(Item { kind: insn.filler, id: filler, to: Vec::new() });
            }
        }
        items
    }

    /// How far the branches of all forms reach that a branch of this kind can come to have.
    fn reaches(&self, kind: Kind) -> Vec<i64> {
        let (mut kinds, mut next) = (vec![kind], 0);
        while let Some(&kind) = kinds.get(next) {
            kinds.extend(self.ways.form(kind).unwrap_or_default());
            next += 1;
        }
        let reach = |kind: Kind| {
            let words: Vec<Word> = kind.words(0).collect();
            (Tiny.fields(&words) > 0).then(|| *Tiny.range(&words, 0).end())
        };
        kinds.into_iter().filter_map(reach).collect()
    }

    /// A list of the program. A branch stands in the original if it reaches there, or else is inserted.
    ///
    /// What comes of relaxing it, and how far the branches that there are then reach at least, those of longer forms
    /// included.
    fn relax(&self, items: &[Item], out: &mut Linear<Word>) -> (core::result::Result<Relaxed, Error>, i64) {
        let starts: Vec<usize> = self
            .insns
            .iter()
            .scan(0, |next, insn| Some(core::mem::replace(next, *next + insn.kind.len())))
            .collect();
        let mut original: Vec<Word> = Vec::new();
        let mut replaced = Vec::new();
        for ((insn, id), &start) in self.insns.iter().zip(1..).zip(&starts) {
            let mut words: Vec<Word> = insn.kind.words(id).collect();
            for field in 0..Tiny.fields(&words) {
                let displacement = number(starts[insn.to[field]]) - number(start) - Tiny.base(&words, field);
                if Tiny.range(&words, field).contains(&displacement) {
                    Tiny.write(&mut words, field, displacement);
                } else {
                    words = if words.len() == 1 { Kind::Nop } else { Kind::Wide }.words(id).collect();
                    replaced.push((start, insn, id));
                    break;
                }
            }
            original.extend(words);
        }
        let arena = Arena::new();
        let mut list = List::<Tiny>::new(&arena, &original).expect("the program is whole");
        let handle = |start: usize| Handle::new(u32::try_from(start).expect("a case is small"));
        for (start, insn, id) in replaced {
            let words: Vec<Word> = insn.kind.words(id).collect();
            let branches: Vec<Branch> = (0..)
                .zip(&insn.to[..Tiny.fields(&words)])
                .map(|(field, &to)| Branch::new(0, Target::Handle(handle(starts[to]))).field(field))
                .collect();
            list.replace(handle(start), Patch::new(&words).branches(&branches)).expect("a good patch");
        }
        for (insns, &start) in items.chunk_by(|_, next| usize::from(next.id) > starts.len()).zip(&starts) {
            let words: Vec<Word> = insns[1..].iter().flat_map(|item| item.kind.words(item.id)).collect();
            if !words.is_empty() {
                list.append(handle(start), &words[..]).expect("a good patch");
            }
        }
        let relaxed = list.linearize_relaxed(&self.ways, out);
        list.check().unwrap();
        let fields = |insn| (0..Tiny.fields(insn)).map(move |field| *Tiny.range(insn, field).end());
        let mut shortest = list.iter().filter_map(|handle| list.insn(handle)).flat_map(fields).min();
        if relaxed.is_err() {
            // The list is as it was, and does not have the longer forms any more that were in the way.
            shortest =
                shortest.into_iter().chain(items.iter().flat_map(|item| self.reaches(item.kind))).min();
        }
        (relaxed, shortest.unwrap_or(i64::MAX))
    }
}

/// Relaxes the branches of a case, and checks that they lead where they should.
///
/// # Panics
///
/// If they do not, or if more was done than had to be.
pub fn check_relaxed(case: &RelaxCase) {
    let items = case.items();
    let mut out = Linear::default();
    let (relaxed, shortest) = case.relax(&items, &mut out);
    if case.ways.trampoline.is_none() {
        let expected = naive::lengthen(&items, case.ways);
        match (&relaxed, expected) {
            (Ok(relaxed), Some((lengthened, len))) => {
                assert_eq!((relaxed.lengthened, out.units.len()), (lengthened, len), "the least that helps");
            }
            (Err(Error::OutOfRange { .. }), None) => {}
            (relaxed, expected) => panic!("it should be {expected:?}, but is {relaxed:?}"),
        }
    }
    match relaxed {
        Ok(relaxed) => {
            check_counts(case, &items, relaxed, out.units.len());
            check_ways(case, &items, &out.units);
        }
        Err(Error::OutOfRange { displacement, min, max, .. }) => {
            assert!(!(min..=max).contains(&displacement), "it reaches");
            assert!(
                !naive::must_have_ways(&items, case.ways, shortest),
                "there are few branches over any place"
            );
            assert!(out.units.is_empty());
        }
        Err(error) => panic!("{error}"),
    }
}

/// The promises of how much is done.
fn check_counts(case: &RelaxCase, items: &[Item], relaxed: Relaxed, len: usize) {
    let calls = items.iter().filter(|item| item.kind.is_call()).count();
    let forms = u32::from(case.ways.forms);
    let detours = u32::from(case.ways.trampoline.is_some());
    // A call has one longer form, and each one that takes it may call for detours once more.
    let most = (forms + detours) * (1 + detours * forms.min(1) * u32::try_from(calls).unwrap());
    assert!(relaxed.rounds <= most, "{relaxed:?}, but at most {most} rounds");
    assert!(relaxed.islands <= relaxed.trampolines);
    if forms == 0 {
        let units: usize = items.iter().map(|item| item.kind.len()).sum();
        assert_eq!(len, units + (relaxed.trampolines + relaxed.islands) as usize);
        assert!(len <= 16 * units, "{relaxed:?} in a program of {units}");
    }
}

/// Where control comes out of some instruction.
type Outcomes = Vec<Option<u16>>;

/// Walks out of every instruction by every way, to the instruction it leads to.
fn check_ways(case: &RelaxCase, items: &[Item], units: &[Word]) {
    let mut walk = Walk { units, visited: vec![false; units.len()] };
    let mut at = 0;
    let (mut expected, mut found) = (Outcomes::new(), Outcomes::new());
    for (index, item) in items.iter().enumerate() {
        // What is inserted only leads on.
        while units[at].id == 0 {
            at += Tiny.len(&units[at..]).expect("an instruction");
        }
        assert_eq!(units[at].id, item.id, "the order of what was there");
        let next = items.get(index + 1).map(|next| next.id);
        expected.clear();
        expected.extend(item.to.iter().copied().map(Some));
        if !item.kind.ends_flow() {
            expected.push(next);
        }
        walk.outcomes(at, &mut found);
        assert_eq!(found, expected, "out of {} ({:?})", item.id, units[at]);
        at += Tiny.len(&units[at..]).expect("an instruction");
    }
    for (at, word) in units.iter().enumerate() {
        assert!(
            word.id != 0 || word.kind == Kind::Inner || walk.visited[at],
            "nothing goes by the trampoline at {at}: {:?}",
            case.ways
        );
    }
}

struct Walk<'o> {
    units: &'o [Word],
    visited: Vec<bool>,
}

impl Walk<'_> {
    /// Finds where control comes out of the instruction at `at`.
    fn outcomes(&mut self, at: usize, outcomes: &mut Outcomes) {
        let len = Tiny.len(&self.units[at..]).expect("an instruction");
        let insn = &self.units[at..at + len];
        let kind = insn[0].kind;
        outcomes.clear();
        for field in 0..Tiny.fields(insn) {
            let to = number(at) + Tiny.base(insn, field) + Tiny.read(insn, field);
            let to = usize::try_from(to).expect("it leads into the program");
            outcomes.push(if kind.is_call() { Some(self.units[to].id) } else { self.follow(at, to) });
        }
        if !kind.ends_flow() {
            outcomes.push(self.follow(at, at + len));
        }
        if kind == Kind::NarrowUnless {
            outcomes.reverse();
        }
    }

    /// The instruction that control from `from` comes to at `at`, through what was inserted.
    fn follow(&mut self, from: usize, mut at: usize) -> Option<u16> {
        let (mut low, mut high) = (from, from);
        while self.units.get(at)?.id == 0 {
            assert!(at < low || at > high, "a detour goes on in its direction");
            (low, high) = (low.min(at), high.max(at));
            self.visited[at] = true;
            assert!(self.units[at].kind.is_jump(), "an instruction out of nothing");
            let len = Tiny.len(&self.units[at..]).expect("an instruction");
            let insn = &self.units[at..at + len];
            let to = number(at) + Tiny.base(insn, 0) + Tiny.read(insn, 0);
            at = usize::try_from(to).expect("it leads into the program");
        }
        assert!(self.units[at].kind != Kind::Inner, "into the middle of an instruction");
        Some(self.units[at].id)
    }
}

fn number(at: usize) -> i64 {
    at.try_into().expect("a case is small")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the longer form of the last `WideIf` is a branch that reaches a few units only, and over it lead all that
    /// lead from behind it to before it.
    #[test]
    fn what_a_longer_form_reaches_counts() {
        let insn = |kind, to, filler, fillers| Insn { kind, to, filler, fillers };
        let mut insns = vec![
            insn(Kind::Fork, [0, 0], Kind::Stop, 15),
            insn(Kind::Fork, [3, 0], Kind::Stop, 21),
            insn(Kind::WideIf, [4, 0], Kind::Stop, 21),
            insn(Kind::WideIf, [0, 0], Kind::Nop, 15),
            insn(Kind::WideIf, [6, 6], Kind::Nop, 15),
            insn(Kind::WideIf, [7, 1], Kind::Nop, 15),
            insn(Kind::WideIf, [0, 0], Kind::Nop, 0),
        ];
        insns.extend((1..10).map(|to| insn(Kind::Fork, [to, to], Kind::Nop, 0)));
        insns.push(insn(Kind::Stop, [0, 0], Kind::Nop, 0));
        let trampoline = Some(Word { kind: Kind::WideJump, ..Word::default() });
        let case = RelaxCase { insns, ways: Ways { forms: 2, trampoline } };
        let items = case.items();
        let (_, shortest) = case.relax(&items, &mut Linear::default());
        assert_eq!(shortest, 7);
        assert!(!naive::must_have_ways(&items, case.ways, shortest));
        check_relaxed(&case);
    }
}
