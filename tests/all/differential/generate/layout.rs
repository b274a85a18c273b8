//! Puts blocks one after the other, and line records at some of their instructions.

use relinear::Isa;
use relinear::bpf::opcode::GOTO;
use relinear::bpf::{Aux, Bpf, FuncInfo, Insn, LineInfo};

use super::{Block, Config, Function, Op, Role, Sample, To, goto};
use crate::differential::btf;
use crate::differential::image::Image;
use crate::random::{Rng, slot};

pub(super) fn lay_out(rng: &mut Rng, config: &Config, functions: &[Function]) -> Sample {
    let mut writer = Writer::default();
    // Functions but the first one may come in any order.
    let mut order: Vec<usize> = (0..functions.len()).collect();
    if config.shuffle {
        shuffle(rng, &mut order[1..]);
    }
    let mut starts = vec![0; functions.len()];
    for number in order {
        starts[number] = writer.insns.len();
        writer.funcs.push(FuncInfo {
            insn_off: slot(writer.insns.len()),
            type_id: btf::function(number, functions[number].role == Role::Global),
        });
        writer.function(rng, config, &functions[number].blocks);
    }
    for (at, function) in writer.calls.clone() {
        writer.lead(at, starts[function]);
    }
    let lines = writer.lines(rng);
    let Writer { insns, facts, funcs, .. } = writer;
    Sample { hook: config.hook, flags: config.flags, image: Image { insns, lines, funcs }, facts }
}

#[derive(Default)]
struct Writer {
    insns: Vec<Insn>,
    facts: Vec<Aux>,
    funcs: Vec<FuncInfo>,
    /// Instructions, and the functions that they lead to.
    calls: Vec<(usize, usize)>,
}

impl Writer {
    fn function(&mut self, rng: &mut Rng, config: &Config, blocks: &[Block]) {
        let mut order: Vec<usize> = (0..blocks.len()).collect();
        if config.shuffle && rng.one_in(2) {
            shuffle(rng, &mut order[1..]);
        } else if config.shuffle {
            // Only two, so that most of the rest falls through.
            let (a, b) = (rng.below(blocks.len()), rng.below(blocks.len()));
            if a > 0 && b > 0 {
                order.swap(a, b);
            }
        }
        let mut starts = vec![0; blocks.len()];
        let mut jumps = Vec::new();
        for (place, number) in order.iter().enumerate() {
            starts[*number] = self.insns.len();
            let block = &blocks[*number];
            for op in &block.ops {
                match op.to {
                    Some(To::Block(to)) => jumps.push((self.insns.len(), to)),
                    Some(To::Function(function)) => self.calls.push((self.insns.len(), function)),
                    None => {}
                }
                self.push(op);
            }
            let Some(then) = block.then else { continue };
            let falls = order.get(place + 1) == Some(&then);
            if !falls || (config.nops && rng.one_in(8)) {
                jumps.push((self.insns.len(), then));
                // The verifier wants a function to end with an `exit` or a `goto`.
                let insn =
                    if place + 1 == order.len() { Insn::new(GOTO, 0, 0, 0, 0) } else { goto(rng, config) };
                let fact = Aux { seen: block.goes_on, zext_dst: false, user: () };
                self.push(&Op { slots: vec![insn], to: None, fact });
            }
        }
        for (at, to) in jumps {
            self.lead(at, starts[to]);
        }
    }

    fn push(&mut self, op: &Op) {
        self.insns.extend(&op.slots);
        self.facts.extend(op.slots.iter().map(|_| op.fact));
    }

    /// Makes the instruction at `at` lead to `to`.
    fn lead(&mut self, at: usize, to: usize) {
        let displacement = i64::from(slot(to)) - i64::from(slot(at)) - 1;
        Bpf.write(&mut self.insns[at..], 0, displacement);
    }

    /// At the start of each function, and at each, some or no other instruction; or there are none at all.
    fn lines(&self, rng: &mut Rng) -> Vec<LineInfo> {
        let mut lines = Vec::new();
        let chances = [1, 2, 4, 16, usize::MAX][rng.below(5)];
        if rng.one_in(12) {
            return lines;
        }
        let mut at = 0;
        while at < self.insns.len() {
            let starts = self.funcs.iter().any(|func| func.insn_off as usize == at);
            if starts || (chances < usize::MAX && rng.one_in(chances)) {
                let mut string = || btf::STRINGS[rng.below(btf::STRINGS.len())];
                let (file_name_off, line_off) = (string(), string());
                // The column tells which one it is.
                lines.push(LineInfo {
                    insn_off: slot(at),
                    file_name_off,
                    line_off,
                    line_col: (slot(at) + 1) << 10 | 7,
                });
            }
            at += self.insns[at].slots();
        }
        lines
    }
}

fn shuffle<T>(rng: &mut Rng, all: &mut [T]) {
    for at in (1..all.len()).rev() {
        all.swap(at, rng.below(at + 1));
    }
}
