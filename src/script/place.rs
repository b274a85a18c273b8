//! Places of a script to instructions of an object.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::parse::plain;
use super::{Place, ScriptReason, What};
use crate::bpf::opcode::CALL_HELPER;
use crate::bpf::{Bpf, Insn, helper};
use crate::core::Isa;
use crate::elf::{CodeSection, Object, R_BPF_64_32, Referent, Relocation};

/// Instructions that a place means: one, or a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Site {
    /// Which code section.
    pub(super) code: usize,
    /// The slot of the first instruction.
    pub(super) first: u32,
    /// That of the last one.
    pub(super) last: u32,
    /// Whether it is the entry of a function, and not only its first instruction.
    pub(super) entry: bool,
}

/// The instructions that a place means, in the order of the object. O(size of the object).
pub(super) fn resolve(object: &Object<'_>, place: &Place) -> Result<Vec<Site>, ScriptReason> {
    let sites = match place {
        Place::Line { file, line } => of_line(object, file, *line),
        Place::Of { function, what } => {
            let mut sites = Vec::new();
            let mut found = false;
            for (code, section) in object.code().iter().enumerate() {
                let named = section.functions().iter().filter(|candidate| *candidate.name == **function);
                let starts: BTreeSet<u32> = named.map(|function| function.start).collect();
                for start in starts {
                    found = true;
                    sites.extend(in_function(object, code, start, what)?);
                }
            }
            if !found {
                return Err(ScriptReason::NoFunction(function.clone()));
            }
            sites
        }
    };
    if sites.is_empty() { Err(ScriptReason::NoMatch) } else { Ok(sites) }
}

fn in_function(object: &Object<'_>, code: usize, start: u32, what: &What) -> Result<Vec<Site>, ScriptReason> {
    let section = &object.code()[code];
    let program = section.program();
    let range = section.subprogram_range(section.subprogram_at(start));
    let one = |at| Site { code, first: at, last: at, entry: false };
    let matching = |is_it: &dyn Fn(u32) -> bool| {
        let insns = section.insns(range.clone()).map(|(at, _)| at);
        insns.filter(|&at| is_it(at)).map(one).collect()
    };
    Ok(match what {
        What::Entry => vec![Site { entry: true, ..one(start) }],
        What::Exit => matching(&|at| program.insns[at as usize].is_exit()),
        What::Call(name) => {
            let number = helper::number(name);
            let relocated: BTreeSet<u32> = section
                .relocations()
                .iter()
                .filter(|of| {
                    of.kind == R_BPF_64_32 && callee(object, code, of).is_some_and(|found| found == *name)
                })
                .map(|of| of.slot)
                .collect();
            matching(&|at| {
                let insn = program.insns[at as usize];
                let by_number = insn.is_call() && insn.src() == CALL_HELPER && Some(insn.imm) == number;
                by_number || relocated.contains(&at) || local_callee(section, at) == Some(name)
            })
        }
        What::Label(number) => {
            let at = labels(section).into_iter().nth(*number as usize - usize::from(*number > 0));
            let here = at.filter(|at| *number > 0 && range.contains(at));
            here.map(one).into_iter().collect()
        }
        What::Insns(first, last) => {
            let whole =
                |at: &u32| range.contains(at) && section.insns(range.clone()).any(|(slot, _)| slot == *at);
            if !whole(first) || !whole(last) {
                let last = range.end.saturating_sub(1);
                return Err(ScriptReason::NotInFunction { first: range.start, last });
            }
            vec![Site { code, first: *first, last: *last, entry: false }]
        }
    })
}

/// What a relocated call calls.
fn callee(object: &Object<'_>, code: usize, relocation: &Relocation) -> Option<String> {
    match object.referent(code, relocation) {
        Referent::Code { code, slot } => object.code()[code].function_name(slot).map(ToString::to_string),
        _ => Some(plain(&object.symbol_name(relocation.symbol)).to_string()),
    }
}

/// The function that a call by displacement calls.
fn local_callee(section: &CodeSection, at: u32) -> Option<&str> {
    let insns = &section.program().insns[at as usize..];
    let calls = insns[0].is_call() && Bpf.fields(insns) != 0;
    let to = i64::from(at) + Bpf.base(insns, 0) + Bpf.read(insns, 0);
    let to = u32::try_from(to).ok().filter(|_| calls)?;
    section.functions().iter().find(|function| function.start == to).map(|function| function.name.as_str())
}

/// The slots that jumps of a section lead to, ascending: `L1` is the first one.
fn labels(section: &CodeSection) -> BTreeSet<u32> {
    let len = u32::try_from(section.program().insns.len()).unwrap_or(u32::MAX);
    let target = |(at, insn): (u32, &[Insn])| {
        let to = insn[0].is_jump().then(|| i64::from(at) + Bpf.base(insn, 0) + Bpf.read(insn, 0))?;
        u32::try_from(to).ok()
    };
    section.insns(0..len).filter_map(target).collect()
}

/// The runs of instructions of a source line.
fn of_line(object: &Object<'_>, file: &str, line: u32) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    for (code, section) in object.code().iter().enumerate() {
        let records: Vec<(u32, bool)> = section
            .line_info()
            .map(|record| {
                let source = object.source_line(&record);
                (record.slot, source.is_some_and(|source| source.line == line && is_file(&source.file, file)))
            })
            .collect();
        for subprogram in 0..section.program().subprogs.len() {
            let range = section.subprogram_range(subprogram);
            let mut before = false;
            for (at, _) in section.insns(range.clone()) {
                let record = records.partition_point(|&(slot, _)| slot <= at).checked_sub(1);
                let (_, here) = record.map_or((0, false), |record| records[record]);
                let here = here && record.is_some_and(|record| records[record].0 >= range.start);
                match sites.last_mut() {
                    Some(site) if here && before => site.last = at,
                    _ if here => sites.push(Site { code, first: at, last: at, entry: false }),
                    _ => {}
                }
                before = here;
            }
        }
    }
    sites
}

/// Whether a path ends with the parts of another one.
fn is_file(path: &str, end: &str) -> bool {
    let rest = path.strip_suffix(end);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}
