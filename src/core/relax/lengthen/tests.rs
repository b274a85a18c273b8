//! Which branches need a longer form, against looking at all of them again and again.

use std::vec;

use proptest::prelude::*;

use super::super::edges::Reach;
use super::*;
use crate::core::Handle;

/// A branch: how many units lie between it and the one before, how many it would grow by, and up to two
/// fields: where each leads, and how far it reaches back and ahead.
#[derive(Debug, Clone)]
struct Case {
    gap: u32,
    growth: Option<u32>,
    fields: Vec<(u32, i64, i64)>,
}

fn cases() -> impl Strategy<Value = Vec<Case>> {
    let field = (0_u32..200, 0_i64..60, 0_i64..60);
    let case = (1_u32..6, proptest::option::weighted(0.9, 0_u32..5), prop::collection::vec(field, 1..3));
    prop::collection::vec(case.prop_map(|(gap, growth, fields)| Case { gap, growth, fields }), 1..50)
}

fn edges(cases: &[Case]) -> (Vec<Edge>, Vec<Option<u32>>) {
    let (mut edges, mut growth, mut from) = (vec![], vec![], 0);
    for case in cases {
        from += case.gap;
        for (&(to, back, ahead), field) in case.fields.iter().zip(0..) {
            let (branch, target) = (Handle::new(from), Handle::new(to));
            let reach = Reach { least: -back, most: ahead };
            edges.push(Edge { branch, field, from, target, to, reach, detours: false });
            growth.push(case.growth);
        }
    }
    (edges, growth)
}

/// The first units of the branches that have to be lengthened: those of the seeds, and then all that
/// do not reach over those.
fn naive(edges: &[Edge], growth: &[Option<u32>]) -> Vec<u32> {
    let mut lengthened: Vec<(u32, u32)> = vec![];
    loop {
        let before = lengthened.len();
        for (edge, growth) in edges.iter().zip(growth) {
            let between = |at: u32| edge.from < at && at < edge.to || edge.to <= at && at < edge.from;
            let grown = lengthened.iter().filter(|&&(at, _)| between(at)).map(|&(_, by)| i64::from(by));
            let reaches = grown.sum::<i64>() <= edge.slack();
            if let (false, &Some(by)) = (reaches, growth)
                && !lengthened.contains(&(edge.from, by))
            {
                lengthened.push((edge.from, by));
            }
        }
        if lengthened.len() == before {
            let mut froms: Vec<u32> = lengthened.into_iter().map(|(from, _)| from).collect();
            froms.sort_unstable();
            return froms;
        }
    }
}

proptest! {
    #[test]
    fn no_more_are_lengthened_than_have_to_be(cases in cases()) {
        let (edges, growth) = edges(&cases);
        let is_seed = |&edge: &u32| edges[edge as usize].slack() < 0 && growth[edge as usize].is_some();
        let seeds: Vec<u32> = (0..to_u32(edges.len())).filter(is_seed).collect();
        let lengthened = Spread::new(&edges, &growth).and_then(|spread| spread.run(&seeds));
        let lengthened = lengthened.unwrap_or_else(|Refused| unreachable!("there is memory"));
        let froms: Vec<u32> = lengthened.iter().map(|&edge| edges[edge as usize].from).collect();
        prop_assert_eq!(froms, naive(&edges, &growth));
    }
}

#[test]
fn the_nodes_of_a_range_are_those_of_its_leaves() {
    for leaves in 1..40_usize {
        for (start, end) in (0..=leaves).flat_map(|end| (0..=end).map(move |start| (start, end))) {
            let mut counted = vec![0; 2 * leaves];
            for node in nodes(start..end, leaves) {
                counted[node] += 1;
            }
            for leaf in 0..leaves {
                let above = core::iter::successors(Some(leaf + leaves), |node| Some(node / 2));
                let times: u32 = above.take_while(|&node| node > 0).map(|node| counted[node]).sum();
                assert_eq!(
                    times,
                    u32::from((start..end).contains(&leaf)),
                    "{leaf} in {start}..{end} of {leaves}"
                );
            }
        }
    }
}
