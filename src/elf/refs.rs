//! [`Object::reachable`]: which subprograms anything can get to.

use alloc::vec::Vec;

use super::bytes::Bytes;
use super::code::{
    Binding, CodeSection, R_BPF_64_ABS32, R_BPF_64_ABS64, R_BPF_64_NODYLD32, Relocation, is_debug,
};
use super::object::{Object, Referent};
use crate::Isa;
use crate::bpf::Bpf;

/// A subprogram of an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SubprogramId {
    /// Which of [`Object::code`].
    pub code: usize,
    /// Which of the subprograms of its [`program`](CodeSection::program).
    pub subprogram: usize,
}

/// Which subprograms anything can get to, and from where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reachable {
    /// For each code section, for each subprogram: what is known.
    state: Vec<Vec<State>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct State {
    reached: bool,
    /// Something reaches it other than a displacement.
    root: bool,
}

impl Reachable {
    /// Whether anything can get to the subprogram.
    ///
    /// # Panics
    ///
    /// If there is none of that number.
    #[must_use]
    pub fn is_reached(&self, id: SubprogramId) -> bool {
        self.state[id.code][id.subprogram].reached
    }

    /// The subprograms of code section `code` that are reached otherwise than by a displacement in that
    /// section: programs, global functions, and what a relocation in reached code, or one in data, names.
    ///
    /// These are where an analysis of the section's program has to start.
    ///
    /// # Panics
    ///
    /// If there is no such code section.
    pub fn roots(&self, code: usize) -> impl Iterator<Item = usize> {
        let states = self.state[code].iter().enumerate();
        states.filter(|(_, state)| state.root).map(|(subprogram, _)| subprogram)
    }

    /// The subprograms that nothing can get to.
    pub fn unreached(&self) -> impl Iterator<Item = SubprogramId> {
        let all = self.state.iter().enumerate();
        all.flat_map(|(code, states)| {
            let dead = states.iter().enumerate().filter(|(_, state)| !state.reached);
            dead.map(move |(subprogram, _)| SubprogramId { code, subprogram })
        })
    }
}

impl Object<'_> {
    /// Finds the subprograms that anything can get to, in the code as it is now.
    ///
    /// Every subprogram of a section other than `.text` is a program of its own, which a loader may load.
    /// So is, in `.text`, one with a global or weak symbol, one without any symbol, and one that data
    /// refers to. What their code refers to, by relocation or by displacement, is reached too.
    ///
    /// O(slots + relocations + symbols).
    #[must_use]
    pub fn reachable(&self) -> Reachable {
        let state = self.code.iter().map(|code| alloc::vec![State::default(); code.program.subprogs.len()]);
        let mut search =
            Search { object: self, found: Reachable { state: state.collect() }, todo: Vec::new() };
        search.visit_entries();
        search.visit_data();
        // Sorted by slot, so that those of a subprogram are a range.
        let mut relocations: Vec<Vec<Relocation>> =
            self.code.iter().map(|code| code.relocations.clone()).collect();
        for of_section in &mut relocations {
            of_section.sort_by_key(|relocation| relocation.slot);
        }
        while let Some(id) = search.todo.pop() {
            search.visit_code(id, &relocations[id.code]);
        }
        search.found
    }
}

struct Search<'a> {
    object: &'a Object<'a>,
    found: Reachable,
    todo: Vec<SubprogramId>,
}

impl Search<'_> {
    fn reach(&mut self, code: usize, slot: u32, root: bool) {
        let found = &self.object.code[code];
        if slot >= found.len() {
            return;
        }
        let subprogram = found.subprogram_at(slot);
        let state = &mut self.found.state[code][subprogram];
        state.root |= root;
        if !core::mem::replace(&mut state.reached, true) {
            self.todo.push(SubprogramId { code, subprogram });
        }
    }

    fn visit_entries(&mut self) {
        for (index, code) in self.object.code.iter().enumerate() {
            let mut hidden = alloc::vec![false; code.program.subprogs.len()];
            if code.name() == ".text" {
                for function in &code.functions {
                    hidden[code.subprogram_at(function.start)] = true;
                }
                for function in code.functions.iter().filter(|function| function.binding != Binding::Local) {
                    hidden[code.subprogram_at(function.start)] = false;
                }
            }
            for (&start, hidden) in code.program.subprogs.iter().zip(hidden) {
                if !hidden {
                    self.reach(index, start, true);
                }
            }
        }
    }

    /// Relocations in data. Those in `.BTF` and `.BTF.ext` describe code; they do not run it.
    fn visit_data(&mut self) {
        let image = &self.object.image;
        for (_, of, relocs) in image.relocs() {
            let section = &image.sections[of];
            if self.object.code_of[of].is_some() || is_debug(section) || section.name.starts_with(b".BTF") {
                continue;
            }
            let data = Bytes::new(section.data().unwrap_or_default(), image.endian);
            for reloc in relocs {
                let symbol = &image.symbols[reloc.symbol];
                let Some(code) = symbol.section.and_then(|section| self.object.code_of[section]) else {
                    continue;
                };
                let addend = usize::try_from(reloc.offset).ok().and_then(|at| match reloc.kind {
                    R_BPF_64_ABS64 => data.u64(at),
                    R_BPF_64_ABS32 | R_BPF_64_NODYLD32 => data.u32(at).map(u64::from),
                    _ => None,
                });
                let target = addend.and_then(|addend| symbol.value.checked_add(addend));
                if let Some(slot) = target.and_then(|target| u32::try_from(target / 8).ok()) {
                    self.reach(code, slot, true);
                }
            }
        }
    }

    fn visit_code(&mut self, id: SubprogramId, relocations: &[Relocation]) {
        let code: &CodeSection = &self.object.code[id.code];
        let range = code.subprogram_range(id.subprogram);
        let first = relocations.partition_point(|relocation| relocation.slot < range.start);
        for relocation in relocations[first..].iter().take_while(|relocation| relocation.slot < range.end) {
            if let Referent::Code { code, slot } = self.object.referent(id.code, relocation) {
                self.reach(code, slot, true);
            }
        }
        for slot in range {
            let insn = [code.insn(slot)];
            if Bpf::fields(&insn) != 0 {
                let target = i64::from(slot) + Bpf::base(&insn, 0) + Bpf::read(&insn, 0);
                if let Ok(target) = u32::try_from(target) {
                    self.reach(id.code, target, false);
                }
            }
        }
    }
}
