//! [`Object::reachable`]: which subprograms anything can get to.

use alloc::vec::Vec;

use object::elf;

use super::code::{Binding, CodeSection, Relocation};
use super::functions::{Part, displacements};
use super::object::{Object, Referent};

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
    /// refers to. What their code refers to, by relocation or by displacement, is reached too; and so is what
    /// lies between functions, if the function before it is.
    ///
    /// O(slots + relocations + symbols).
    #[must_use]
    pub fn reachable(&self) -> Reachable {
        self.search(false, &|_, _| true)
    }

    /// As [`reachable`](Object::reachable), but for instructions that `is_live` is false of, by code section and slot: as if
    /// they were deleted.
    pub(crate) fn reachable_by(&self, is_live: &dyn Fn(usize, u32) -> bool) -> Reachable {
        self.search(false, is_live)
    }

    /// Finds the subprograms that a loader loads unless it is told otherwise: programs, and what they refer to.
    ///
    /// O(slots + relocations + symbols).
    pub(crate) fn loaded(&self) -> Reachable {
        self.search(true, &|_, _| true)
    }

    fn search(&self, programs_only: bool, is_live: &dyn Fn(usize, u32) -> bool) -> Reachable {
        let state = self.code.iter().map(|code| alloc::vec![State::default(); code.program.subprogs.len()]);
        let mut search = Search {
            object: self,
            programs_only,
            is_live,
            found: Reachable { state: state.collect() },
            todo: Vec::new(),
        };
        search.visit_entries();
        search.visit_data();
        search.visit_front();
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
    /// Whether to begin with programs alone.
    programs_only: bool,
    /// Whether the instruction at a slot of a code section counts.
    is_live: &'a dyn Fn(usize, u32) -> bool,
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

    /// The functions that a loader may enter.
    fn visit_entries(&mut self) {
        for (index, code) in self.object.code.iter().enumerate() {
            let subprogs = &code.program.subprogs;
            let mut hidden = alloc::vec![self.programs_only; subprogs.len()];
            if self.programs_only {
                // `?` marks programs that are not loaded unless somebody asks for them.
                let is_program = code.name() != ".text" && !code.name().starts_with('?');
                hidden.fill(!is_program);
            } else if code.name() == ".text" {
                for function in code.functions.iter().filter(|function| function.start < code.len()) {
                    hidden[code.subprogram_at(function.start)] = true;
                }
                for function in code.functions.iter().filter(|function| function.binding != Binding::Local) {
                    hidden[code.subprogram_at(function.start)] = false;
                }
            }
            for ((&start, part), hidden) in subprogs.iter().zip(&code.parts).zip(hidden) {
                if !hidden && part.is_function() {
                    self.reach(index, start, true);
                }
            }
        }
    }

    /// What lies in front of all functions of a section stays there.
    fn visit_front(&mut self) {
        for (index, code) in self.object.code.iter().enumerate() {
            if code.parts.first() == Some(&Part::Between) {
                self.reach(index, 0, true);
            }
        }
    }

    fn visit_data(&mut self) {
        let object = self.object;
        object.each_data_reference(|code, slot| self.reach(code, slot, true));
    }

    fn visit_code(&mut self, id: SubprogramId, relocations: &[Relocation]) {
        let code: &CodeSection = &self.object.code[id.code];
        let range = code.subprogram_range(id.subprogram);
        let first = relocations.partition_point(|relocation| relocation.slot < range.start);
        let relocations = relocations[first..].iter().take_while(|relocation| relocation.slot < range.end);
        for relocation in relocations.filter(|relocation| (self.is_live)(id.code, relocation.slot)) {
            match self.object.referent(id.code, relocation) {
                Referent::Code { code, slot } => self.reach(code, slot, true),
                // It leads past the end, but what it is relative to has to stay.
                _ => self.reach_symbol(relocation.symbol),
            }
        }
        match code.parts[id.subprogram] {
            Part::Function(_) => {
                for (slot, target) in displacements(&code.program.insns[..range.end as usize], range.start) {
                    if !(self.is_live)(id.code, slot) {
                        continue;
                    }
                    if let Ok(target) = u32::try_from(target) {
                        self.reach(id.code, target, false);
                    }
                }
            }
            Part::LeftAlone(..) => {
                // A pass sees nothing of its references, and control may go on behind it.
                let covered = code.covered_at(range.start).map_or(&[][..], |covered| &covered.insns);
                for (_, target) in displacements(covered, 0) {
                    if let Ok(target) = u32::try_from(target + i64::from(range.start)) {
                        self.reach(id.code, target, true);
                    }
                }
                if covered.last().is_some_and(|last| !last.ends_flow()) {
                    self.reach(id.code, range.end, true);
                }
            }
            Part::Between => {}
        }
        // What lies behind a function stays with it.
        if code.parts.get(id.subprogram + 1) == Some(&Part::Between) {
            self.reach(id.code, range.end, true);
        }
    }

    fn reach_symbol(&mut self, symbol: usize) {
        let symbol = &self.object.image.symbols[symbol];
        let code = symbol.section.and_then(|section| self.object.code_of[section]);
        let slot = u32::try_from(symbol.value / 8).ok();
        if let Some((code, slot)) = code.zip(slot).filter(|_| symbol.kind() != elf::STT_SECTION) {
            self.reach(code, slot, true);
        }
    }
}
