//! [`Model`]: what a list has to do, in so few words that they are unlikely to be wrong.
//!
//! A program is a `Vec` of items, and a branch leads to an item, never to a number. Each instruction
//! `h` owns three items, which are adjacent at first: `Fall(h)`, `Label(h)`, `Insn(h)`. The end of the
//! program owns them too. A patch is made of the items of its instructions and a mark for its end.
//!
//! - **prepend** puts a patch directly before `Insn(h)`: a later one stands nearer.
//! - **prepend, fall-through only** puts it directly before `Fall(h)`.
//! - **append** puts it directly after `Insn(h)`.
//! - **replace** changes `Insn(h)` into the first instruction of the patch, and puts the rest, with the mark
//!   for its end, directly after it.
//! - **delete** marks `h` as not live. No item ever leaves.
//!
//! A branch to `h` lands, if nothing was prepended to `h`, at `Label(h)`: on the next live instruction from
//! there on. Otherwise it lands where a branch to the first instruction of the first patch prepended lands:
//! what was prepended to that one for fall-through only is not run.
//!
//! A branch in a patch to its own start leads to the first instruction of it. In a replacement, that
//! is the code that runs in place of `h`: what was prepended to `h` before is not run again, what is
//! prepended later is. So it leads to a mark directly before `Insn(h)`, or to `h` if there is no such code.

use std::vec::Vec;

use super::Toy;
use crate::{Fact, Isa, Origin};

/// Names an instruction of the model: in the order of insertion, those of the original program and its
/// end first.
pub(super) type Id = usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Item {
    Fall(Id),
    Label(Id),
    Insn(Id),
    Mark(usize),
}

/// Where a branch leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum To {
    Insn(Id),
    Mark(usize),
    /// To an original position that is out of the program.
    Outside(i64),
    /// To an original position within an instruction.
    Inside(u32),
}

/// Where a branch of a patch is told to lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    Local(u32),
    End,
    Insn(Id),
    Original(u32),
    /// To a handle of no instruction.
    Stranger,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Patch {
    pub(super) units: Vec<u16>,
    /// Unit, field and target.
    pub(super) targets: Vec<(u32, u32, Target)>,
    pub(super) fact: Fact,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Replace,
    Prepend,
    PrependFallthrough,
    Append,
}

/// Why an edit is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    End,
    Deleted,
    EmptyPatch,
    BadPatchInsn(u32),
    LeavesPatch(u32, u32),
    BadTarget(u32, u32),
    Stranger,
}

#[derive(Debug)]
struct Node {
    units: Vec<u16>,
    to: Vec<To>,
    live: bool,
    fact: u8,
    /// The original position that it stands at, or was inserted for.
    origin: u32,
    /// Whether its units are still those of the original program.
    untouched: bool,
    /// The first instruction of the first patch prepended.
    prepended: Option<Id>,
}

#[derive(Debug)]
pub(super) struct Model {
    original: Vec<u16>,
    /// For each original unit and the end, the instruction it is part of and its number in it.
    owner: Vec<(Id, u32)>,
    nodes: Vec<Node>,
    items: Vec<Item>,
    marks: usize,
}

/// Why a program cannot be linearized, and the first branch at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub(super) branch: Id,
    pub(super) origin: u32,
    pub(super) kind: FaultKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FaultKind {
    Outside(i64),
    Inside(u32),
    Tail(To),
    Range { from: u32, to: u32, displacement: i64, min: i64, max: i64 },
}

/// A linearized program.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Output {
    pub(super) units: Vec<u16>,
    pub(super) facts: Vec<u8>,
    pub(super) origins: Vec<Origin>,
    /// For each original position, one past the end included.
    pub(super) new_of: Vec<u32>,
    pub(super) position_of: Vec<Option<u32>>,
    /// Where a branch to each instruction lands.
    pub(super) landing: Vec<u32>,
    /// Where each instruction went itself, unless it was deleted.
    pub(super) own: Vec<Option<u32>>,
}

impl Model {
    /// The model of `program`, or the position at which it does not divide into instructions.
    pub(super) fn new(program: &[u16], facts: &[u8]) -> Result<Self, u32> {
        let mut model = Self {
            original: program.to_vec(),
            owner: Vec::new(),
            nodes: Vec::new(),
            items: Vec::new(),
            marks: 0,
        };
        for (at, units) in split(program)? {
            let fact = facts.get(at as usize).copied().unwrap_or_default();
            let id = model.push(units, at, fact);
            model.owner.extend((0..).map(|inner| (id, inner)).take(units.len()));
            model.items.extend(items(id));
        }
        let end = model.push(&[], number(program.len()), 0);
        model.nodes[end].live = false;
        model.owner.push((end, 0));
        model.items.extend(items(end));
        for id in 0..end {
            model.nodes[id].untouched = true;
            let Node { origin, ref units, .. } = model.nodes[id];
            model.nodes[id].to = (0..Toy::default().fields(units))
                .map(|field| {
                    i64::from(origin) + Toy::default().base(units, field) + Toy::default().read(units, field)
                })
                .map(|position| match usize::try_from(position).ok().and_then(|at| model.owner.get(at)) {
                    Some(&(id, 0)) if id != end => To::Insn(id),
                    Some(&(id, inner)) if id != end => To::Inside(model.nodes[id].origin + inner),
                    _ => To::Outside(position),
                })
                .collect();
        }
        Ok(model)
    }

    fn push(&mut self, units: &[u16], origin: u32, fact: u8) -> Id {
        let units = units.to_vec();
        let to = Vec::new();
        self.nodes.push(Node { units, to, live: true, fact, origin, untouched: false, prepended: None });
        self.nodes.len() - 1
    }

    pub(super) fn ids(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn end(&self) -> Id {
        self.owner[self.original.len()].0
    }

    /// The original position of an instruction of the original program.
    pub(super) fn original_position(&self, id: Id) -> u32 {
        self.nodes[id].origin
    }

    /// The live instructions in order.
    pub(super) fn live(&self) -> Vec<Id> {
        self.items.iter().filter_map(|&item| self.live_insn(item)).collect()
    }

    fn live_insn(&self, item: Item) -> Option<Id> {
        match item {
            Item::Insn(id) if self.nodes[id].live => Some(id),
            _ => None,
        }
    }

    /// The live instruction after an instruction.
    pub(super) fn next(&self, id: Id) -> Option<Id> {
        self.items[self.find(Item::Insn(id)) + 1..].iter().find_map(|&item| self.live_insn(item))
    }

    /// The same for every instruction at once.
    pub(super) fn nexts(&self) -> Vec<Option<Id>> {
        let mut nexts = std::vec![None; self.ids()];
        let mut next = None;
        for &item in self.items.iter().rev() {
            if let Item::Insn(id) = item {
                nexts[id] = next;
            }
            next = self.live_insn(item).or(next);
        }
        nexts
    }

    pub(super) fn units(&self, id: Id) -> Option<&[u16]> {
        self.nodes[id].live.then_some(&self.nodes[id].units)
    }

    pub(super) fn fact(&self, id: Id) -> Option<u8> {
        self.nodes[id].live.then_some(self.nodes[id].fact)
    }

    pub(super) fn fact_mut(&mut self, id: Id) -> Option<&mut u8> {
        let node = &mut self.nodes[id];
        node.live.then_some(&mut node.fact)
    }

    /// Where each field of a live instruction leads.
    pub(super) fn to(&self, id: Id) -> &[To] {
        if self.nodes[id].live { &self.nodes[id].to } else { &[] }
    }

    fn find(&self, item: Item) -> usize {
        self.items.iter().position(|&other| other == item).expect("every item is in the list")
    }

    /// Deletes an instruction.
    pub(super) fn delete(&mut self, id: Id) -> Result<(), Refusal> {
        self.refuse_dead(id)?;
        self.nodes[id].live = false;
        self.nodes[id].fact = 0;
        Ok(())
    }

    fn refuse_dead(&self, id: Id) -> Result<(), Refusal> {
        match self.nodes[id].live {
            true => Ok(()),
            false if id == self.end() => Err(Refusal::End),
            false => Err(Refusal::Deleted),
        }
    }

    /// Makes an edit. Gives the names of the instructions of the patch, each with its unit in it.
    pub(super) fn edit(&mut self, kind: Kind, id: Id, patch: &Patch) -> Result<Vec<(u32, Id)>, Refusal> {
        let before = matches!(kind, Kind::Prepend | Kind::PrependFallthrough);
        if !(before && id == self.end()) {
            self.refuse_dead(id)?;
        }
        if patch.units.is_empty() {
            return Err(Refusal::EmptyPatch);
        }
        let insns = split(&patch.units).map_err(Refusal::BadPatchInsn)?;
        let new = insns.iter().skip(usize::from(kind == Kind::Replace)).zip(self.ids()..);
        let mut names: Vec<(u32, Id)> = new.map(|(&(unit, _), id)| (unit, id)).collect();
        if kind == Kind::Replace {
            names.insert(0, (0, id));
        }
        if let Fact::MoveTo(unit) = patch.fact
            && named(&names, unit).is_none()
        {
            return Err(Refusal::BadPatchInsn(unit));
        }
        let (start, end) = (self.marks, self.marks + 1);
        let own_start = match kind {
            Kind::Replace if self.nodes[id].prepended.is_some() => To::Mark(start),
            _ => To::Insn(names[0].1),
        };
        let to = self.resolve(&insns, patch, &names, own_start, To::Mark(end))?;

        self.marks += 2;
        for &(_, units) in &insns[usize::from(kind == Kind::Replace)..] {
            self.push(units, self.nodes[id].origin, 0);
        }
        if kind == Kind::Replace {
            self.nodes[id].units = insns[0].1.to_vec();
            self.nodes[id].untouched = false;
        }
        for (&(_, id), to) in names.iter().zip(to) {
            self.nodes[id].to = to;
        }
        let own = self.find(Item::Insn(id));
        let mut code: Vec<Item> = names.iter().flat_map(|&(_, id)| items(id)).collect();
        code.push(Item::Mark(end));
        let at = match kind {
            Kind::Replace => {
                code.drain(..3);
                own + 1
            }
            Kind::Append => own + 1,
            Kind::Prepend => own,
            Kind::PrependFallthrough => self.find(Item::Fall(id)),
        };
        self.items.splice(at..at, code);
        match kind {
            Kind::Replace => self.items.insert(own, Item::Mark(start)),
            Kind::Prepend => _ = self.nodes[id].prepended.get_or_insert(names[0].1),
            Kind::Append | Kind::PrependFallthrough => {}
        }
        self.settle_fact(id, patch.fact, &names);
        Ok(names)
    }

    fn settle_fact(&mut self, id: Id, rule: Fact, names: &[(u32, Id)]) {
        let fact = self.nodes[id].fact;
        match rule {
            Fact::Keep => {}
            Fact::Reset => self.nodes[id].fact = 0,
            Fact::MoveTo(unit) => {
                self.nodes[id].fact = 0;
                let heir = named(names, unit).expect("checked before");
                self.nodes[heir].fact = fact;
            }
        }
    }

    /// Where the branches of each instruction of a patch lead.
    fn resolve(
        &self,
        insns: &[(u32, &[u16])],
        patch: &Patch,
        names: &[(u32, Id)],
        own_start: To,
        end: To,
    ) -> Result<Vec<Vec<To>>, Refusal> {
        let len = i64::from(number(patch.units.len()));
        let mut listed = &patch.targets[..];
        let mut all = Vec::new();
        for &(unit, insn) in insns {
            let mut own = Vec::new();
            for (field, number) in (0..Toy::default().fields(insn)).zip(0..) {
                let to =
                    i64::from(unit) + Toy::default().base(insn, field) + Toy::default().read(insn, field);
                let target = match listed {
                    [(at, of, target), rest @ ..] if (*at, *of) == (unit, number) => {
                        listed = rest;
                        *target
                    }
                    _ if to == len => Target::End,
                    _ => Target::Local(u32::try_from(to).unwrap_or(u32::MAX)),
                };
                own.push(match target {
                    Target::Local(0) => own_start,
                    Target::Local(to) => match named(names, to) {
                        Some(id) => To::Insn(id),
                        None => return Err(Refusal::LeavesPatch(unit, number)),
                    },
                    Target::End => end,
                    Target::Insn(id) => To::Insn(id),
                    Target::Original(at) => match self.owner.get(at as usize) {
                        Some(&(id, 0)) => To::Insn(id),
                        _ => return Err(Refusal::BadTarget(unit, number)),
                    },
                    Target::Stranger => return Err(Refusal::Stranger),
                });
            }
            all.push(own);
        }
        match listed {
            [] => Ok(all),
            [(unit, field, _), ..] => Err(Refusal::BadTarget(*unit, *field)),
        }
    }

    /// The item that a branch lands at.
    fn landing(&self, to: To) -> Result<usize, FaultKind> {
        match to {
            To::Insn(id) => match self.nodes[id].prepended {
                Some(first) => self.landing(To::Insn(first)),
                None => Ok(self.find(Item::Label(id))),
            },
            To::Mark(mark) => Ok(self.find(Item::Mark(mark))),
            To::Outside(position) => Err(FaultKind::Outside(position)),
            To::Inside(position) => Err(FaultKind::Inside(position)),
        }
    }

    /// The new position of each item, and of the end.
    fn positions(&self) -> Vec<u32> {
        let mut positions = std::vec![0];
        let mut at = 0;
        for &item in &self.items {
            at += self.live_insn(item).map_or(0, |id| number(self.nodes[id].units.len()));
            positions.push(at);
        }
        positions
    }

    /// The last item of the instruction that stood at `origin`, and of what was inserted for it.
    fn last_for(&self, origin: u32) -> usize {
        let own = |item: &Item| matches!(*item, Item::Insn(id) if self.nodes[id].origin == origin);
        self.items.iter().rposition(own).expect("every instruction has its items")
    }

    pub(super) fn linearize(&self) -> Result<Output, Fault> {
        let positions = self.positions();
        let lands = |to| self.landing(to).map(|item| positions[item]);
        let (mut units, mut facts, mut origins) = (Vec::new(), Vec::new(), Vec::new());
        for id in self.live() {
            let node = &self.nodes[id];
            let from = number(units.len());
            let mut insn = node.units.clone();
            for (field, &to) in node.to.iter().enumerate() {
                let fault = |kind| Fault { branch: id, origin: node.origin, kind };
                let lands = lands(to).map_err(fault)?;
                if Some(&lands) == positions.last() {
                    return Err(fault(FaultKind::Tail(to)));
                }
                let displacement = i64::from(lands) - i64::from(from) - Toy::default().base(&insn, field);
                let (min, max) = Toy::default().range(&insn, field).into_inner();
                if displacement < min || displacement > max {
                    return Err(fault(FaultKind::Range { from, to: lands, displacement, min, max }));
                }
                Toy::default().write(&mut insn, field, displacement);
            }
            for (inner, unit) in (0..).zip(insn) {
                units.push(unit);
                facts.push(if inner == 0 { node.fact } else { 0 });
                origins.push(if node.untouched || id < self.end() && inner == 0 {
                    Origin::Original(node.origin + inner)
                } else {
                    Origin::InsertedFor(node.origin)
                });
            }
        }
        let mut output = Output {
            units,
            facts,
            origins,
            new_of: Vec::new(),
            position_of: Vec::new(),
            landing: (0..self.ids()).map(|id| lands(To::Insn(id)).unwrap_or(u32::MAX)).collect(),
            own: (0..self.ids())
                .map(|id| self.nodes[id].live.then(|| positions[self.find(Item::Insn(id))]))
                .collect(),
        };
        for &(id, inner) in &self.owner {
            let node = &self.nodes[id];
            let own = positions[self.find(Item::Insn(id))];
            let intact = node.live && node.untouched;
            output.new_of.push(match inner {
                0 => output.landing[id],
                _ if intact => own + inner,
                _ => positions[self.last_for(node.origin) + 1],
            });
            output.position_of.push((node.live && (inner == 0 || intact)).then_some(own + inner));
        }
        Ok(output)
    }
}

fn items(id: Id) -> [Item; 3] {
    [Item::Fall(id), Item::Label(id), Item::Insn(id)]
}

fn named(names: &[(u32, Id)], unit: u32) -> Option<Id> {
    names.iter().find(|name| name.0 == unit).map(|name| name.1)
}

fn number(len: usize) -> u32 {
    len.try_into().expect("models are small")
}

/// The instructions of some code, each with its unit, or the unit that holds none.
fn split(units: &[u16]) -> Result<Vec<(u32, &[u16])>, u32> {
    let mut insns = Vec::new();
    let mut at = 0;
    while at < units.len() {
        let len = Toy::default().len(&units[at..]).ok_or(number(at))?;
        insns.push((number(at), &units[at..at + len]));
        at += len;
    }
    Ok(insns)
}
