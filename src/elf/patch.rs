//! [`patch`]: runs passes over an object, and says what became of each function.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::error::ElfError;
use super::functions::{Part, Unanalysed, place_of};
use super::object::Object;
use super::pass::{Counts, Failure, Pass, PatchReason, position_of};
use super::place::Place;
use super::tally::{FunctionReport, Track};
use super::verify::CodeChange;
use crate::Arena;
use crate::bpf::{CfgError, Cpu, EditError, InsnReason};

/// What [`patch`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PatchReport {
    /// The functions, in the order of the object as it was.
    pub functions: Vec<FunctionReport>,
    /// What each pass counted, in the order they ran in, summed over all code.
    pub passes: Vec<(&'static str, Counts)>,
    /// How many branches no longer reached, and took a longer form.
    pub relaxed: u32,
    /// How often the edits of passes were laid out: once for all passes that can run over one list.
    pub linearized: u32,
}

/// Why [`patch`] failed: in which pass, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PatchError {
    /// The name of the pass; of several whose edits were laid out together, of the last one.
    pub pass: &'static str,
    /// The instruction, by its place in the object as it was.
    pub place: Option<Box<Place>>,
    /// Why. Positions in it are slots of the section as the pass found it.
    pub reason: PatchReason,
}

impl fmt::Display for PatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        match &self.reason {
            PatchReason::Pass(error) => write!(f, "pass {}: {error}", self.pass),
            PatchReason::Elf(error) => write!(f, "pass {}: {error}", self.pass),
        }
    }
}

impl core::error::Error for PatchError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match &self.reason {
            PatchReason::Pass(error) => Some(error),
            PatchReason::Elf(error) => Some(error),
        }
    }
}

/// Runs passes over an object, one after the other. Passes that take what others have edited run in one transaction, which
/// is laid out once; a pass that finds more to do in its own result runs again.
///
/// Jumps that no longer reach become a `gotol` of ISA v4 (Linux 6.6); [`patch_for`] does without.
///
/// A function that cannot be analysed is left as it stands, byte for byte but for references to what moves, and
/// [`Object::notes`] says so; [`Object::strict`] makes it an error.
///
/// O(passes · size of the object).
///
/// # Errors
///
/// [`PatchError`], with the first thing that went wrong. The object may then hold the work of earlier
/// passes: throw it away.
pub fn patch(object: &mut Object<'_>, passes: &[&dyn Pass]) -> Result<PatchReport, PatchError> {
    patch_for(object, passes, Cpu::V4)
}

/// As [`patch`], for programs that run on `cpu`: jumps that no longer reach take what it has for them, a `gotol` of ISA v4
/// (Linux 6.6), or trampolines.
///
/// # Errors
///
/// As [`patch`].
pub fn patch_for(object: &mut Object<'_>, passes: &[&dyn Pass], cpu: Cpu) -> Result<PatchReport, PatchError> {
    run_all(object, passes, cpu, None)
}

/// As [`patch_for`], and adds each edit of a code section to `changes`, for [`verify`](super::verify()).
///
/// O(passes · size of the object).
///
/// # Errors
///
/// As [`patch`].
pub fn patch_recorded(
    object: &mut Object<'_>,
    passes: &[&dyn Pass],
    cpu: Cpu,
    changes: &mut Vec<CodeChange>,
) -> Result<PatchReport, PatchError> {
    run_all(object, passes, cpu, Some(changes))
}

fn run_all(
    object: &mut Object<'_>,
    passes: &[&dyn Pass],
    cpu: Cpu,
    changes: Option<&mut Vec<CodeChange>>,
) -> Result<PatchReport, PatchError> {
    check(object, passes)?;
    // The symbols that stand for functions change, so what they were has to be kept.
    let old = object.clone();
    let mut run = Run { track: Track::new(object), old: &old, arena: Arena::new(), cpu, changes };
    let mut report = PatchReport {
        functions: Vec::new(),
        passes: passes.iter().map(|pass| (pass.name(), Counts::default())).collect(),
        relaxed: 0,
        linearized: 0,
    };
    let mut next = 0;
    while next < passes.len() {
        next = run.transaction(object, passes, next, &mut report)?;
    }
    report.functions = run.track.report(&old, object);
    Ok(report)
}

/// Refuses an object of which the evidence about functions contradicts itself, or that has functions of more than five
/// arguments; and, if it is to be strict, one with a function that cannot be analysed.
fn check(object: &Object<'_>, passes: &[&dyn Pass]) -> Result<(), PatchError> {
    for (code, section) in object.code().iter().enumerate() {
        let fail = |slot, reason| {
            let pass = passes.first().map_or("", |pass| pass.name());
            Err(PatchError { pass, place: Some(Box::new(object.place(code, slot))), reason })
        };
        if let Some(conflict) = section.conflicts.first() {
            let error = section.check_boundaries();
            return error.or_else(|error| fail(conflict.slot, PatchReason::Elf(error)));
        }
        for part in section.parts() {
            match part {
                Part::LeftAlone(_, Unanalysed::Flow(error)) if object.strict || is_stack_argument(error) => {
                    return fail(place_of(error).unwrap_or_default(), PatchReason::Pass((*error).into()));
                }
                Part::LeftAlone(_, Unanalysed::Entered(slot)) if object.strict => {
                    let reason = "something leads into the middle of the function";
                    return fail(*slot, PatchReason::Elf(section.fail(*slot, reason)));
                }
                _ => {}
            }
        }
        if !object.strict {
            continue;
        }
        let beyond = |relocation| Some((relocation, object.leads_beyond(code, relocation)?));
        if let Some((relocation, reason)) = section.relocations().iter().find_map(beyond) {
            return fail(relocation.slot, PatchReason::Elf(section.fail(relocation.slot, reason)));
        }
    }
    Ok(())
}

/// Whether a function cannot be analysed because it has more arguments than fit into registers, or calls one that has.
fn is_stack_argument(error: &CfgError) -> bool {
    matches!(error, CfgError::BadInsn(error) if error.reason == InsnReason::StackArgument)
}

/// The runs of passes over one object.
struct Run<'d, 'c> {
    /// The object as it was.
    old: &'d Object<'d>,
    track: Track,
    arena: Arena,
    cpu: Cpu,
    /// Where each edit of a code section goes, if that is wanted.
    changes: Option<&'c mut Vec<CodeChange>>,
}

impl Run<'_, '_> {
    /// Runs the pass number `next`, and those after it that take what it has edited, and puts their edits into the
    /// object. Which pass comes next.
    fn transaction(
        &mut self,
        object: &mut Object<'_>,
        passes: &[&dyn Pass],
        mut next: usize,
        report: &mut PatchReport,
    ) -> Result<usize, PatchError> {
        self.arena.reset();
        let mut edit = object.edit(&self.arena);
        edit.set_cpu(self.cpu);
        edit.record_changes(self.changes.is_some());
        let last = loop {
            let done = passes[next].run(&mut edit).map_err(|failure| self.fail(passes[next], failure))?;
            report.passes[next].1.plus(&done.counts);
            if done.again {
                break next;
            }
            next += 1;
            if !passes.get(next).is_some_and(|pass| pass.takes_edited()) {
                break next - 1;
            }
        };
        let fail = |error| self.fail(passes[last], Failure::of_object(self.old, error));
        let change = edit.finish().map_err(fail)?;
        let done = object.commit(change).map_err(fail)?;
        for (code, map) in &done.maps {
            self.track.follow(*code, map);
        }
        if let Some(changes) = &mut self.changes {
            changes.extend(done.changes);
        }
        report.relaxed += done.lengthened;
        report.linearized += 1;
        Ok(next)
    }

    /// The error, with the place in the object as it was.
    fn fail(&self, pass: &dyn Pass, failure: Failure) -> PatchError {
        let place = failure.at.and_then(|(code, slot)| {
            let slot = self.track.home(code, slot?)?;
            Some(Box::new(self.old.place(code, slot)))
        });
        PatchError { pass: pass.name(), place, reason: failure.reason }
    }
}

impl Failure {
    /// The edits of passes do not fit into the object.
    fn of_object(object: &Object<'_>, error: ElfError) -> Self {
        let place = match &error {
            ElfError::Edit { section, slot, .. } | ElfError::Insn { section, slot, .. } => {
                Some((section, Some(*slot)))
            }
            ElfError::Code { section, error } => Some((section, position_of_edit(error))),
            _ => None,
        };
        let at = place.and_then(|(section, slot)| {
            Some((object.code().iter().position(|code| code.name() == section.as_str())?, slot))
        });
        let reason = match error {
            ElfError::Code { error: EditError::Core(error), .. } => PatchReason::Pass(error.into()),
            other => PatchReason::Elf(other),
        };
        Self { at, reason }
    }
}

/// The slot that an error of an edited section speaks of.
fn position_of_edit(error: &EditError) -> Option<u32> {
    match error {
        EditError::Core(error) => position_of(error),
        EditError::DeadSubprog { origin, .. } | EditError::LeavesSubprog { origin, .. } => Some(*origin),
        _ => None,
    }
}
