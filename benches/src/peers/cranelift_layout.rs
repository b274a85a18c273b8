//! `cranelift_layout`: instructions in blocks, kept in order by `cranelift_codegen::ir::Layout`, as in
//! the compiler it comes from: every place that a branch leads to is the start of a block.

#![expect(clippy::cast_possible_truncation, reason = "programs fit in 32 bits")]

use cranelift_codegen::entity::{EntityRef, PrimaryMap, SecondaryMap};
use cranelift_codegen::ir::{Block, Inst, Layout};
use relinear::bpf::Insn;

use super::{Output, Peer};
use crate::branch;
use crate::work::{Edit, Kind, Work};

/// A slot.
struct Data {
    insn: Insn,
    /// Where it leads, unless that is in its patch.
    to: Option<Block>,
}

pub(super) struct CraneliftLayout {
    layout: Layout,
    data: PrimaryMap<Inst, Data>,
    /// The block that starts at each original slot.
    block: Vec<Option<Block>>,
    /// The second slot of each patch of the first pass, for passes that refer to it.
    made: Vec<Inst>,
    /// Where blocks went.
    offsets: SecondaryMap<Block, u32>,
    branches: Vec<(u32, Block)>,
    /// What tables need to follow original slots: the inserted slot that stands for each (the first of
    /// what was prepended, or what follows a deleted one), and where each slot went.
    stands_for: SecondaryMap<Inst, u32>,
    places: Vec<u32>,
    output: Output,
}

const NOWHERE: u32 = u32::MAX;

impl Default for CraneliftLayout {
    fn default() -> Self {
        Self {
            layout: Layout::new(),
            data: PrimaryMap::new(),
            block: Vec::new(),
            made: Vec::new(),
            offsets: SecondaryMap::new(),
            branches: Vec::new(),
            stands_for: SecondaryMap::new(),
            places: Vec::new(),
            output: Output::default(),
        }
    }
}

impl Peer for CraneliftLayout {
    fn run(&mut self, work: &Work) {
        self.create(work);
        for (number, pass) in work.passes.iter().enumerate() {
            let note = work.is_referred_to(number);
            for edit in &pass.edits {
                let inst = match pass.within {
                    None => Inst::new(edit.at as usize),
                    Some(unit) => Inst::new(self.made[edit.at as usize].index() + unit as usize - 1),
                };
                if note {
                    self.made.push(self.data.next_key());
                }
                self.make(work, edit, inst);
            }
        }
        self.emit(!work.lines.is_empty());
        if work.lines.is_empty() {
            self.output.move_tables(work, |old| old);
        } else {
            self.follow(work.program.len());
            let places = &self.places;
            self.output.move_tables(work, |old| places[old as usize]);
        }
        self.layout.clear();
        self.data.clear();
        self.made.clear();
        self.branches.clear();
        self.stands_for.clear();
    }

    fn output(&self) -> &Output {
        &self.output
    }
}

impl CraneliftLayout {
    fn create(&mut self, work: &Work) {
        let program = &work.program;
        self.block.clear();
        self.block.resize(program.len(), None);
        self.data.reserve(program.len());
        let mut blocks = 1;
        self.block[0] = Some(Block::new(0));
        for (insn, at) in program.iter().zip(0..) {
            let to = branch::is_branch(insn).then(|| {
                *self.block[branch::target(at, insn) as usize].get_or_insert_with(|| {
                    blocks += 1;
                    Block::new(blocks - 1)
                })
            });
            self.data.push(Data { insn: *insn, to });
        }
        let mut current = Block::new(0);
        for (at, start) in self.block.iter().enumerate() {
            if let Some(block) = *start {
                self.layout.append_block(block);
                current = block;
            }
            self.layout.append_inst(Inst::new(at), current);
        }
    }

    fn make(&mut self, work: &Work, edit: &Edit, inst: Inst) {
        match edit.kind {
            Kind::Delete => {
                let last = Inst::new(inst.index() + usize::from(edit.len) - 1);
                let next = self.layout.next_inst(last).map_or(0, Inst::index);
                if !work.lines.is_empty() && next >= work.program.len() {
                    self.stands_for[inst] = next as u32;
                }
                self.remove(inst.index()..inst.index() + usize::from(edit.len));
            }
            Kind::Replace => {
                self.remove(inst.index() + 1..inst.index() + usize::from(edit.len));
                let patch = work.patch(edit);
                let keep = patch.keep.map_or(usize::MAX, usize::from);
                let to = self.data[inst].to;
                let data = |unit| Data { insn: patch.units[unit], to: if unit == keep { to } else { None } };
                self.data[inst] = data(0);
                let next = self.layout.next_inst(inst);
                for unit in 1..patch.units.len() {
                    let new = self.data.push(data(unit));
                    if let Some(next) = next {
                        self.layout.insert_inst(new, next);
                    } else {
                        let block = self.layout.inst_block(inst).expect("it is in the layout");
                        self.layout.append_inst(new, block);
                    }
                }
            }
            Kind::Prepend => {
                if !work.lines.is_empty() {
                    self.stands_for[inst] = self.data.next_key().index() as u32;
                }
                for &insn in &work.patch(edit).units {
                    let new = self.data.push(Data { insn, to: None });
                    self.layout.insert_inst(new, inst);
                }
            }
        }
    }

    fn remove(&mut self, range: core::ops::Range<usize>) {
        for index in range {
            self.layout.remove_inst(Inst::new(index));
        }
    }

    fn emit(&mut self, note_places: bool) {
        let units = &mut self.output.units;
        units.clear();
        units.reserve(self.data.len());
        if note_places {
            self.places.clear();
            self.places.resize(self.data.len() + 1, NOWHERE);
        }
        for block in self.layout.blocks() {
            self.offsets[block] = units.len() as u32;
            for inst in self.layout.block_insts(block) {
                let Data { insn, to } = &self.data[inst];
                if let Some(to) = to {
                    self.branches.push((units.len() as u32, *to));
                }
                if note_places {
                    self.places[inst.index()] = units.len() as u32;
                }
                units.push(*insn);
            }
        }
        for &(at, block) in &self.branches {
            branch::aim(&mut units[at as usize], at, self.offsets[block]);
        }
    }

    /// Makes `places` say for each original slot where a branch to it lands.
    fn follow(&mut self, slots: usize) {
        let mut next = self.output.units.len() as u32;
        for at in (0..slots).rev() {
            let first = match self.stands_for[Inst::new(at)] {
                0 => at,
                first => first as usize,
            };
            if self.places[first] != NOWHERE {
                next = self.places[first];
            }
            self.places[at] = next;
        }
    }
}
