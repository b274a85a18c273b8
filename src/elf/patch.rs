//! [`patch`]: runs passes over all code of an object, and says what became of each function.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::edit::Edit;
use super::error::ElfError;
use super::functions::{Part, Unanalysed, place_of};
use super::object::Object;
use super::place::Place;
use super::stack::stack_budgets;
use super::tally::{FunctionReport, Track};
use crate::bpf::{Bpf, Cpu, Insn, Program};
use crate::passes::{self, Pass, blind, dce};
use crate::{Arena, Error, Linear, List};

/// What [`patch`] did.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PatchReport {
    /// The functions, in the order of the object as it was.
    pub functions: Vec<FunctionReport>,
    /// What each pass did, in the order they ran in, summed over all code.
    pub passes: Vec<passes::Report>,
    /// How many branches no longer reached, and became a `gotol` or one with a `gotol` behind it. These
    /// are of ISA v4, for Linux 6.6 or later.
    pub relaxed: u32,
}

/// Why [`patch`] failed: in which pass, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PatchError {
    /// The name of the pass.
    pub pass: &'static str,
    /// The instruction, by its place in the object as it was.
    pub place: Option<Box<Place>>,
    /// Why. Positions in it are slots of the section as the pass found it.
    pub reason: PatchReason,
}

/// Why a pass over an object failed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PatchReason {
    /// The pass gave up, or its edits do not fit together.
    Pass(passes::Error),
    /// The object cannot take the new code.
    Elf(ElfError),
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

/// Runs passes over all code of an object, one after the other.
///
/// The object knows what a pass cannot see in the code of one section. So
/// [`dce`] gets its roots from [`Object::reachable`], whatever its options say, and runs again while
/// what it deleted was the last to refer to a function; the stack that [`blind`] may use is what
/// code in other sections leaves of it.
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
pub fn patch(object: &mut Object<'_>, passes: &[Pass]) -> Result<PatchReport, PatchError> {
    check(object, passes)?;
    // The symbols that stand for functions change, so what they were has to be kept.
    let old = object.clone();
    let mut track = Track::new(object);
    let mut arena = Arena::new();
    let (mut reports, mut relaxed) = (Vec::new(), 0);
    for pass in passes {
        let fail = |failure: Failure, track: &Track| PatchError {
            pass: pass.name(),
            place: failure.code.and_then(|code| {
                let slot = track.home(code, failure.slot?)?;
                Some(Box::new(old.place(code, slot)))
            }),
            reason: failure.reason,
        };
        let mut report = None;
        loop {
            let round = run(object, pass, &mut arena, &mut track).map_err(|failure| fail(failure, &track))?;
            relaxed += round.relaxed;
            report = Some(report.map_or(round.report, |report: passes::Report| report.plus(round.report)));
            if !round.again {
                break;
            }
        }
        reports.extend(report);
    }
    Ok(PatchReport { functions: track.report(&old, object), passes: reports, relaxed })
}

/// Refuses an object of which the evidence about functions contradicts itself; and, if it is to be strict, one with
/// a function that cannot be analysed.
fn check(object: &Object<'_>, passes: &[Pass]) -> Result<(), PatchError> {
    for (code, section) in object.code().iter().enumerate() {
        let fail = |slot, reason| {
            let pass = passes.first().map_or("", Pass::name);
            Err(PatchError { pass, place: Some(Box::new(object.place(code, slot))), reason })
        };
        if let Some(conflict) = section.conflicts.first() {
            let error = section.check_boundaries();
            return error.or_else(|error| fail(conflict.slot, PatchReason::Elf(error)));
        }
        if !object.strict {
            continue;
        }
        for part in section.parts() {
            match part {
                Part::LeftAlone(_, Unanalysed::Flow(error)) => {
                    return fail(place_of(error).unwrap_or_default(), PatchReason::Pass((*error).into()));
                }
                Part::LeftAlone(_, Unanalysed::Entered(slot)) => {
                    let reason = "something leads into the middle of the function";
                    return fail(*slot, PatchReason::Elf(section.fail(*slot, reason)));
                }
                _ => {}
            }
        }
        let beyond = |relocation| Some((relocation, object.leads_beyond(code, relocation)?));
        if let Some((relocation, reason)) = section.relocations().iter().find_map(beyond) {
            return fail(relocation.slot, PatchReason::Elf(section.fail(relocation.slot, reason)));
        }
    }
    Ok(())
}

/// What went wrong in which slot of which code section.
struct Failure {
    code: Option<usize>,
    slot: Option<u32>,
    reason: PatchReason,
}

impl Failure {
    fn of_pass(code: usize, error: passes::Error) -> Self {
        Self { code: Some(code), slot: slot_of(&error), reason: PatchReason::Pass(error) }
    }

    fn of_object(object: &Object<'_>, error: ElfError) -> Self {
        let place = match &error {
            ElfError::Edit { section, slot, .. } => {
                let code = object.code().iter().position(|code| code.name() == section);
                code.map(|code| (code, *slot))
            }
            _ => None,
        };
        let (code, slot) = place.unzip();
        Self { code, slot, reason: PatchReason::Elf(error) }
    }
}

/// One round of a pass over all code.
struct Round {
    report: passes::Report,
    /// How many branches took a longer form.
    relaxed: u32,
    /// Whether there is now something for the pass to do that there was not before.
    again: bool,
}

fn run(object: &mut Object<'_>, pass: &Pass, arena: &mut Arena, track: &mut Track) -> Result<Round, Failure> {
    let context = Context::of(object, pass)?;
    let (mut report, mut relaxed) = (pass.empty_report(), 0);
    let mut done: Vec<(usize, Linear<Insn>)> = Vec::new();
    for (index, section) in object.code().iter().enumerate() {
        let program = section.program();
        if program.insns.is_empty() {
            continue;
        }
        arena.reset();
        let fail = |error| Failure::of_pass(index, error);
        let edit_fail = |error: Error| fail(error.into());
        let mut list = List::<Bpf>::new(arena, &program.insns).map_err(edit_fail)?;
        match context.pass_for(index, pass) {
            Some(pass) => report = report.plus(pass.run(program, &mut list).map_err(fail)?),
            None => {
                report = report.plus(delete_all(&mut list, program).map_err(edit_fail)?);
            }
        }
        let mut linear = Linear::default();
        relaxed += list.linearize_relaxed(&Cpu::V4, &mut linear).map_err(edit_fail)?.lengthened;
        if linear.units != program.insns {
            done.push((index, linear));
        }
    }
    let edits = done.iter_mut().map(|(code, linear)| Edit {
        code: *code,
        insns: core::mem::take(&mut linear.units),
        map: &linear.map,
    });
    let edits = edits.collect();
    object.replace_codes(edits).map_err(|error| Failure::of_object(object, error))?;
    for (code, linear) in &done {
        track.follow(*code, &linear.map);
    }
    let left_over = || {
        let code = object.code();
        object.reachable().unreached().any(|id| !code[id.code].program().insns.is_empty())
    };
    let again = matches!(pass, Pass::Dce(_)) && !done.is_empty() && left_over();
    Ok(Round { report, relaxed, again })
}

/// What a pass has to be told of the object.
enum Context {
    /// For [`dce`]: the roots of each code section.
    Roots(Vec<Vec<u32>>),
    /// For [`blind`]: the stack that each code section may use, in bytes.
    Stack(Vec<u16>),
}

impl Context {
    fn of(object: &Object<'_>, pass: &Pass) -> Result<Self, Failure> {
        match pass {
            Pass::Dce(_) => {
                let reachable = object.reachable();
                let roots =
                    |code| reachable.roots(code).filter_map(|root| u32::try_from(root).ok()).collect();
                Ok(Self::Roots((0..object.code().len()).map(roots).collect()))
            }
            Pass::Blind(_) => {
                let budgets = stack_budgets(object);
                budgets.map(Self::Stack).map_err(|(code, error)| Failure::of_pass(code, error.into()))
            }
        }
    }

    /// The pass, with what it has to know of code section `code`; `None` if nothing refers to any of it.
    fn pass_for(&self, code: usize, pass: &Pass) -> Option<Pass> {
        match (self, pass) {
            (Self::Roots(roots), _) => {
                let roots = Some(roots[code].clone()).filter(|roots| !roots.is_empty())?;
                Some(Pass::Dce(dce::Options { roots: Some(roots) }))
            }
            (Self::Stack(budgets), Pass::Blind(options)) => {
                // Sections must not have their keys in common, or one would tell of the other.
                let seed = options.seed.wrapping_add((code as u64) << 40);
                let stack = options.stack.min(budgets[code]);
                Some(Pass::Blind(blind::Options { seed, stack, ..*options }))
            }
            (Self::Stack(_), other) => Some(other.clone()),
        }
    }
}

/// Deletes a section that nothing refers to.
fn delete_all(list: &mut List<'_, Bpf>, program: &Program) -> Result<passes::Report, Error> {
    let handles: Vec<_> = list.iter().collect();
    for handle in handles {
        list.delete(handle)?;
    }
    let count = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
    Ok(passes::Report::Dce(dce::Report {
        unreached_slots: count(program.insns.len()),
        unreferenced_subprogs: count(program.subprogs.len()),
        ..dce::Report::default()
    }))
}

/// The slot that an error speaks of.
fn slot_of(error: &passes::Error) -> Option<u32> {
    match *error {
        passes::Error::Cfg(error) => place_of(&error),
        passes::Error::Edit(error) => match error {
            Error::BadInsn { at } => Some(at),
            Error::BranchOutside { origin, .. }
            | Error::BranchIntoInsn { origin, .. }
            | Error::DeletedTail { origin, .. }
            | Error::OutOfRange { origin, .. } => Some(origin),
            _ => None,
        },
        _ => None,
    }
}
