//! [`check`]: makes the edits of a case to a list and to the model, and compares after each.

use core::cell::RefCell;
use std::thread_local;
use std::vec::Vec;

use super::case::{Edit, Pass, Pick, Picked, Step};
use super::mirror::{Mirror, ToyLinear, ToyList};
use super::model::{Id, Kind, Model};
use super::{TestCase, Toys};
use crate::{Arena, CursorMut, Error, Handle, Inserted, Origin, Patch};

thread_local! {
    /// One for all cases, so that what a case leaves behind is there for the next to trip over.
    static SCRATCH: RefCell<(Arena, ToyLinear)> = RefCell::default();
}

/// Makes the edits of a case, and compares a list with the model after each one and at the end.
///
/// # Panics
///
/// If they disagree.
pub fn check(case: &TestCase) {
    if case.one_field {
        check_list::<1>(case);
    } else {
        check_list::<2>(case);
    }
}

fn check_list<const MOST: usize>(case: &TestCase) {
    SCRATCH.with_borrow_mut(|(arena, out)| {
        arena.reset();
        let program = case.program();
        let made = ToyList::<MOST>::with_aux(arena, &program, &case.facts).err();
        let refused = Model::new(&program, &case.facts).err().map(|at| Error::BadInsn { at });
        assert_eq!(made, refused, "whether the program divides into instructions");
        if refused.is_some() {
            return;
        }
        check_against_model::<MOST>(case, &program, arena, out);
        check_again::<MOST>(arena, out);
        check_undone::<MOST>(case, &program, arena);
    });
}

fn check_against_model<const MOST: usize>(
    case: &TestCase,
    program: &[u16],
    arena: &Arena,
    out: &mut ToyLinear,
) {
    let mut list = ToyList::<MOST>::with_aux(arena, program, &case.facts).unwrap();
    let mut mirror = Mirror::new(program, &case.facts);
    mirror.compare(&list);
    for pass in &case.passes {
        match pass {
            Pass::Edits(edits) => {
                for edit in edits {
                    make(edit, &mut list, &mut mirror);
                    mirror.compare(&list);
                }
            }
            Pass::Cursor(steps) => run_cursor(steps, &mut list, &mut mirror),
        }
        _ = mirror.linearize(&list, out);
    }
    for stray in mirror.strays() {
        refuse_stray(stray, &mut list);
    }
    mirror.compare(&list);
    // Branches that have no place to go are deleted, until there is an output to compare.
    while let Err(branch) = mirror.linearize(&list, out) {
        let handle = mirror.name(branch);
        mirror.delete(branch, || list.delete(handle));
    }
}

fn make<const MOST: usize>(edit: &Edit, list: &mut ToyList<'_, MOST>, mirror: &mut Mirror) {
    let id = match pick(edit.at, mirror) {
        Ok(id) => id,
        Err(stray) => return refuse_stray(stray, list),
    };
    let handle = mirror.name(id);
    if edit.at.extra() == 3 {
        let change = |fact: &mut u8| {
            *fact ^= 1;
            *fact
        };
        assert_eq!(
            list.aux_mut(handle).map(change),
            mirror.model.fact_mut(id).map(change),
            "a fact to change"
        );
    }
    _ = match &edit.insert {
        None if id < mirror.model.end() && edit.at.extra() >= 5 => {
            return delete_range(id, (edit.at.extra() - 5) * 8, list, mirror);
        }
        None => mirror.delete(id, || list.delete(handle)),
        Some((kind, draft)) => {
            let patch = draft.patch(&mirror.model);
            mirror.edit(*kind, id, &patch, |patch| insert(list, *kind, handle, patch))
        }
    };
}

/// Deletes this many instructions of the program from one on, or tries to delete only the first unit of one.
fn delete_range<const MOST: usize>(from: Id, len: usize, list: &mut ToyList<'_, MOST>, mirror: &mut Mirror) {
    let model = &mut mirror.model;
    let to = model.end().min(from + len.max(1));
    let (start, end) = (model.original_position(from), model.original_position(to));
    if len == 0 && end > start + 1 {
        let refused = Err(Error::NoSuchInsn(Handle::new(start + 1)));
        assert_eq!(list.delete_range(start..start + 1), refused, "a part of an instruction");
        return;
    }
    let live: Vec<Id> = (from..to).filter(|&id| model.units(id).is_some()).collect();
    let units: usize = live.iter().filter_map(|&id| Some(model.units(id)?.len())).sum();
    assert_eq!(list.delete_range(start..end).map(|units| units as usize), Ok(units), "units that go");
    for id in live {
        model.delete(id).expect("it is live");
    }
}

/// Makes the edit that `kind` stands for.
pub(super) fn insert<const MOST: usize>(
    list: &mut ToyList<'_, MOST>,
    kind: Kind,
    handle: Handle,
    patch: Patch<'_, u16>,
) -> Result<Inserted, Error> {
    match kind {
        Kind::Replace => list.replace(handle, patch),
        Kind::Prepend => list.prepend(handle, patch),
        Kind::PrependFallthrough => list.prepend_fallthrough(handle, patch),
        Kind::Append => list.append(handle, patch),
    }
}

/// The instruction picked, or else a handle that names none.
fn pick(pick: Pick, mirror: &Mirror) -> Result<Id, Handle> {
    match pick.among(&mirror.model) {
        Picked::Insn(id) => Ok(id),
        Picked::Any(index) => mirror.id(Handle::new(index)).ok_or(Handle::new(index)),
    }
}

/// A handle that no edit gave out may not do anything.
fn refuse_stray<const MOST: usize>(stray: Handle, list: &mut ToyList<'_, MOST>) {
    assert_eq!(list.insn(stray), None, "{stray} names no instruction");
    assert_eq!(list.target(stray, 0), None, "{stray} names no instruction");
    assert_eq!(list.aux(stray), None, "{stray} names no instruction");
    _ = list.next(stray);
    for kind in [Kind::Replace, Kind::Prepend, Kind::PrependFallthrough, Kind::Append] {
        let refused = insert(list, kind, stray, Patch::new(&[1]));
        assert!(matches!(refused, Err(Error::NoSuchInsn(_) | Error::Deleted(_))), "{kind:?} at {stray}");
    }
    assert!(list.delete(stray).is_err(), "{stray} can be deleted");
}

fn run_cursor<const MOST: usize>(steps: &[Step], list: &mut ToyList<'_, MOST>, mirror: &mut Mirror) {
    let mut here = Here { current: mirror.model.live().first().copied(), known: mirror.model.ids() };
    let mut cursor = list.cursor_mut();
    for step in steps {
        here.step(step, &mut cursor, mirror);
        let name = here.current.map(|id| mirror.name(id));
        assert_eq!(cursor.current(), name, "where the cursor stands after {step:?}");
        assert_eq!(cursor.insn(), here.current.and_then(|id| mirror.model.units(id)), "what it stands on");
        mirror.compare(cursor.list());
    }
}

/// Where a cursor should stand.
struct Here {
    current: Option<Id>,
    /// How many instructions there were when it came there.
    known: usize,
}

impl Here {
    fn step<const MOST: usize>(
        &mut self,
        step: &Step,
        cursor: &mut CursorMut<'_, '_, Toys<MOST>, u8>,
        mirror: &mut Mirror,
    ) {
        let at = self.current.unwrap_or(mirror.model.end());
        match step {
            Step::Next => {
                cursor.move_next();
                self.arrive(self.current.and_then(|id| mirror.model.next(id)), mirror);
            }
            Step::Past => {
                cursor.move_past();
                let mut next = self.current;
                loop {
                    next = next.and_then(|id| mirror.model.next(id));
                    if next.is_none_or(|id| id < self.known) {
                        break;
                    }
                }
                self.arrive(next, mirror);
            }
            Step::Goto(to) => match pick(*to, mirror) {
                Ok(id) => {
                    cursor.goto(mirror.name(id)).unwrap();
                    let live = mirror.model.units(id).is_some();
                    self.arrive(if live { Some(id) } else { mirror.model.next(id) }, mirror);
                }
                Err(stray) => refuse_stray(stray, cursor.list_mut()),
            },
            Step::Remove => {
                if mirror.delete(at, || cursor.remove_current()) {
                    self.arrive(mirror.model.next(at), mirror);
                }
            }
            Step::Insert(kind, draft) => {
                let patch = draft.patch(&mirror.model);
                mirror.edit(*kind, at, &patch, |patch| match kind {
                    Kind::Replace => cursor.replace_current(patch),
                    Kind::Prepend => cursor.insert_before(patch),
                    Kind::PrependFallthrough => cursor.insert_before_fallthrough(patch),
                    Kind::Append => cursor.insert_after(patch),
                });
            }
            Step::Elsewhere(edit) => make(edit, cursor.list_mut(), mirror),
        }
    }

    fn arrive(&mut self, current: Option<Id>, mirror: &Mirror) {
        *self = Self { current, known: mirror.model.ids() };
    }
}

/// A program that nothing is done to comes out as it went in, and so do its positions.
fn check_again<const MOST: usize>(arena: &Arena, out: &mut ToyLinear) {
    let program = out.units.clone();
    let list = ToyList::<MOST>::with_aux(arena, &program, &[]).unwrap();
    list.linearize_into(out).unwrap();
    assert_same(&program, out);
}

/// Deleting all that was inserted gives the program back.
fn check_undone<const MOST: usize>(case: &TestCase, program: &[u16], arena: &Arena) {
    let mut list = ToyList::<MOST>::with_aux(arena, program, &case.facts).unwrap();
    let mut mirror = Mirror::new(program, &case.facts);
    let originals = mirror.model.ids();
    let plain = list.linearize();
    let edits =
        case.passes.iter().flat_map(|pass| if let Pass::Edits(edits) = pass { &edits[..] } else { &[] });
    for edit in edits {
        if matches!(edit.insert, Some((Kind::Prepend | Kind::PrependFallthrough | Kind::Append, _))) {
            make(edit, &mut list, &mut mirror);
        }
    }
    for id in originals..mirror.model.ids() {
        list.delete(mirror.name(id)).unwrap();
    }
    match (plain, list.linearize()) {
        (Ok(_), Ok(out)) => assert_same(program, &out),
        (plain, undone) => assert_eq!(undone.err(), plain.err(), "the error of the program itself"),
    }
}

fn assert_same(program: &[u16], out: &ToyLinear) {
    assert_eq!(out.units, program, "the program");
    assert_eq!(out.map.old_len(), out.map.new_len(), "its length");
    for at in 0..out.map.new_len() {
        assert_eq!(out.map.new_of(at), at, "new position");
        assert_eq!(out.map.position_of(at), Some(at), "own new position");
        assert_eq!(out.map.origin(at), Origin::Original(at), "origin");
    }
}
