//! How much stack the rest of an object takes in the chains of calls that a section is in.

use alloc::vec;
use alloc::vec::Vec;

use super::functions::Part;
use super::object::{Object, Referent};
use super::refs::SubprogramId;
use crate::bpf::opcode::FRAME_POINTER;
use crate::bpf::{Cfg, CfgError, Chains, Frames, Insn, MAX_STACK, TAIL_CALL_STACK, is_tail_call};

/// What a frame may grow by when one register is spilled to it: the kernel counts in whole 32s.
const GROWTH: u32 = 32;

/// For each code section the bytes of stack that its own frames may have together, so that no chain of
/// calls through other sections has more than the kernel allows. 0 where calls form a circle.
///
/// Only relocations lead from one section to another, so a section without any is not limited by others.
///
/// O(slots + relocations). The error has the code section that it is in.
pub(crate) fn stack_budgets(object: &Object<'_>) -> Result<Vec<u16>, (usize, CfgError)> {
    let mut graph = Graph::new(object);
    if !graph.linked.contains(&true) {
        return Ok(limit_around_unknown(object, vec![MAX_STACK; object.code.len()]));
    }
    graph.weigh(object)?;
    graph.chains.weights.iter_mut().for_each(|weight| *weight += GROWTH);
    let limit = limit(object);
    let around = graph.chains.around();
    let budgets = graph.bases.windows(2).zip(&graph.linked).map(|(range, &linked)| {
        let most = match &around {
            _ if !linked => return MAX_STACK,
            Some(around) => around[range[0]..range[1]].iter().max().copied().unwrap_or_default(),
            None => limit,
        };
        u16::try_from(limit.saturating_sub(most)).unwrap_or(MAX_STACK)
    });
    Ok(limit_around_unknown(object, budgets.collect()))
}

impl Object<'_> {
    /// By how many bytes the stack frame of each subprogram may grow, for each code section, whatever other frames
    /// grow by, so that no chain of calls has more stack than the kernel allows: 512 bytes, or 256 with tail calls.
    ///
    /// O(slots + relocations).
    ///
    /// # Errors
    ///
    /// The code section whose code has no control flow graph, and why.
    pub fn stack_growths(&self) -> Result<Vec<Vec<u16>>, (usize, CfgError)> {
        let mut graph = Graph::new(self);
        graph.weigh(self)?;
        let growths = graph.chains.growths(limit(self));
        let budgets = limit_around_unknown(self, vec![MAX_STACK; self.code.len()]);
        let ranges = graph.bases.windows(2).zip(budgets);
        let of_section = |(range, budget): (&[usize], u16)| {
            growths[range[0]..range[1]].iter().map(|growth| *growth.min(&budget)).collect()
        };
        Ok(ranges.map(of_section).collect())
    }
}

/// Lets no frame grow where a function that is left alone is in a chain of calls: how much stack it takes, and whom it
/// calls, is not known.
fn limit_around_unknown(object: &Object<'_>, mut budgets: Vec<u16>) -> Vec<u16> {
    for (index, section) in object.code.iter().enumerate() {
        for (subprogram, part) in section.parts.iter().enumerate() {
            let range = section.subprogram_range(subprogram);
            let unknown = matches!(part, Part::LeftAlone(..));
            let uses =
                |insn: &Insn| insn.is_call() || insn.src() == FRAME_POINTER || insn.dst() == FRAME_POINTER;
            if !unknown
                || !section.covered_at(range.start).is_some_and(|covered| covered.insns.iter().any(uses))
            {
                continue;
            }
            budgets[index] = 0;
            for relocation in section.relocations.iter().filter(|of| range.contains(&of.slot)) {
                if let Referent::Code { code, .. } = object.referent(index, relocation) {
                    budgets[code] = 0;
                }
            }
        }
    }
    budgets
}

/// The bytes that a chain of calls may have.
fn limit(object: &Object<'_>) -> u32 {
    let tail_calls = object.code.iter().any(|code| code.as_written().iter().any(|insn| is_tail_call(*insn)));
    u32::from(if tail_calls { TAIL_CALL_STACK } else { MAX_STACK })
}

/// Who refers to whom. A node is a subprogram.
struct Graph {
    /// The first node of each code section, and one for the end.
    bases: Vec<usize>,
    /// For each code section, whether a relocation leads from it to code, or to it from code.
    linked: Vec<bool>,
    chains: Chains,
}

impl Graph {
    /// The graph of what relocations lead to.
    fn new(object: &Object<'_>) -> Self {
        let mut bases = vec![0];
        for code in &object.code {
            bases.push(bases[bases.len() - 1] + code.program.subprogs.len());
        }
        let nodes = bases[object.code.len()];
        let mut graph = Self { bases, linked: vec![false; object.code.len()], chains: Chains::new(nodes) };
        for (index, section) in object.code.iter().enumerate() {
            for relocation in &section.relocations {
                let Referent::Code { code, slot } = object.referent(index, relocation) else { continue };
                let from = SubprogramId { code: index, subprogram: section.subprogram_at(relocation.slot) };
                let to = SubprogramId { code, subprogram: object.code[code].subprogram_at(slot) };
                let (from, to) = (graph.node(from), graph.node(to));
                graph.chains.edges[from].push(to);
                (graph.linked[index], graph.linked[code]) = (true, true);
            }
        }
        graph
    }

    fn node(&self, id: SubprogramId) -> usize {
        self.bases[id.code] + id.subprogram
    }

    /// Adds what displacements lead to, and how much stack each node takes.
    fn weigh(&mut self, object: &Object<'_>) -> Result<(), (usize, CfgError)> {
        for (code, section) in object.code.iter().enumerate().filter(|(_, code)| code.len() != 0) {
            let program = section.program();
            let cfg = Cfg::new(program).map_err(|error| (code, error))?;
            self.chains.add(self.bases[code], program, &cfg, &Frames::new(program, &cfg));
        }
        Ok(())
    }
}
