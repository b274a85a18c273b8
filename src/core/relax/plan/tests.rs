//! Plans against those of a sweep that keeps nothing from instruction to instruction but what it has left.

use std::vec;

use proptest::prelude::*;

use super::*;

/// A program: the lengths of its instructions, which of them end the flow, and branches by instruction.
#[derive(Debug, Clone)]
struct Case {
    lens: Vec<u8>,
    ends: Vec<bool>,
    /// From, to, and how far it reaches back and ahead.
    branches: Vec<(usize, usize, i64, i64)>,
    bounce: (i64, i64, i64),
}

/// An island: behind which instruction, whether one goes around it, and for which targets.
#[derive(Debug, PartialEq)]
struct Left {
    after: usize,
    is_made: bool,
    goals: Vec<(Handle, i64)>,
}

/// What is pending between two instructions.
#[derive(Debug)]
struct Crossing {
    deadline: i64,
    goal: usize,
    is_backward: bool,
    end: i64,
}

struct Naive<'c> {
    edges: &'c [Edge],
    bounce: Bounce,
    longest: i64,
    len: u32,
    /// All targets, ascending.
    goals: Vec<u32>,
    islands: Vec<(u32, Left)>,
}

impl Naive<'_> {
    fn room(&self, is_made: bool, count: usize) -> i64 {
        self.bounce.len * i64::try_from(count + usize::from(is_made)).unwrap()
    }

    /// Where the instruction at `old` is with the islands that are left so far.
    fn position(&self, old: u32) -> i64 {
        let before = self.islands.iter().filter(|(at, _)| *at <= old);
        i64::from(old) + before.map(|(_, island)| self.room(island.is_made, island.goals.len())).sum::<i64>()
    }

    /// The latest trampoline to a target, of those that were left behind `old`.
    fn latest(&self, goal: u32, since: u32) -> Option<i64> {
        let left = self.islands.iter().filter(|(at, _)| *at > since).flat_map(|(_, island)| &island.goals);
        left.filter(|(target, _)| target.index() == goal).map(|&(_, at)| at).next_back()
    }

    /// All that is pending before the instruction at `old`.
    fn crossing(&self, old: u32) -> Vec<Crossing> {
        let mut all = Vec::new();
        for (goal, &to) in self.goals.iter().enumerate() {
            let edges = || self.edges.iter().filter(|edge| edge.to == to);
            let last = edges().map(|edge| edge.from).max().unwrap().max(to);
            if to >= old {
                // Those ahead of the latest trampoline go there.
                let trampoline = self
                    .islands
                    .iter()
                    .rfind(|(_, island)| island.goals.iter().any(|(target, _)| target.index() == to));
                let since = trampoline.map(|(at, _)| *at);
                let first = trampoline.map(|_| self.latest(to, 0).unwrap() + self.bounce.reach.most);
                let departed =
                    edges().filter(|edge| edge.from < old && since.is_none_or(|at| edge.from >= at));
                let due = departed.map(|edge| self.position(edge.from) + edge.reach.with_room().most);
                let end = self.position(old) + i64::from(to - old);
                let earliest = first.into_iter().chain(due).min();
                all.extend(earliest.map(|deadline| Crossing { deadline, goal, is_backward: false, end }));
            } else if last >= old {
                let behind = edges().filter(|edge| edge.from >= to).map(|edge| -edge.reach.with_room().least);
                let reach = behind.fold(-self.bounce.reach.least, i64::min);
                let at = self.latest(to, to).unwrap_or_else(|| self.position(to));
                let end = self.position(old) + i64::from(last - old);
                all.push(Crossing { deadline: at + reach, goal, is_backward: true, end });
            }
        }
        all.sort_by_key(|crossing| (crossing.deadline, crossing.goal, crossing.is_backward));
        all
    }

    /// What is due within so many units goes on an island.
    fn soon(&self) -> i64 {
        let reaches = self.edges.iter().map(|edge| edge.reach.with_room()).chain([self.bounce.reach]);
        reaches.flat_map(|reach| [reach.most, -reach.least]).min().unwrap() / 4
    }

    /// When an island has to begin.
    fn begin_by(&self, at: i64, crossing: &[Crossing]) -> i64 {
        // What is resolved before the island needs no place on it.
        let mut begin_by = at + self.soon();
        for _ in 0..4 {
            let counts = |crossing: &&Crossing| {
                !(crossing.end <= crossing.deadline && crossing.end.saturating_add(self.longest) <= begin_by)
            };
            let dues = crossing.iter().filter(counts).map(|crossing| crossing.deadline);
            let least = dues.enumerate().map(|(nth, due)| due - self.room(false, nth + 1)).min();
            let least = least.unwrap_or(i64::MAX);
            if least >= begin_by {
                return least;
            }
            begin_by = least;
        }
        panic!("too many rounds")
    }

    fn island(&self, after: usize, old: u32, is_made: bool) -> Result<Option<Left>, Handle> {
        let at = self.position(old);
        let mut rest = self.crossing(old);
        let is_due = |nth: usize| rest[nth].deadline - self.room(true, nth + 1) < at + self.soon();
        let count = (0..rest.len()).rev().find(|&nth| is_due(nth)).map_or(0, |nth| nth + 1);
        rest.truncate(count);
        let mut goals = Vec::new();
        for (nth, crossing) in rest.iter().enumerate() {
            let at = at + self.room(is_made, nth);
            let target = Handle::new(self.goals[crossing.goal]);
            if at > crossing.deadline {
                return Err(target);
            }
            goals.push((target, at));
        }
        let Some(&(last, _)) = goals.last() else { return Ok(None) };
        let growth = self.position(old) - i64::from(old) + self.room(is_made, goals.len());
        if growth > i64::from(self.len) * 15 {
            return Err(last);
        }
        Ok(Some(Left { after, is_made, goals }))
    }
}

fn starts(lens: &[u8]) -> Vec<u32> {
    let mut at = 0;
    let start = |&len: &u8| (at, at += u32::from(len)).0;
    lens.iter().map(start).collect()
}

fn edges(case: &Case) -> Edges {
    let starts = starts(&case.lens);
    let len = starts[starts.len() - 1] + u32::from(case.lens[starts.len() - 1]);
    let mut branches = case.branches.clone();
    branches.sort_unstable();
    branches.dedup_by_key(|branch| branch.0);
    let all = branches.iter().map(|&(from, to, back, ahead)| Edge {
        branch: Handle::new(starts[from]),
        field: 0,
        from: starts[from],
        target: Handle::new(starts[to]),
        to: starts[to],
        reach: Reach { least: -back, most: ahead },
        detours: true,
    });
    let ends = case.ends.iter().zip(&starts).zip(&case.lens).filter(|((is_end, _), _)| **is_end);
    Edges {
        all: all.collect(),
        ends: ends.map(|((_, start), len)| start + u32::from(*len)).collect(),
        overlong: vec![],
        longest: i64::from(case.lens.iter().copied().max().unwrap_or(1)),
        len,
    }
}

/// The islands that the naive sweep leaves, or the target that is not reached.
fn naive(case: &Case, edges: &Edges) -> Result<Vec<(u32, Left)>, Handle> {
    let starts = starts(&case.lens);
    let (len, back, ahead) = case.bounce;
    let mut goals: Vec<u32> = edges.all.iter().map(|edge| edge.to).collect();
    goals.sort_unstable();
    goals.dedup();
    let reach = Reach { least: -back, most: ahead }.with_room();
    let mut naive = Naive {
        edges: &edges.all,
        bounce: Bounce { len, reach },
        longest: edges.longest,
        len: edges.len,
        goals,
        islands: vec![],
    };
    for (at, &old) in starts.iter().enumerate().skip(1) {
        if edges.ends.contains(&old) {
            let next_end =
                edges.ends.iter().find(|&&end| end > old).map_or(i64::MAX, |&end| naive.position(end));
            let here = naive.position(old);
            let begin_by = naive.begin_by(here, &naive.crossing(old));
            if next_end > begin_by
                && here + naive.soon() >= begin_by
                && let Ok(left) = naive.island(at - 1, old, false)
            {
                naive.islands.extend(left.map(|left| (old, left)));
                continue;
            }
        }
        let here = naive.position(old);
        let begin_by = naive.begin_by(here, &naive.crossing(old));
        if here + i64::from(case.lens[at]) > begin_by {
            let left = naive.island(at - 1, old, !edges.ends.contains(&old))?;
            naive.islands.extend(left.map(|left| (old, left)));
        }
    }
    Ok(naive.islands)
}

/// The trampoline nearest to the target that what is at `from` reaches, unless it reaches the target.
fn way(trampolines: &[i64], from: i64, to: i64, reach: Reach) -> Result<Option<i64>, ()> {
    if (reach.least..=reach.most).contains(&(to - from)) {
        return Ok(None);
    }
    let reach = reach.with_room();
    let between = |at: &&i64| from.min(to) < **at && **at < from.max(to);
    let reached =
        trampolines.iter().filter(between).filter(|at| (reach.least..=reach.most).contains(&(**at - from)));
    reached.min_by_key(|at| (to - **at).abs()).map(|&at| Some(at)).ok_or(())
}

/// Which trampolines branches go by, in their order, and which trampolines go by others.
type Ways = (Vec<(Handle, i64)>, Vec<(i64, Option<i64>)>);

fn naive_ways(case: &Case, edges: &Edges, islands: &[(u32, Left)]) -> Result<Ways, Handle> {
    let (len, back, ahead) = case.bounce;
    let bounce = Reach { least: -back, most: ahead };
    let position = |old: u32| {
        let before = islands.iter().filter(|(at, _)| *at <= old);
        let room = before.map(|(_, left)| left.goals.len() + usize::from(left.is_made)).sum::<usize>();
        i64::from(old) + len * i64::try_from(room).unwrap()
    };
    let (mut departures, mut used) = (Vec::new(), std::collections::BTreeMap::new());
    for edge in &edges.all {
        let of_target =
            islands.iter().flat_map(|(_, left)| &left.goals).filter(|(target, _)| *target == edge.target);
        let trampolines: Vec<i64> = of_target.map(|&(_, at)| at).collect();
        let (from, to) = (position(edge.from), position(edge.to));
        let mut next = way(&trampolines, from, to, edge.reach).map_err(|()| edge.target)?;
        departures.extend(next.map(|next| (edge.branch, next)));
        while let Some(at) = next {
            next = way(&trampolines, at, to, bounce).map_err(|()| edge.target)?;
            used.insert(at, next);
        }
    }
    Ok((departures, used.into_iter().collect()))
}

/// What is known of a plan, with trampolines by their position.
fn known(starts: &[u32], plan: &Plan) -> (Vec<Left>, Ways) {
    let trampoline = |at: usize| plan.trampolines[at].at;
    let left = plan.islands.iter().map(|island| Left {
        after: starts.iter().position(|&start| start == island.after.index()).unwrap(),
        is_made: island.is_made,
        goals: island.trampolines.clone().map(|at| (plan.target(at), trampoline(at))).collect(),
    });
    let departures =
        plan.departures.iter().map(|departure| (departure.branch, trampoline(departure.to as usize)));
    let used = plan.trampolines.iter().filter(|trampoline| trampoline.is_used);
    let used = used.map(|used| (used.at, used.next.map(|next| trampoline(next as usize))));
    (left.collect(), (departures.collect(), used.collect()))
}

fn check(case: &Case) {
    let (edges, starts) = (edges(case), starts(&case.lens));
    let (len, back, ahead) = case.bounce;
    let bounce = Bounce { len, reach: Reach { least: -back, most: ahead } };
    let insns = starts.iter().zip(&case.lens).map(|(&start, &len)| (Handle::new(start), usize::from(len)));
    let plan =
        Plan::new(&edges, bounce, insns).map(|plan| known(&starts, &plan)).map_err(|fault| match fault {
            NoPlan::Unreached(target) => target,
            NoPlan::Refused => panic!("memory ran out"),
        });
    let naive = naive(case, &edges).and_then(|islands| {
        let ways = naive_ways(case, &edges, &islands)?;
        Ok((islands.into_iter().map(|(_, left)| left).collect(), ways))
    });
    assert_eq!(plan, naive);
}

/// Programs with as many branches as `most`.
fn cases(most: usize) -> impl Strategy<Value = Case> {
    let lens = prop::collection::vec(1..4_u8, 2..120);
    lens.prop_flat_map(move |lens| {
        let count = lens.len();
        let branch = (0..count, 0..count, 10..80_i64, 10..80_i64);
        (
            Just(lens),
            prop::collection::vec(prop::bool::weighted(0.03), count),
            prop::collection::vec(branch, 0..most),
            (1..6_i64, 10..80_i64, 10..80_i64),
        )
    })
    .prop_map(|(lens, ends, branches, bounce)| Case { lens, ends, branches, bounce })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn islands_are_where_a_naive_sweep_leaves_them(case in cases(12)) {
        check(&case);
    }

    #[test]
    fn so_are_those_that_fill_what_branches_reach(case in cases(100)) {
        check(&case);
    }
}

#[test]
fn trampolines_do_not_outgrow_the_program() {
    // Eight cross each place, so that there is an island of 18 units behind almost each instruction.
    let grown = |len: usize| {
        let branches = (0..8).map(|at| (at, len - 10 + at, 20, 20)).collect();
        let case = Case { lens: vec![1; len], ends: vec![false; len], branches, bounce: (2, 20, 20) };
        check(&case);
        let islands = naive(&case, &edges(&case)).ok()?;
        Some(islands.iter().map(|(_, left)| 2 * (left.goals.len() + 1)).sum::<usize>())
    };
    for len in 120..140 {
        let growth = 18 * (len - 22);
        assert_eq!(grown(len), (growth <= 15 * len).then_some(growth), "{len} units");
    }
    assert_eq!(grown(132), Some(15 * 132));
}
