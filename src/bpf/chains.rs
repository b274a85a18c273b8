//! [`Chains`]: how deep the stack gets in chains of calls.

use alloc::vec;
use alloc::vec::Vec;

use super::{Cfg, Frames, MAX_STACK, Program, TAIL_CALL_STACK, is_tail_call};

/// The kernel counts the stack of a frame in whole multiples of this many bytes.
const STEP: u32 = 32;

/// The most steps by which a frame may grow.
const MOST_STEPS: u32 = 4;

/// Which subprograms refer to which, and how many bytes of stack the frame of each one takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chains {
    /// For each subprogram those that it calls, or whose addresses it takes.
    pub(crate) edges: Vec<Vec<usize>>,
    /// The bytes of stack of each one, at most.
    pub(crate) weights: Vec<u32>,
}

impl Chains {
    /// `count` subprograms that refer to none, with empty frames.
    pub(crate) fn new(count: usize) -> Self {
        Self { edges: vec![Vec::new(); count], weights: vec![0; count] }
    }

    /// Those of a program. O(slots).
    pub(crate) fn of<T>(program: &Program<T>, cfg: &Cfg, frames: &Frames) -> Self {
        let mut chains = Self::new(cfg.subprogs() as usize);
        chains.add(0, program, cfg, frames);
        chains
    }

    /// Adds the frames of a program, and what its displacements lead to. Its first subprogram is `base` here.
    pub(crate) fn add<T>(&mut self, base: usize, program: &Program<T>, cfg: &Cfg, frames: &Frames) {
        for (subprog, frame) in frames.all().iter().enumerate() {
            self.weights[base + subprog] = u32::from(frame.charged());
        }
        for block in cfg.blocks() {
            for at in block.insns(program) {
                if let Some(to) = cfg.referenced(program, at) {
                    self.edges[base + block.subprog as usize].push(base + to as usize);
                }
            }
        }
    }

    /// By how many bytes the frame of each subprogram may grow, whatever others grow by, so that no chain of calls
    /// takes more than `limit` bytes. 0 for all if calls form a circle.
    ///
    /// A frame gets the most steps that fit if all frames of its chains grow by as many. So a chain whose frames
    /// have different numbers fits, too: it fits with the highest of them for all.
    ///
    /// O(subprograms + references).
    pub(crate) fn growths(&self, limit: u32) -> Vec<u16> {
        let mut growths = vec![0; self.weights.len()];
        for growth in (1..=MOST_STEPS).map(|steps| steps * STEP) {
            let grown = Self {
                edges: self.edges.clone(),
                weights: self.weights.iter().map(|weight| weight + growth).collect(),
            };
            let Some(around) = grown.around() else { break };
            for ((around, weight), most) in around.iter().zip(&grown.weights).zip(&mut growths) {
                if around.saturating_add(*weight) <= limit {
                    *most = u16::try_from(growth).unwrap_or(u16::MAX);
                }
            }
        }
        growths
    }

    /// For each subprogram what the others of the heaviest chain through it weigh; `None` if there is a circle.
    pub(crate) fn around(&self) -> Option<Vec<u32>> {
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
        let sums = above.iter().zip(&below).map(|(above, below)| above.saturating_add(*below));
        Some(sums.collect())
    }

    /// The subprograms, each before those it refers to.
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

/// The bytes of stack that a chain of calls of a program may take: fewer if it calls subprograms and makes tail calls.
pub(super) fn stack_limit<T>(program: &Program<T>) -> u16 {
    let tail_calls = program.subprogs.len() > 1 && program.insns.iter().any(|insn| is_tail_call(*insn));
    if tail_calls { TAIL_CALL_STACK } else { MAX_STACK }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(weights: &[u32], edges: &[(usize, usize)]) -> Chains {
        let mut chains = Chains::new(weights.len());
        chains.weights = weights.to_vec();
        for &(from, to) in edges {
            chains.edges[from].push(to);
        }
        chains
    }

    /// All chains from `from` on, each with the subprograms on it.
    fn chains(graph: &Chains, from: usize) -> Vec<Vec<usize>> {
        let rest = graph.edges[from].iter().flat_map(|&to| chains(graph, to));
        let with_from = |rest: Vec<usize>| [&[from][..], &rest].concat();
        core::iter::once(vec![from]).chain(rest.map(with_from)).collect()
    }

    const EDGES: [(usize, usize); 8] = [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4), (5, 3), (5, 6), (0, 1)];
    const WEIGHTS: [[u32; 7]; 3] =
        [[1, 2, 4, 8, 16, 32, 64], [64, 1, 1, 1, 1, 1, 200], [0, 7, 7, 0, 9, 9, 1]];

    #[test]
    fn the_heaviest_chain_around_each_subprogram_is_that_of_all_chains() {
        for weights in WEIGHTS {
            let graph = graph(&weights, &EDGES);
            let around = graph.around().expect("it has no circle");
            let all: Vec<_> = (0..weights.len()).flat_map(|from| chains(&graph, from)).collect();
            for node in 0..weights.len() {
                let through = all.iter().filter(|chain| chain.contains(&node));
                let heaviest = through.map(|chain| chain.iter().map(|&at| weights[at]).sum::<u32>()).max();
                assert_eq!(Some(around[node] + weights[node]), heaviest, "{node}");
            }
        }
    }

    #[test]
    fn chains_of_grown_frames_fit_and_no_frame_could_grow_more_with_all_others() {
        for weights in WEIGHTS {
            for limit in (0..400).step_by(7) {
                let graph = graph(&weights, &EDGES);
                let growths = graph.growths(limit);
                for chain in (0..weights.len()).flat_map(|from| chains(&graph, from)) {
                    let sum = |growth: &dyn Fn(usize) -> u32| -> u32 {
                        chain.iter().map(|&at| weights[at] + growth(at)).sum()
                    };
                    let grown = sum(&|at| growths[at].into());
                    assert!(grown <= limit || chain.iter().all(|&at| growths[at] == 0), "{chain:?} {limit}");
                }
                for (node, &growth) in growths.iter().enumerate().filter(|(_, growth)| **growth < 128) {
                    let more = u32::from(growth) + STEP;
                    let too_much = (0..weights.len()).flat_map(|from| chains(&graph, from)).any(|chain| {
                        chain.contains(&node)
                            && chain.iter().map(|&at| weights[at] + more).sum::<u32>() > limit
                    });
                    assert!(too_much, "{node} {limit}");
                }
            }
        }
    }

    #[test]
    fn no_frame_of_a_circle_grows() {
        let circle = graph(&[1, 1, 1], &[(0, 1), (1, 2), (2, 1)]);
        assert_eq!((circle.around(), circle.growths(512)), (None, vec![0; 3]));
        assert_eq!(graph(&[1], &[(0, 0)]).around(), None);
    }
}
