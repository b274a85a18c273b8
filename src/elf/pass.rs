//! [`Pass`]: a job over a whole object, by name; and the list of them.

use ::core::fmt;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use super::editor::ObjectEditor;
use super::functions::place_of;
use super::{ElfError, passes};
use crate::core;
use crate::passes::Error;

/// A job over a whole object. Command line, reports and documentation follow from what it says of itself.
///
/// ```
/// use relinear::elf::{Counts, Failure, ObjectEditor, Outcome, Pass, Passes};
///
/// /// Counts the calls of helpers.
/// struct CountCalls;
///
/// impl Pass for CountCalls {
///     fn name(&self) -> &'static str {
///         "count-calls"
///     }
///
///     fn help(&self) -> &'static str {
///         "count the calls of helpers"
///     }
///
///     fn run(&self, edit: &mut ObjectEditor<'_, '_>) -> Result<Outcome, Failure> {
///         let mut counts = Counts::default();
///         for code in edit.object().code() {
///             let calls = code.program().insns.iter().filter(|insn| insn.is_call() && insn.src() == 0);
///             counts.add("calls", calls.count() as u64);
///         }
///         Ok(counts.into())
///     }
/// }
///
/// let mut passes = Passes::standard();
/// passes.register(Box::new(CountCalls));
/// assert!(passes.by_name("count-calls").is_some());
/// ```
pub trait Pass {
    /// Its name, for a command line: lower case, words joined by `-`.
    fn name(&self) -> &'static str;

    /// What it does, in a few words.
    fn help(&self) -> &'static str;

    /// The options that [`set`](Pass::set) takes: for each its name and what it does.
    fn options(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Sets an option.
    ///
    /// # Errors
    ///
    /// Why not, in words, if there is no such option, or the value is none of its.
    fn set(&mut self, option: &str, value: &str) -> Result<(), String> {
        _ = value;
        Err(alloc::format!("the pass {} has no option {option:?}", self.name()))
    }

    /// Whether it can run over code that passes before it have edited. If not, the object is laid out first.
    fn takes_edited(&self) -> bool {
        false
    }

    /// Makes its edits. What it analyses is [`ObjectEditor::object`], and, if it [takes edited
    /// code](Pass::takes_edited), the lists.
    ///
    /// # Errors
    ///
    /// [`Failure`]. The edits are thrown away then.
    fn run(&self, edit: &mut ObjectEditor<'_, '_>) -> Result<Outcome, Failure>;
}

impl fmt::Debug for dyn Pass + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a pass did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// What it counted.
    pub counts: Counts,
    /// Whether it has more to do in the object that its edits make, so that it is to be run again.
    pub again: bool,
}

/// Named counts, in the order in which they were first added.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Counts(Vec<(&'static str, u64)>);

/// Why a pass over an object failed, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// The code section, if it is about one, and the slot in it, if it is about one.
    pub at: Option<(usize, Option<u32>)>,
    /// Why.
    pub reason: PatchReason,
}

/// Why a pass over an object failed.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PatchReason {
    /// The pass gave up, or its edits do not fit together. Positions in it are slots of the section as the pass found it.
    Pass(Error),
    /// The object cannot take the new code.
    Elf(ElfError),
}

/// A list of passes, by name.
pub struct Passes(Vec<Box<dyn Pass>>);

impl Counts {
    /// Adds to a count.
    pub fn add(&mut self, name: &'static str, more: impl Into<u64>) {
        let more = more.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += more,
            None => self.0.push((name, more)),
        }
    }

    /// A count; 0 if nothing was added to it.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|(known, _)| *known == name).map_or(0, |&(_, count)| count)
    }

    /// The counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<'_> {
        self.0.iter().copied()
    }

    /// Adds all counts of another run.
    pub(crate) fn plus(&mut self, other: &Self) {
        for &(name, count) in &other.0 {
            self.add(name, count);
        }
    }
}

impl From<Counts> for Outcome {
    fn from(counts: Counts) -> Self {
        Self { counts, again: false }
    }
}

impl Failure {
    /// A pass failed in a code section.
    #[must_use]
    pub fn in_code(code: usize, error: Error) -> Self {
        Self { at: Some((code, slot_of(&error))), reason: PatchReason::Pass(error) }
    }
}

impl From<ElfError> for Failure {
    fn from(error: ElfError) -> Self {
        Self { at: None, reason: PatchReason::Elf(error) }
    }
}

impl Passes {
    /// The passes that come with the crate: the one place where they are listed.
    #[must_use]
    pub fn standard() -> Self {
        Self(alloc::vec![Box::new(passes::Dce), Box::new(passes::Blind::default())])
    }

    /// Adds a pass. One of that name before is no longer found.
    pub fn register(&mut self, pass: Box<dyn Pass>) {
        self.0.retain(|known| known.name() != pass.name());
        self.0.push(pass);
    }

    /// The passes, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Pass> {
        self.0.iter().map(|pass| &**pass)
    }

    /// The pass of that name. O(passes).
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&dyn Pass> {
        self.iter().find(|pass| pass.name() == name)
    }

    /// The pass of that name, to set its options.
    #[must_use]
    pub fn by_name_mut(&mut self, name: &str) -> Option<&mut (dyn Pass + 'static)> {
        self.0.iter_mut().map(|pass| &mut **pass).find(|pass| pass.name() == name)
    }
}

/// The slot that an error speaks of.
pub(crate) fn slot_of(error: &Error) -> Option<u32> {
    match error {
        Error::Cfg(error) => place_of(error),
        Error::Edit(error) => position_of(error),
        _ => None,
    }
}

/// The position of the program that an error of an edit speaks of.
pub(crate) fn position_of(error: &core::Error) -> Option<u32> {
    match *error {
        core::Error::BadInsn { at } => Some(at),
        core::Error::BranchOutside { origin, .. }
        | core::Error::BranchIntoInsn { origin, .. }
        | core::Error::DeletedTail { origin, .. }
        | core::Error::OutOfRange { origin, .. } => Some(origin),
        _ => None,
    }
}
