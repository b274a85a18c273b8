//! How much stack the rest of an object takes in the chains of calls that a section is in.

use alloc::vec;
use alloc::vec::Vec;

use super::functions::Part;
use super::object::{Object, Referent};
use super::refs::SubprogramId;
use crate::bpf::opcode::FRAME_POINTER;
use crate::bpf::{Cfg, CfgError, Frames, Insn, MAX_STACK, TAIL_CALL_STACK, is_tail_call};

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
    let tail_calls = object.code.iter().any(|code| code.as_written().iter().any(|insn| is_tail_call(*insn)));
    let limit = u32::from(if tail_calls { TAIL_CALL_STACK } else { MAX_STACK });
    let around = graph.around();
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

/// Who refers to whom. A node is a subprogram.
struct Graph {
    /// The first node of each code section, and one for the end.
    bases: Vec<usize>,
    /// For each code section, whether a relocation leads from it to code, or to it from code.
    linked: Vec<bool>,
    edges: Vec<Vec<usize>>,
    /// The bytes of stack of each node, at most.
    weights: Vec<u32>,
}

impl Graph {
    /// The graph of what relocations lead to.
    fn new(object: &Object<'_>) -> Self {
        let mut bases = vec![0];
        for code in &object.code {
            bases.push(bases[bases.len() - 1] + code.program.subprogs.len());
        }
        let nodes = bases[object.code.len()];
        let mut graph = Self {
            bases,
            linked: vec![false; object.code.len()],
            edges: vec![Vec::new(); nodes],
            weights: vec![0; nodes],
        };
        for (index, section) in object.code.iter().enumerate() {
            for relocation in &section.relocations {
                let Referent::Code { code, slot } = object.referent(index, relocation) else { continue };
                let from = SubprogramId { code: index, subprogram: section.subprogram_at(relocation.slot) };
                let to = SubprogramId { code, subprogram: object.code[code].subprogram_at(slot) };
                graph.link(from, to);
                (graph.linked[index], graph.linked[code]) = (true, true);
            }
        }
        graph
    }

    fn node(&self, id: SubprogramId) -> usize {
        self.bases[id.code] + id.subprogram
    }

    fn link(&mut self, from: SubprogramId, to: SubprogramId) {
        let (from, to) = (self.node(from), self.node(to));
        self.edges[from].push(to);
    }

    /// Adds what displacements lead to, and how much stack each node takes.
    fn weigh(&mut self, object: &Object<'_>) -> Result<(), (usize, CfgError)> {
        for (code, section) in object.code.iter().enumerate().filter(|(_, code)| code.len() != 0) {
            let program = section.program();
            let cfg = Cfg::new(program).map_err(|error| (code, error))?;
            for (subprogram, frame) in Frames::new(program, &cfg).all().iter().enumerate() {
                let from = SubprogramId { code, subprogram };
                let node = self.node(from);
                self.weights[node] = u32::from(frame.charged()) + GROWTH;
                for slot in section.subprogram_range(subprogram) {
                    let to = cfg.referenced(program, slot).map(|to| to as usize);
                    if let Some(subprogram) = to {
                        self.link(from, SubprogramId { code, subprogram });
                    }
                }
            }
        }
        Ok(())
    }

    /// For each node what the others of the heaviest chain through it weigh; `None` if there is a circle.
    fn around(&self) -> Option<Vec<u32>> {
        let order = self.order()?;
        let mut above = vec![0_u32; self.edges.len()];
        for &from in &order {
            for &to in &self.edges[from] {
                above[to] = above[to].max(above[from].saturating_add(self.weights[from]));
            }
        }
        let mut below = vec![0_u32; self.edges.len()];
        for &from in order.iter().rev() {
            let chains =
                self.edges[from].iter().map(|&to: &usize| below[to].saturating_add(self.weights[to]));
            below[from] = chains.max().unwrap_or_default();
        }
        Some(
            above
                .iter()
                .zip(&below)
                .map(|(above, below): (&u32, &u32)| above.saturating_add(*below))
                .collect(),
        )
    }

    /// The nodes, each before those it leads to.
    fn order(&self) -> Option<Vec<usize>> {
        let nodes = self.edges.len();
        let mut incoming = vec![0_u32; nodes];
        for &to in self.edges.iter().flatten() {
            incoming[to] += 1;
        }
        let mut order: Vec<usize> = (0..nodes).filter(|&node| incoming[node] == 0).collect();
        let mut next = 0;
        while let Some(&from) = order.get(next) {
            next += 1;
            for &to in &self.edges[from] {
                incoming[to] -= 1;
                if incoming[to] == 0 {
                    order.push(to);
                }
            }
        }
        (order.len() == nodes).then_some(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(weights: &[u32], edges: &[(usize, usize)]) -> Graph {
        let mut graph = Graph {
            bases: vec![0, weights.len()],
            linked: vec![true],
            edges: vec![Vec::new(); weights.len()],
            weights: weights.to_vec(),
        };
        for &(from, to) in edges {
            graph.edges[from].push(to);
        }
        graph
    }

    /// The weights of all chains that start at `from`, with whether they go through `by`.
    fn chains(graph: &Graph, from: usize, by: usize) -> Vec<(u32, bool)> {
        let rest = graph.edges[from].iter().flat_map(|&to| chains(graph, to, by));
        let rest: Vec<_> = core::iter::once((0, false)).chain(rest).collect();
        rest.iter().map(|&(weight, seen)| (weight + graph.weights[from], seen || from == by)).collect()
    }

    #[test]
    fn the_heaviest_chain_around_each_node_is_that_of_all_chains() {
        let edges = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (5, 3), (5, 6), (0, 1)];
        for weights in [[1, 2, 4, 8, 16, 32, 64], [64, 1, 1, 1, 1, 1, 200], [0, 7, 7, 0, 9, 9, 1]] {
            let graph = graph(&weights, &edges);
            let around = graph.around().expect("it has no circle");
            for node in 0..weights.len() {
                let all = (0..weights.len()).flat_map(|from| chains(&graph, from, node));
                let heaviest = all.filter(|&(_, through)| through).map(|(weight, _)| weight).max();
                assert_eq!(Some(around[node] + weights[node]), heaviest, "{node}");
            }
        }
    }

    #[test]
    fn a_circle_is_seen() {
        assert_eq!(graph(&[1, 1, 1], &[(0, 1), (1, 2), (2, 1)]).around(), None);
        assert_eq!(graph(&[1], &[(0, 0)]).around(), None);
    }
}
