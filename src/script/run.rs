//! Statements to edits of an object.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::block::Block;
use super::place::{self, Site};
use super::{Action, Code, Edit, Kind, Report, Script, ScriptError, ScriptReason, Statement};
use crate::bpf::scratch::{self, Claim, Scratch};
use crate::bpf::{Cfg, EditError, RegSet};
use crate::core::{Error, Handle, Patch};
use crate::elf::{Data, ElfError, FunctionDef, MapDef, Object, ObjectEditor, Surroundings};

/// An edit that is going to be made.
struct Planned<'s> {
    line: usize,
    action: Action,
    site: Site,
    /// Of each statement once.
    block: Option<&'s Block>,
}

impl Script {
    /// Makes the edits of the script, as one transaction with what was done to `edit` before.
    ///
    /// Additions come first, in their order, whatever stands between them. Scratch registers are those that are free in the
    /// object as it was.
    ///
    /// O(statements · size of the object).
    ///
    /// # Errors
    ///
    /// [`ScriptError`]. The edit is then to be thrown away.
    pub fn run(&self, edit: &mut ObjectEditor<'_, '_>) -> Result<Report, ScriptError> {
        let mut report = Report::default();
        for statement in &self.statements {
            let added = add(edit, statement).map_err(|reason| fail(statement.line, reason))?;
            report.added.extend(added.map(Into::into));
        }
        self.add_functions(edit, &mut report)?;
        let mut blocks = Vec::new();
        for statement in &self.statements {
            blocks.push(match &statement.kind {
                Kind::At { action, code, .. } if *action != Action::Delete => {
                    Some(Block::new(code, edit).map_err(|(line, reason)| fail(line, reason))?)
                }
                _ => None,
            });
        }
        let object = edit.object();
        let mut planned = Vec::new();
        for (statement, block) in self.statements.iter().zip(&blocks) {
            let Kind::At { place, action, .. } = &statement.kind else { continue };
            let sites = place::resolve(object, place).map_err(|reason| fail(statement.line, reason))?;
            for site in sites {
                let planned_edit =
                    Planned { line: statement.line, action: *action, site, block: block.as_ref() };
                planned_edit.check(object)?;
                planned.push(planned_edit);
            }
        }
        make(edit, &planned, &mut report)?;
        Ok(report)
    }

    fn add_functions(&self, edit: &mut ObjectEditor<'_, '_>, report: &mut Report) -> Result<(), ScriptError> {
        for statement in &self.statements {
            let Kind::Func { name, params, code } = &statement.kind else { continue };
            let function = FunctionDef::new(name, *params);
            let block = function_block(edit, code)?;
            let (units, references) = block.units(&Claim::default());
            let here = |reason| fail(statement.line, reason);
            let added =
                edit.add_function(&function, Patch::new(&units)).map_err(|error| here(error.into()))?;
            let editor = edit.code(added.code).map_err(|error| here(error.into()))?;
            for (slot, reference) in references {
                let refused = |error| here(core_error("", error).into());
                editor.refer(added.inserted.at(slot), reference).map_err(refused)?;
            }
            report.added.push(name.clone());
        }
        Ok(())
    }
}

fn fail(line: usize, reason: ScriptReason) -> ScriptError {
    ScriptError { line, place: None, reason }
}

fn core_error(section: &str, error: Error) -> ElfError {
    ElfError::Code { section: section.into(), error: EditError::Core(error) }
}

impl From<ElfError> for ScriptReason {
    fn from(error: ElfError) -> Self {
        Self::Elf(error)
    }
}

/// Adds a variable or a map, and gives its name.
fn add<'s>(
    edit: &mut ObjectEditor<'_, '_>,
    statement: &'s Statement,
) -> Result<Option<&'s str>, ScriptReason> {
    match &statement.kind {
        Kind::Data { name, size } => {
            edit.add_data(&Data::zeroed(name, *size))?;
            Ok(Some(name))
        }
        Kind::Map { name, kind, key, value, max_entries, flags } => {
            let mut map = MapDef::new(name, *kind, *key, *value, *max_entries);
            map.map_flags = *flags;
            edit.add_map(&map)?;
            Ok(Some(name))
        }
        _ => Ok(None),
    }
}

/// The code of a function, in which no register is anybody else's.
fn function_block(edit: &ObjectEditor<'_, '_>, code: &Code) -> Result<Block, ScriptError> {
    let block = Block::new(code, edit).map_err(|(line, reason)| fail(line, reason))?;
    if !block.scratch().is_empty() {
        let reason = ScriptReason::Expected("registers by their numbers: all of them are free in a function");
        return Err(fail(code.line + 1, reason));
    }
    Ok(block)
}

impl Planned<'_> {
    fn place(&self) -> scratch::Place {
        let Site { first, last, .. } = self.site;
        match self.action {
            Action::Append => scratch::Place::After(last),
            Action::Replace => scratch::Place::Instead(first, last),
            _ => scratch::Place::Before(first),
        }
    }

    fn fail(&self, object: &Object<'_>, reason: ScriptReason) -> ScriptError {
        let place = Some(Box::new(object.place(self.site.code, self.site.first)));
        ScriptError { line: self.line, place, reason }
    }

    fn check(&self, object: &Object<'_>) -> Result<(), ScriptError> {
        if self.site.entry && self.action != Action::Prepend {
            let why = "an entry only takes prepend: name the instruction for anything else";
            return Err(self.fail(object, ScriptReason::NoAction(why)));
        }
        let section = &object.code()[self.site.code];
        if !section.parts()[section.subprogram_at(self.site.first)].is_analysed() {
            let why = "the function cannot be analysed, and is left as it stands";
            return Err(self.fail(object, ScriptReason::NoAction(why)));
        }
        let program = section.program();
        let last = program.insns[self.site.last as usize];
        if self.action == Action::Append && last.ends_flow() {
            return Err(self.fail(object, ScriptReason::NeverRuns));
        }
        Ok(())
    }
}

/// Makes all edits, section by section; the report has them in the order of the script.
fn make(
    edit: &mut ObjectEditor<'_, '_>,
    planned: &[Planned<'_>],
    report: &mut Report,
) -> Result<(), ScriptError> {
    let object = edit.object();
    let mut done: BTreeMap<usize, Edit> = BTreeMap::new();
    let Some(first) = planned.first() else { return Ok(()) };
    let graph_error = |(code, error): (usize, _)| {
        let at = planned.iter().find(|planned| planned.site.code == code).unwrap_or(first);
        at.fail(object, ScriptReason::Cfg(error))
    };
    let surroundings = Surroundings::new(object).map_err(graph_error)?;
    for code in 0..object.code().len() {
        let here = || planned.iter().enumerate().filter(move |(_, planned)| planned.site.code == code);
        if here().next().is_none() {
            continue;
        }
        let program = object.code()[code].program();
        let cfg = Cfg::new(program).map_err(|error| graph_error((code, error)))?;
        let mut context = surroundings.context(code);
        for (_, planned) in here() {
            let (reads, _) = planned.block.map(Block::named).unwrap_or_default();
            let Site { first, last, .. } = planned.site;
            let next = last + if program.insns[last as usize].is_wide() { 2 } else { 1 };
            let appends = planned.action == Action::Append && (next as usize) < program.insns.len();
            let at = if appends { next } else { first };
            let all = context.reads.entry(at).or_default();
            *all = RegSet::union(*all, reads);
        }
        let mut scratch = Scratch::new(program, &cfg, context);
        for (number, planned) in here() {
            let claim = match planned.block {
                Some(block) => scratch.claim(planned.place(), &block.request()),
                None => Ok(Claim::default()),
            };
            let claim = claim.map_err(|error| planned.fail(object, ScriptReason::Scratch(error.reason)))?;
            let edited = insert(edit, planned, &claim);
            let edited = edited.map_err(|error| planned.fail(object, ScriptReason::Elf(error)))?;
            done.insert(number, edited);
        }
    }
    report.edits.extend(done.into_values());
    Ok(())
}

/// Makes one edit.
fn insert(edit: &mut ObjectEditor<'_, '_>, planned: &Planned<'_>, claim: &Claim) -> Result<Edit, ElfError> {
    let object = edit.object();
    let Planned { site: Site { code, first, last, entry }, action, line, block } = *planned;
    let section = object.code()[code].name();
    let refused = |error| core_error(section, error);
    let (units, references) = block.map(|block| block.units(claim)).unwrap_or_default();
    let editor = edit.code(code)?;
    let list = editor.list();
    if !units.is_empty() {
        let patch = Patch::new(&units);
        let inserted = match action {
            Action::Append => list.append(Handle::new(last), patch),
            _ if entry => list.prepend_fallthrough(Handle::new(first), patch),
            // What replaces instructions stands before them, and they go.
            _ => list.prepend(Handle::new(first), patch),
        };
        let inserted = inserted.map_err(refused)?;
        for (slot, reference) in references {
            editor.refer(inserted.at(slot), reference).map_err(refused)?;
        }
    }
    let mut deleted = 0;
    if matches!(action, Action::Replace | Action::Delete) {
        let end = last + if object.code()[code].program().insns[last as usize].is_wide() { 2 } else { 1 };
        deleted = editor.list().delete_range(first..end).map_err(refused)? as usize;
    }
    let place = object.place(code, first);
    Ok(Edit { line, action, place, inserted: units.len(), deleted, spilled: claim.spilled })
}
