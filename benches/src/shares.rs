//! Where the time of patching an object goes: the ELF layer, analysis, the list, linearization.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use relinear::bpf::{Bpf, Cpu, Insn, Program};
use relinear::elf::{Edit, Object};
use relinear::passes::{blind, dce};
use relinear::{Arena, Branch, Handle, Isa, Linear, List, Map, Patch, Target};
use serde::Serialize;

use crate::clock;
use crate::measure::median;
use crate::rows::nanos;

/// What the parts took, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Parts {
    /// Parsing, moving what refers to code, writing to memory.
    pub elf: u64,
    /// What the pass does beside its edits.
    pub analysis: u64,
    /// Making the list, and the edits.
    pub list: u64,
    /// Linearization.
    pub linearize: u64,
}

impl Parts {
    /// Their names and values.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 4] {
        [("ELF", self.elf), ("analysis", self.analysis), ("list", self.list), ("linearize", self.linearize)]
    }
}

/// The parts of one pass over one object.
#[derive(Clone, Debug, Serialize)]
pub struct ShareRow {
    /// Name of the object.
    pub object: String,
    /// Name of the pass.
    pub pass: &'static str,
    /// Slots of all its code.
    pub slots: usize,
    /// Medians.
    pub parts: Parts,
}

/// Measures objects in this process, files read before.
///
/// # Errors
///
/// If an object cannot be read or patched.
pub fn measure(objects: &[PathBuf], runs: usize) -> Result<Vec<ShareRow>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for path in objects {
        for pass in ["dce", "blind"] {
            rows.push(measure_one(path, pass, runs)?);
        }
    }
    Ok(rows)
}

fn measure_one(path: &Path, pass: &'static str, runs: usize) -> Result<ShareRow, Box<dyn Error>> {
    let file = std::fs::read(path)?;
    let mut samples = Vec::new();
    for _ in 0..runs {
        samples.push(patch(&file, pass)?);
    }
    let middle = |of: fn(&Parts) -> u64| median(&mut samples.iter().map(of).collect::<Vec<_>>());
    let object = Object::parse(&file)?;
    Ok(ShareRow {
        object: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        pass,
        slots: object.code().iter().map(|code| code.program().insns.len()).sum(),
        parts: Parts {
            elf: middle(|parts| parts.elf),
            analysis: middle(|parts| parts.analysis),
            list: middle(|parts| parts.list),
            linearize: middle(|parts| parts.linearize),
        },
    })
}

/// Patches an object once, as `relinear::elf::patch` does. What the edits of a pass take by themselves is
/// measured by making them again on a second list.
fn patch(file: &[u8], pass: &str) -> Result<Parts, Box<dyn Error>> {
    let mut parts = Parts::default();
    let mut before = clock::now();
    let mut since = || core::mem::replace(&mut before, clock::now()).abs_diff(before);
    let mut object = Object::parse(file)?;
    let reachable = object.reachable();
    parts.elf += since();
    let mut arena = Arena::new();
    let mut done = Vec::new();
    for (index, section) in object.code().iter().enumerate() {
        let program = section.program();
        let roots: Vec<u32> = reachable.roots(index).map(u32::try_from).collect::<Result<_, _>>()?;
        if roots.is_empty() {
            continue;
        }
        arena.reset();
        since();
        let mut list = List::<Bpf>::new(&arena, &program.insns)?;
        parts.list += since();
        if pass == "dce" {
            dce::run(program, &mut list, &dce::Options { roots: Some(roots) })?;
        } else {
            blind::run(program, &mut list, &blind::Options::default())?;
        }
        let with_edits = since();
        let mut linear = Linear::default();
        list.linearize_relaxed(&Cpu::V4, &mut linear)?;
        parts.linearize += since();
        drop(list);
        arena.reset();
        let mut list = List::<Bpf>::new(&arena, &program.insns)?;
        let edits = edits(program, &linear);
        since();
        again(&mut list, &edits)?;
        let edits = since();
        parts.list += edits;
        parts.analysis += with_edits.saturating_sub(edits);
        done.push((index, linear));
    }
    since();
    let edits = done.iter_mut().map(|(code, linear)| Edit {
        code: *code,
        insns: core::mem::take(&mut linear.units),
        map: &linear.map,
    });
    let edits = edits.collect();
    object.replace_codes(edits)?;
    core::hint::black_box(object.write()?);
    parts.elf += since();
    Ok(parts)
}

/// An edit that a pass has made: new units, none if it deleted.
struct Made {
    at: Handle,
    units: Vec<Insn>,
    branches: Vec<Branch>,
}

/// The edits that a linearization shows.
fn edits(program: &Program, linear: &Linear<Insn>) -> Vec<Made> {
    let (mut made, mut at) = (Vec::new(), 0);
    while at < linear.map.old_len() {
        let insn = &program.insns[at as usize..];
        let next = at + u32::try_from(insn[0].slots()).unwrap_or(1);
        let units = stands(&linear.map, linear, at, next);
        let same =
            |(old, new): (&Insn, &Insn)| (old.code, old.dst(), old.src()) == (new.code, new.dst(), new.src());
        let untouched = units.len() == (next - at) as usize && insn.iter().zip(units).all(same);
        if linear.map.is_deleted(at) || !untouched {
            let branch = |(unit, insn): (u32, &Insn)| {
                (Bpf.fields(core::slice::from_ref(insn)) != 0)
                    .then(|| Branch::new(unit, Target::Original(0)))
            };
            let branches = (0..).zip(units).filter_map(branch).collect();
            made.push(Made { at: Handle::new(at), units: units.to_vec(), branches });
        }
        at = next;
    }
    made
}

fn stands<'l>(map: &Map, linear: &'l Linear<Insn>, at: u32, next: u32) -> &'l [Insn] {
    if map.is_deleted(at) { &[] } else { &linear.units[map.new_of(at) as usize..map.new_of(next) as usize] }
}

fn again(list: &mut List<'_, Bpf>, edits: &[Made]) -> Result<(), relinear::Error> {
    for Made { at, units, branches } in edits {
        if units.is_empty() {
            list.delete(*at)?;
        } else {
            list.replace(*at, Patch::new(units).branches(branches))?;
        }
    }
    Ok(())
}

/// A table of all objects.
#[must_use]
pub fn markdown(rows: &[ShareRow]) -> String {
    let mut out = String::from(
        "| object | slots | pass | ELF | analysis | list | linearize |\n\
         | --- | ---: | --- | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let total = row.parts.named().iter().map(|(_, ns)| ns).sum::<u64>().max(1);
        let cells = row
            .parts
            .named()
            .map(|(_, ns)| format!("{} ({:.0} %)", nanos(ns), ns as f64 * 100.0 / total as f64));
        let _ = writeln!(out, "| {} | {} | {} | {} |", row.object, row.slots, row.pass, cells.join(" | "));
    }
    out
}
