//! [`TestCase`]: a program and the edits to it, as a fuzzer makes them up.

use std::vec::Vec;

use arbitrary::{Arbitrary, Result, Unstructured};

use super::Toy;
use super::model::{Id, Kind, Model, Patch, Target};
use crate::{Fact, Isa};

/// A program, and passes of edits over it.
///
/// What an edit names is chosen among what there is when it is made, so that nearly every
/// case has edits that mean something.
#[derive(Clone, Debug)]
pub struct TestCase {
    insns: Vec<Insn>,
    /// The program is this many times the instructions.
    times: u8,
    /// Whether its last unit is missing.
    cut: bool,
    /// Whether no instruction has more than one field.
    pub(super) one_field: bool,
    pub(super) facts: Vec<u8>,
    pub(super) passes: Vec<Pass>,
}

/// The most edits of a case: its cost is quadratic in them.
const MAX_EDITS: usize = 40;

/// A few edits, and then a linearization.
#[derive(Clone, Debug)]
pub(super) enum Pass {
    /// Anywhere.
    Edits(Vec<Edit>),
    /// By a cursor, which may have edits made anywhere under its feet.
    Cursor(Vec<Step>),
}

#[derive(Clone, Debug)]
pub(super) struct Edit {
    pub(super) at: Pick,
    /// What to do; nothing is to delete.
    pub(super) insert: Option<(Kind, Draft)>,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Next,
    Past,
    Goto(Pick),
    Remove,
    Insert(Kind, Draft),
    Elsewhere(Edit),
}

/// A choice among the handles of a list.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) struct Pick(u8, u8);

/// What a [`Pick`] comes to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Picked {
    Insn(Id),
    /// An index that may be of no handle.
    Any(u32),
}

/// A patch before it is known where its branches may lead.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    insns: Vec<Insn>,
    flaw: u8,
    fact: u8,
}

#[derive(Clone, Copy, Debug, Arbitrary)]
struct Insn {
    low: u8,
    inner: [u8; 2],
    to: [(u8, Pick); 2],
}

impl<'a> Arbitrary<'a> for TestCase {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let insns = some(u, 12)?;
        let times = if u.ratio(1, 6)? { u.int_in_range(2..=8)? } else { 1 };
        let cut = u.ratio(1, 64)?;
        let facts = u.arbitrary::<[u8; 8]>()?.repeat(u.int_in_range(0..=4)?);
        let mut passes = Vec::new();
        let mut left = MAX_EDITS;
        while left > 0 && !u.is_empty() {
            let edits = u.int_in_range(1..=left.min(16))?;
            left -= edits;
            passes.push(if u.ratio(1, 3)? {
                Pass::Cursor((0..edits).map(|_| step(u)).collect::<Result<_>>()?)
            } else {
                Pass::Edits((0..edits).map(|_| edit(u)).collect::<Result<_>>()?)
            });
        }
        let mut case = Self { insns, times, cut, one_field: false, facts, passes };
        // This takes no byte of those that the fuzzer kept.
        if case.insns.len().is_multiple_of(2) {
            case.one_field = true;
            case.insns_mut().for_each(|insn| insn.low = Toy::one_field(insn.low));
        }
        Ok(case)
    }
}

/// Up to `most` values.
fn some<'a, T: Arbitrary<'a>>(u: &mut Unstructured<'a>, most: usize) -> Result<Vec<T>> {
    let len = u.int_in_range(0..=most)?;
    (0..len).map(|_| u.arbitrary()).collect()
}

fn kind(u: &mut Unstructured<'_>) -> Result<Kind> {
    u.choose(&[Kind::Replace, Kind::Prepend, Kind::PrependFallthrough, Kind::Append]).copied()
}

fn draft(u: &mut Unstructured<'_>) -> Result<Draft> {
    let mut insns: Vec<Insn> = some(u, 3)?;
    insns.push(u.arbitrary()?);
    match u.int_in_range(0..=31)? {
        0 => insns = insns.repeat(u.int_in_range(2..=20)?),
        1 => {
            let filler = Insn { low: insns[0].low & !Toy::FIELDS, ..insns[0] };
            let at = u.choose_index(insns.len() + 1)?;
            let fillers = core::iter::repeat_n(filler, u.int_in_range(2..=80)?);
            insns.splice(at..at, fillers);
        }
        // Lists have a short way for patches of instructions of one unit.
        2..=11 => insns.iter_mut().for_each(|insn| insn.low = Toy::one_unit(insn.low)),
        _ => {}
    }
    Ok(Draft { insns, flaw: u.arbitrary()?, fact: u.arbitrary()? })
}

fn edit(u: &mut Unstructured<'_>) -> Result<Edit> {
    let at = u.arbitrary()?;
    let insert = if u.ratio(1, 4)? { None } else { Some((kind(u)?, draft(u)?)) };
    Ok(Edit { at, insert })
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    Ok(match u.int_in_range(0..=11)? {
        0..=2 => Step::Next,
        3..=4 => Step::Past,
        5 => Step::Goto(u.arbitrary()?),
        6 => Step::Remove,
        7 => Step::Elsewhere(edit(u)?),
        _ => Step::Insert(kind(u)?, draft(u)?),
    })
}

impl Pick {
    /// A number below 8 that has no say in what is picked.
    pub(super) const fn extra(self) -> usize {
        (self.0 / 32) as usize
    }

    /// Mostly a live instruction, sometimes a deleted one or the end, rarely a stray index.
    pub(super) fn among(self, model: &Model) -> Picked {
        let Self(how, which) = self;
        let which = usize::from(which);
        let live = model.live();
        match how % 32 {
            0 => Picked::Any(u32::from(how) * 2 + number(which)),
            1..=3 => Picked::Insn(which % model.ids()),
            4 => Picked::Insn(model.end()),
            // Some are edited again and again.
            5..=9 if !live.is_empty() => Picked::Insn(live[which % live.len().min(3)]),
            _ if !live.is_empty() => Picked::Insn(live[which % live.len()]),
            _ => Picked::Insn(model.end()),
        }
    }
}

impl TestCase {
    /// Those of the program, and of the patches.
    fn insns_mut(&mut self) -> impl Iterator<Item = &mut Insn> {
        let drafts = self.passes.iter_mut().flat_map(|pass| -> Vec<&mut Draft> {
            match pass {
                Pass::Edits(edits) => edits.iter_mut().filter_map(Edit::draft_mut).collect(),
                Pass::Cursor(steps) => steps.iter_mut().filter_map(Step::draft_mut).collect(),
            }
        });
        self.insns.iter_mut().chain(drafts.flat_map(|draft| &mut draft.insns))
    }

    /// The units of the program. Most branches lead to an instruction of it.
    pub(super) fn program(&self) -> Vec<u16> {
        let insns = self.insns.repeat(usize::from(self.times));
        let (mut units, starts) = encode(&insns);
        for (insn, &start) in insns.iter().zip(&starts) {
            let insn_units = &mut units[start..];
            let len = Toy::default().len(insn_units).expect("it was encoded");
            for field in 0..Toy::default().fields(&insn_units[..len]) {
                let (how, Pick(far, near)) = insn.to[field];
                // A displacement that cannot be held stays what it is by chance.
                if how >= 16 {
                    let to = (usize::from(far) << 8 | usize::from(near)) % starts.len();
                    aim(&mut insn_units[..len], start, field, starts[to]);
                }
            }
        }
        if self.cut {
            units.pop();
        }
        units
    }
}

impl Edit {
    fn draft_mut(&mut self) -> Option<&mut Draft> {
        self.insert.as_mut().map(|(_, draft)| draft)
    }
}

impl Step {
    fn draft_mut(&mut self) -> Option<&mut Draft> {
        match self {
            Self::Insert(_, draft) => Some(draft),
            Self::Elsewhere(edit) => edit.draft_mut(),
            Self::Next | Self::Past | Self::Goto(_) | Self::Remove => None,
        }
    }
}

impl Draft {
    /// The patch, for the model as it stands. One in a few is flawed.
    pub(super) fn patch(&self, model: &Model) -> Patch {
        let (mut units, starts) = encode(&self.insns);
        let mut patch = Patch::default();
        for ((insn, &start), unit) in self.insns.iter().zip(&starts).zip(starts.iter().map(|&at| number(at)))
        {
            let insn_units = &mut units[start..];
            let len = Toy::default().len(insn_units).expect("it was encoded");
            for field in 0..Toy::default().fields(&insn_units[..len]) {
                let (how, pick) = insn.to[field];
                let local = starts.get(usize::from(pick.1) % (starts.len() + 1)).copied();
                let target = match how {
                    0 => Target::Local(u32::from(pick.1)),
                    1 => Target::Original(u32::from(pick.1)),
                    2 => Target::Stranger,
                    3 => continue,
                    4..=60 => local.map_or(Target::End, |local| Target::Local(number(local))),
                    61..=160 => match pick.among(model) {
                        Picked::Insn(id) => Target::Insn(id),
                        Picked::Any(_) => Target::Stranger,
                    },
                    161..=190 => {
                        let id = usize::from(pick.1) % (model.end() + 1);
                        Target::Original(model.original_position(id))
                    }
                    _ => {
                        let end = self.insns.last().map_or(0, |_| self.len(&starts));
                        aim(&mut insn_units[..len], start, field, local.unwrap_or(end));
                        continue;
                    }
                };
                patch.targets.push((unit, number(field), target));
            }
        }
        match self.flaw {
            0 => _ = units.pop(),
            1 => units.clear(),
            2 => patch.targets.reverse(),
            3 => patch.targets.push((0, 0, Target::End)),
            4 => patch.targets.insert(0, (0, 1, Target::End)),
            _ => {}
        }
        patch.fact = match self.fact {
            0..=99 => Fact::Keep,
            100..=150 => Fact::Reset,
            151..=160 => Fact::MoveTo(u32::from(self.fact) - 151),
            _ => Fact::MoveTo(number(starts[usize::from(self.fact) % starts.len()])),
        };
        patch.units = units;
        patch
    }

    fn len(&self, starts: &[usize]) -> usize {
        starts.last().zip(self.insns.last()).map_or(0, |(start, insn)| start + insn.len())
    }
}

impl Insn {
    fn len(self) -> usize {
        usize::from(self.low & 3).max(1)
    }
}

/// The units of some instructions, with displacements by chance, and where each begins.
fn encode(insns: &[Insn]) -> (Vec<u16>, Vec<usize>) {
    let (mut units, mut starts) = (Vec::new(), Vec::new());
    for insn in insns {
        starts.push(units.len());
        let chance = [insn.to[0].1.1, insn.to[1].1.1, insn.to[1].1.0];
        let low = if insn.low % 4 == 0 { insn.low | 1 } else { insn.low };
        let low = [low, insn.inner[0], insn.inner[1]];
        let new = chance.into_iter().zip(low).map(|(high, low)| u16::from_be_bytes([high, low]));
        units.extend(new.take(insn.len()));
    }
    (units, starts)
}

/// Makes a branch at `from` lead to `to`, in its wide form if it must, if it can.
fn aim(insn: &mut [u16], from: usize, field: usize, to: usize) {
    let displacement = i64::from(number(to)) - i64::from(number(from)) - Toy::default().base(insn, field);
    if !Toy::default().range(insn, field).contains(&displacement) {
        insn[0] = Toy::widen(insn[0]);
    }
    if Toy::default().range(insn, field).contains(&displacement) {
        Toy::default().write(insn, field, displacement);
    }
}

fn number(at: usize) -> u32 {
    at.try_into().expect("cases are small")
}
