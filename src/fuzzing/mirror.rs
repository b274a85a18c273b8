//! [`Mirror`]: does to the model what is done to a list, and compares what comes out.

use std::vec::Vec;

use super::model::{Fault, FaultKind, Id, Kind, Model, Output, Patch, Refusal, Target, To};
use super::{Toys, side_tables};
use crate::{Branch, Error, Handle, Inserted, Linear, List, Patch as ListPatch, Target as ListTarget};

/// A model, and what the list calls its instructions.
pub(super) struct Mirror {
    pub(super) model: Model,
    names: Vec<Handle>,
}

pub(super) type ToyList<'a, const MOST: usize> = List<'a, Toys<MOST>, u8>;
pub(super) type ToyLinear = Linear<u16, u8>;

impl Mirror {
    /// A mirror of the list over `program`, of which the program is known to be good.
    pub(super) fn new(program: &[u16], facts: &[u8]) -> Self {
        let model = Model::new(program, facts).expect("the list was made");
        let names = (0..model.ids()).map(|id| Handle::new(model.original_position(id))).collect();
        Self { model, names }
    }

    pub(super) fn name(&self, id: Id) -> Handle {
        self.names[id]
    }

    /// Handles that name nothing: all that are not given out, up to a few above those that are.
    pub(super) fn strays(&self) -> impl Iterator<Item = Handle> + '_ {
        let last = self.names.iter().max().map_or(0, |name| name.index());
        (0..last + 8).map(Handle::new).filter(|&handle| self.id(handle).is_none())
    }

    pub(super) fn id(&self, handle: Handle) -> Option<Id> {
        self.names.iter().position(|&name| name == handle)
    }

    /// Makes an edit to both, if they do not refuse. `edit` makes it to the list.
    pub(super) fn edit(
        &mut self,
        kind: Kind,
        id: Id,
        patch: &Patch,
        edit: impl FnOnce(ListPatch<'_, u16>) -> Result<Inserted, Error>,
    ) -> bool {
        let branches: Vec<Branch> = patch
            .targets
            .iter()
            .map(|&(unit, field, target)| Branch::new(unit, self.list_target(target)).field(field))
            .collect();
        let got = edit(ListPatch::new(&patch.units).branches(&branches).fact(patch.fact));
        match (self.model.edit(kind, id, patch), got) {
            (Ok(names), Ok(inserted)) => {
                self.learn(&names, inserted, kind == Kind::Replace);
                true
            }
            (Err(expected), Err(got)) => {
                self.expect_refusal(expected, got);
                false
            }
            (expected, got) => panic!("the edit should give {expected:?}, it gives {got:?}"),
        }
    }

    fn list_target(&self, target: Target) -> ListTarget {
        match target {
            Target::Local(unit) => ListTarget::Local(unit),
            Target::End => ListTarget::End,
            Target::Insn(id) => ListTarget::Handle(self.names[id]),
            Target::Original(at) => ListTarget::Original(at),
            Target::Stranger => ListTarget::Handle(STRANGER),
        }
    }

    /// Notes the names of what was inserted, which must be new.
    fn learn(&mut self, names: &[(u32, Id)], inserted: Inserted, replaced: bool) {
        assert_eq!(inserted.first(), inserted.at(0), "the first");
        for &(unit, id) in names {
            let name = inserted.at(unit);
            if replaced && unit == 0 {
                assert_eq!(name, self.names[id], "a replaced instruction keeps its name");
            } else {
                assert_eq!(id, self.names.len(), "the model counts up");
                assert!(self.names.iter().all(|&other| other < name), "{name} is not above every other");
                self.names.push(name);
            }
        }
    }

    fn expect_refusal(&self, expected: Refusal, got: Error) {
        let same = match (expected, got) {
            (Refusal::End, Error::NoSuchInsn(handle)) => handle == self.names[self.model.end()],
            (Refusal::Stranger, Error::NoSuchInsn(handle)) => handle == STRANGER,
            (Refusal::Deleted, Error::Deleted(_)) | (Refusal::EmptyPatch, Error::EmptyPatch) => true,
            (Refusal::BadPatchInsn(at), Error::BadPatchInsn { unit }) => at == unit,
            (Refusal::LeavesPatch(at, of), Error::LeavesPatch { unit, field })
            | (Refusal::BadTarget(at, of), Error::BadTarget { unit, field }) => (at, of) == (unit, field),
            _ => false,
        };
        assert!(same, "the edit should be refused with {expected:?}, it is with {got:?}");
    }

    /// Deletes from both, if they do not refuse. `delete` deletes from the list.
    pub(super) fn delete(&mut self, id: Id, delete: impl FnOnce() -> Result<(), Error>) -> bool {
        match (self.model.delete(id), delete()) {
            (Ok(()), Ok(())) => true,
            (Err(expected), Err(got)) => {
                self.expect_refusal(expected, got);
                false
            }
            (expected, got) => panic!("deleting should give {expected:?}, it gives {got:?}"),
        }
    }

    /// Compares all that can be asked of a list before it is linearized.
    pub(super) fn compare<const MOST: usize>(&self, list: &ToyList<'_, MOST>) {
        list.check().unwrap();
        let live: Vec<Handle> = self.model.live().into_iter().map(|id| self.names[id]).collect();
        let got: Vec<Handle> = list.iter().collect();
        assert_eq!(got, live, "the live instructions, in order");
        assert_eq!(list.first(), live.first().copied(), "the first");
        assert_eq!(list.end(), self.names[self.model.end()], "the end");
        let units = self.model.live().into_iter().filter_map(|id| Some(self.model.units(id)?.len()));
        assert_eq!(list.live_len() as usize, units.sum::<usize>(), "how many units are live");
        let nexts = self.model.nexts();
        for (id, &handle) in self.names.iter().enumerate() {
            let units = self.model.units(id);
            assert_eq!(list.is_live(handle), units.is_some(), "whether {handle} is live");
            assert_eq!(list.insn(handle), units, "units of {handle}");
            assert_eq!(list.aux(handle).copied(), self.model.fact(id), "fact of {handle}");
            let next = nexts[id].map(|next| self.names[next]);
            assert_eq!(list.next(handle), next, "what follows {handle}");
            let to = self.model.to(id);
            for field in 0..=u32::try_from(MOST).unwrap() {
                let got = list.target(handle, field);
                let same = match to.get(field as usize) {
                    None | Some(To::Outside(_)) => got.is_none(),
                    Some(&To::Insn(to)) => got == Some(self.names[to]),
                    Some(&To::Inside(at)) => got == Some(Handle::new(at)),
                    Some(To::Mark(_)) => got.is_some_and(|label| self.id(label).is_none()),
                };
                assert!(same, "field {field} of {handle} leads to {to:?}, not to {got:?}");
            }
        }
    }

    /// Linearizes both, and compares. If it cannot be done, gives the instruction at fault.
    pub(super) fn linearize<const MOST: usize>(
        &self,
        list: &ToyList<'_, MOST>,
        out: &mut ToyLinear,
    ) -> Result<(), Id> {
        let got = list.linearize_into(out);
        let fresh = list.linearize();
        match (self.model.linearize(), got) {
            (Ok(expected), Ok(())) => {
                let fresh = fresh.unwrap();
                assert_eq!((&fresh.units, &fresh.aux), (&out.units, &out.aux), "the same twice");
                self.compare_output(&expected, out);
                self.compare_output(&expected, &fresh);
                Ok(())
            }
            (Err(expected), Err(got)) => {
                assert_eq!(fresh.err(), Some(got), "the same twice");
                self.expect_fault(expected, got);
                assert!(out.units.is_empty() && out.aux.is_empty(), "nothing comes with an error");
                assert_eq!((out.map.old_len(), out.map.new_len()), (0, 0), "nothing comes with an error");
                Err(expected.branch)
            }
            (expected, got) => panic!("linearizing should give {expected:?}, it gives {got:?}"),
        }
    }

    fn expect_fault(&self, Fault { origin: at, kind: expected, .. }: Fault, got: Error) {
        let same = match (expected, got) {
            (FaultKind::Outside(position), Error::BranchOutside { origin, target }) => {
                (at, position) == (origin, target)
            }
            (FaultKind::Inside(position), Error::BranchIntoInsn { origin, target }) => {
                (at, i64::from(position)) == (origin, target)
            }
            (FaultKind::Tail(To::Insn(id)), Error::DeletedTail { origin, target }) => {
                id != self.model.end() && (at, self.names[id]) == (origin, target)
            }
            (FaultKind::Tail(to), Error::PastEnd { origin }) => {
                let end = matches!(to, To::Mark(_)) || to == To::Insn(self.model.end());
                end && at == origin
            }
            (FaultKind::Range { .. }, Error::OutOfRange { origin, from, to, displacement, min, max }) => {
                at == origin && expected == FaultKind::Range { from, to, displacement, min, max }
            }
            _ => false,
        };
        assert!(same, "linearizing should fail at {at} with {expected:?}, it fails with {got:?}");
    }

    fn compare_output(&self, expected: &Output, out: &ToyLinear) {
        let map = &out.map;
        assert_eq!(out.units, expected.units, "units");
        assert_eq!(out.aux, expected.facts, "facts");
        assert_eq!(map.new_len() as usize, expected.units.len(), "new length");
        assert_eq!(map.old_len() as usize + 1, expected.new_of.len(), "old length");
        for (at, &origin) in (0..).zip(&expected.origins) {
            assert_eq!(map.origin(at), origin, "origin of {at}");
        }
        assert!(map.origins().eq(expected.origins.iter().copied()), "all origins in order");
        for (old, (&new, &position)) in (0..).zip(expected.new_of.iter().zip(&expected.position_of)) {
            assert_eq!(map.new_of(old), new, "new position of {old}");
            assert_eq!(map.position_of(old), position, "own new position of {old}");
            assert_eq!(map.is_deleted(old), position.is_none(), "whether {old} was deleted");
        }
        for (&handle, &new) in self.names.iter().zip(&expected.landing) {
            assert_eq!(map.new_of_handle(handle), Some(new), "where a branch to {handle} lands");
        }
        for (&handle, &new) in self.names.iter().zip(&expected.own) {
            assert_eq!(map.position_of_handle(handle), new, "where {handle} went itself");
        }
        side_tables::compare(expected, out);
    }
}

/// A handle of no list as small as those here.
const STRANGER: Handle = Handle::new(1 << 30);
