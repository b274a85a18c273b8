//! What an instruction set offers for branches that do not reach, and does not have to.

use std::ops::RangeInclusive;

use relinear::fuzzing::Toy;
use relinear::{Arena, Branch, Error, Handle, Isa, Linear, List, LongForm, Patch, Relax, Target};

const PLAIN: u16 = 1;
const BRANCH: u16 = 5;
const NARROW: u16 = 1 << 4;

/// Offers one form for every branch, and leaves the rest as it comes.
struct Offers(&'static [u16]);

impl Relax<Toy> for Offers {
    fn relax(&self, _: &[u16], _: usize, long: &mut LongForm<u16>) -> bool {
        for &unit in self.0 {
            if unit & BRANCH == BRANCH {
                long.goto_target(0);
            }
            long.units.push(unit);
        }
        !self.0.is_empty()
    }
}

/// What becomes of a branch over so many units.
fn relaxed(branch: u16, over: usize, form: &'static [u16]) -> Result<Vec<u16>, Error> {
    let mut program = vec![PLAIN; over + 2];
    program[0] = branch;
    let arena = Arena::new();
    let mut list = List::<Toy>::new(&arena, &program).unwrap();
    // A displacement of eight bits does not hold where it leads.
    let target = Branch::new(0, Target::Original(u32::try_from(over + 1).unwrap()));
    list.replace(Handle::new(0), Patch::new(&[branch]).branches(&[target])).unwrap();
    let mut out = Linear::default();
    list.linearize_relaxed(&Offers(form), &mut out)?;
    Ok(out.units)
}

#[test]
fn a_form_that_does_not_reach_farther_is_not_taken() {
    let out_of = |to: u32, min, max| {
        let displacement = i64::from(to);
        Err(Error::OutOfRange { origin: 0, from: 0, to, displacement, min, max })
    };
    assert_eq!(relaxed(BRANCH | NARROW, 20, &[]), out_of(21, -8, 7));
    assert_eq!(relaxed(BRANCH | NARROW, 20, &[PLAIN, BRANCH | NARROW]), out_of(21, -8, 7), "as far");
    assert_eq!(relaxed(BRANCH, 200, &[PLAIN, BRANCH | NARROW]), out_of(201, -128, 127), "less far");
    assert_eq!(relaxed(BRANCH, 200, &[PLAIN, BRANCH]), out_of(201, -128, 127), "as far");
    let units = relaxed(BRANCH | NARROW, 20, &[PLAIN, BRANCH]).unwrap();
    assert_eq!(units[..3], [PLAIN, BRANCH | 21 << 8, PLAIN]);
}

#[test]
fn an_instruction_set_need_not_have_trampolines() {
    let offers = Offers(&[]);
    assert!(offers.trampoline().is_none());
    assert!(!offers.may_detour(&[BRANCH], 0));
    assert!(!offers.ends_flow(&[BRANCH]));
}

/// A unit is an instruction.
#[derive(Clone, Copy, Debug, Default)]
struct Least;

impl Isa for Least {
    type Unit = u16;

    fn len(&self, units: &[u16]) -> Option<usize> {
        units.first().map(|_| 1)
    }

    fn fields(&self, _: &[u16]) -> usize {
        0
    }

    fn base(&self, _: &[u16], _: usize) -> i64 {
        0
    }

    fn read(&self, _: &[u16], _: usize) -> i64 {
        0
    }

    fn range(&self, _: &[u16], _: usize) -> RangeInclusive<i64> {
        0..=0
    }

    fn write(&self, _: &mut [u16], _: usize, _: i64) {}
}

#[test]
fn an_instruction_set_need_not_know_more_than_lengths_and_fields() {
    assert!(!Least.enters(&[7], 0));
    assert_eq!(Least.branches_of_short(&[7, 7]), Some(0));
    let arena = Arena::new();
    let mut list = List::<Least>::new(&arena, &[0, 1, 2]).unwrap();
    list.replace(Handle::new(1), &[7, 8][..]).unwrap();
    assert_eq!(list.linearize().unwrap().units, [0, 7, 8, 2]);
}
