//! [`Plan`]: where trampolines have to stand, and who goes by which of them.
//!
//! One pass over the program in the order of the output, which knows exactly where everything before it comes to
//! stand. *Pending* is a target ahead that branches behind lead to, or a target behind that branches ahead lead
//! to. It has a deadline: the last position for a trampoline that all of the former reach, or that reaches the
//! target itself, or its latest trampoline. (They reach farther by a sixteenth, which is left for what a loader
//! may insert: else the kernel could not expand an instruction on the way.) What is due `j`-th leaves room for `j` trampolines before it,
//! so an island has to begin by the least of `deadline - j · length of a trampoline`. With it goes
//! what is due soon, so that there are few islands; all else waits, so that many branches share a trampoline.
//!
//! The plan is for the worst: it takes a target that may not be met in time for one that is not. So at the end each
//! branch takes the trampoline nearest to its target that it reaches, or none, and trampolines that none
//! takes are dropped: what is left only comes nearer to each other.

use alloc::vec::Vec;
use core::ops::Range;

use super::edges::{Edge, Edges, Reach};
use super::memory::{Refused, collect, filled, push};
use crate::core::Handle;
use crate::core::handle::to_u32;

/// Trampolines may make a program so many times longer, and no more.
const MOST_GROWTH: i64 = 15;

/// What is due within this part of the shortest reach goes on an island with what is due now.
const SOON: i64 = 4;

/// What a trampoline is like.
#[derive(Clone, Copy)]
pub(super) struct Bounce {
    pub(super) len: i64,
    pub(super) reach: Reach,
}

/// Trampolines, and who goes by which of them. Positions are those that they would have with all of them.
pub(super) struct Plan {
    goals: Vec<Goal>,
    /// In the order of the output, and ascending.
    pub(super) trampolines: Vec<Trampoline>,
    /// In the order of the output.
    pub(super) islands: Vec<Island>,
    /// In the order of the output, those of one branch by field.
    pub(super) departures: Vec<Departure>,
}

pub(super) struct Trampoline {
    goal: u32,
    at: i64,
    /// The next trampoline on the way, if there is one more.
    pub(super) next: Option<u32>,
    /// Whether it is on the way of a branch.
    pub(super) is_used: bool,
}

/// Trampolines that stand together behind an instruction.
pub(super) struct Island {
    pub(super) after: Handle,
    /// Whether control comes along and has to be led around it.
    pub(super) is_made: bool,
    pub(super) trampolines: Range<usize>,
}

/// A field that leads to a trampoline.
pub(super) struct Departure {
    pub(super) branch: Handle,
    pub(super) field: u32,
    pub(super) to: u32,
}

/// Why there is no plan.
pub(super) enum NoPlan {
    /// Branches would not reach this target.
    Unreached(Handle),
    /// The allocator refused.
    Refused,
}

impl From<Refused> for NoPlan {
    fn from(_: Refused) -> Self {
        Self::Refused
    }
}

/// A target that branches lead to.
struct Goal {
    target: Handle,
    /// Where it is, before there are trampolines.
    old: u32,
    /// Where it is with them.
    at: i64,
    /// The last branch behind it, before there are trampolines.
    last: u32,
    /// How far behind it, or its latest trampoline, branches and trampolines may be.
    back: i64,
    /// The deadline of branches ahead of it, and of those behind it, if it is pending.
    due: [Option<i64>; 2],
}

const FORWARD: usize = 0;
const BACKWARD: usize = 1;

/// Something pending: a target, and a direction.
#[derive(Clone, Copy)]
struct Pending {
    goal: u32,
    way: usize,
}

/// Something pending, at the time of looking at all that is.
#[derive(Clone, Copy)]
struct Open {
    pending: Pending,
    deadline: i64,
    /// Where it is resolved, if nothing grows any more.
    end: i64,
}

impl Plan {
    /// A plan for the edges that may detour, over instructions in the order of the output with their lengths.
    pub(super) fn new(
        edges: &Edges,
        bounce: Bounce,
        insns: impl Iterator<Item = (Handle, usize)>,
    ) -> Result<Self, NoPlan> {
        let detours = collect(edges.all.iter().filter(|edge| edge.detours).copied())?;
        let with_room = bounce.reach.with_room();
        let reaches = detours.iter().map(|edge| edge.reach.with_room()).chain([with_room]);
        let soon = reaches.map(|reach| reach.most.min(-reach.least) / SOON).min().unwrap_or(0);
        let (goals, goal_of) = goals(&detours, with_room)?;
        let plan = Self { goals, trampolines: Vec::new(), islands: Vec::new(), departures: Vec::new() };
        let sweep = Sweep {
            plan,
            bounce: Bounce { reach: with_room, ..bounce },
            ends: &edges.ends,
            edges: &detours,
            goal_of: &goal_of,
            from: Vec::new(),
            pending: Vec::new(),
            begin_by: i64::MAX,
            soon,
            longest: edges.longest,
            growth: 0,
            most_growth: MOST_GROWTH * i64::from(edges.len),
        };
        let (mut plan, from) = sweep.run(insns)?;
        plan.choose(&detours, &goal_of, &from, bounce.reach)?;
        Ok(plan)
    }

    /// Where a trampoline leads in the end.
    pub(super) fn target(&self, trampoline: usize) -> Handle {
        self.goals[self.trampolines[trampoline].goal as usize].target
    }

    /// Chooses the way of each branch, and with it which trampolines stay.
    fn choose(&mut self, edges: &[Edge], goal_of: &[u32], from: &[i64], bounce: Reach) -> Result<(), NoPlan> {
        let mut by_goal = collect(0..to_u32(self.trampolines.len()))?;
        // A sort that is stable would need memory.
        by_goal.sort_unstable_by_key(|&at| (self.trampolines[at as usize].goal, at));
        let mut first = Vec::new();
        for goal in 0..=to_u32(self.goals.len()) {
            push(&mut first, by_goal.partition_point(|&at| self.trampolines[at as usize].goal < goal))?;
        }
        let of_goal = |goal: u32| &by_goal[first[goal as usize]..first[goal as usize + 1]];
        for ((edge, &goal), &from) in edges.iter().zip(goal_of).zip(from) {
            let Some(mut at) = self.way(from, edge.reach, goal, of_goal(goal))? else { continue };
            push(&mut self.departures, Departure { branch: edge.branch, field: edge.field, to: at })?;
            loop {
                let trampoline = &self.trampolines[at as usize];
                if trampoline.is_used {
                    break;
                }
                let next = self.way(trampoline.at, bounce, goal, of_goal(goal))?;
                let trampoline = &mut self.trampolines[at as usize];
                (trampoline.is_used, trampoline.next) = (true, next);
                let Some(next) = next else { break };
                at = next;
            }
        }
        Ok(())
    }

    /// The trampoline that a branch at `from` takes to its goal, if it has to take one.
    fn way(&self, from: i64, reach: Reach, goal: u32, trampolines: &[u32]) -> Result<Option<u32>, NoPlan> {
        let Goal { at: to, target, .. } = self.goals[goal as usize];
        if reach.holds(from, to) {
            return Ok(None);
        }
        let at = |&trampoline: &u32| self.trampolines[trampoline as usize].at;
        let reach = reach.with_room();
        let nearest = if to > from {
            let reached = trampolines.partition_point(|trampoline| at(trampoline) - from <= reach.most);
            trampolines[..reached].last().filter(|&last| at(last) > from)
        } else {
            let beyond = trampolines.partition_point(|trampoline| at(trampoline) - from < reach.least);
            trampolines[beyond..].first().filter(|&first| at(first) < from)
        };
        nearest.map(|&nearest| Some(nearest)).ok_or(NoPlan::Unreached(target))
    }
}

/// The targets of edges in the order of the output, and which of them each edge leads to.
fn goals(edges: &[Edge], bounce: Reach) -> Result<(Vec<Goal>, Vec<u32>), Refused> {
    let mut order = collect(0..to_u32(edges.len()))?;
    order.sort_unstable_by_key(|&edge| (edges[edge as usize].to, edges[edge as usize].target));
    let mut goals: Vec<Goal> = Vec::new();
    let mut goal_of = filled(edges.len(), 0)?;
    for index in order {
        let edge = &edges[index as usize];
        if goals.last().is_none_or(|goal| goal.target != edge.target) {
            let back = -bounce.least;
            let (target, old) = (edge.target, edge.to);
            push(&mut goals, Goal { target, old, at: 0, last: old, back, due: [None; 2] })?;
        }
        goal_of[index as usize] = to_u32(goals.len() - 1);
        if let Some(goal) = goals.last_mut().filter(|_| !edge.is_forward()) {
            goal.last = goal.last.max(edge.from);
            goal.back = goal.back.min(-edge.reach.with_room().least);
        }
    }
    Ok((goals, goal_of))
}

/// The pass under way.
struct Sweep<'e> {
    plan: Plan,
    bounce: Bounce,
    ends: &'e [u32],
    edges: &'e [Edge],
    goal_of: &'e [u32],
    /// Where the branches of the edges are.
    from: Vec<i64>,
    /// What is pending, and some that no longer is.
    pending: Vec<Pending>,
    /// Where the next island has to begin at the latest, if nothing grows before.
    begin_by: i64,
    /// What is due within so many units is due soon.
    soon: i64,
    /// The length of the longest instruction.
    longest: i64,
    /// How many units there are more than before, up to here.
    growth: i64,
    most_growth: i64,
}

impl Sweep<'_> {
    fn run(mut self, insns: impl Iterator<Item = (Handle, usize)>) -> Result<(Plan, Vec<i64>), NoPlan> {
        let (mut old, mut goal, mut after) = (0, 0, None);
        for (handle, len) in insns {
            if let Some(after) = after {
                self.pass(after, old, len)?;
            }
            while self.plan.goals.get(goal).is_some_and(|goal| goal.old == old) {
                self.arrive(goal, old)?;
                goal += 1;
            }
            while self.edges.get(self.from.len()).is_some_and(|edge| edge.from == old) {
                self.depart(old)?;
            }
            old += to_u32(len);
            after = Some(handle);
        }
        Ok((self.plan, self.from))
    }

    fn position(&self, old: u32) -> i64 {
        i64::from(old) + self.growth
    }

    /// The target is here: whoever is behind it has reached it, whoever is ahead begins to need it.
    fn arrive(&mut self, goal: usize, old: u32) -> Result<(), Refused> {
        let at = self.position(old);
        let Goal { last, back, .. } = self.plan.goals[goal];
        let this = &mut self.plan.goals[goal];
        (this.at, this.due[FORWARD]) = (at, None);
        if last > old {
            self.put_off(Pending { goal: to_u32(goal), way: BACKWARD }, at + back)?;
        }
        Ok(())
    }

    /// The next branch is here.
    fn depart(&mut self, old: u32) -> Result<(), Refused> {
        let index = self.from.len();
        let (edge, goal) = (self.edges[index], self.goal_of[index]);
        let at = self.position(old);
        push(&mut self.from, at)?;
        if edge.is_forward() {
            self.put_off(Pending { goal, way: FORWARD }, at + edge.reach.with_room().most)?;
        } else if edge.from == self.plan.goals[goal as usize].last {
            self.plan.goals[goal as usize].due[BACKWARD] = None;
        }
        Ok(())
    }

    /// Something is pending, until `deadline` or what is known of it already.
    fn put_off(&mut self, pending: Pending, deadline: i64) -> Result<(), Refused> {
        let known = &mut self.plan.goals[pending.goal as usize].due[pending.way];
        if known.is_some_and(|known| known <= deadline) {
            return Ok(());
        }
        if known.replace(deadline).is_none() {
            push(&mut self.pending, pending)?;
        }
        // What is due later is so as one more, which leaves no less than this.
        let most_before = i64::from(to_u32(self.pending.len())) * self.bounce.len;
        self.begin_by = self.begin_by.min(deadline - most_before);
        Ok(())
    }

    /// Passes from the instruction `after` to the next one, at `old`, of `len` units: leaves an island if it is time.
    fn pass(&mut self, after: Handle, old: u32, len: usize) -> Result<(), NoPlan> {
        let at = self.position(old);
        let next = at + i64::from(to_u32(len));
        while self.ends.first().is_some_and(|&end| end < old) {
            self.ends = &self.ends[1..];
        }
        let is_end = self.ends.first() == Some(&old);
        if self.pending.is_empty() {
            return Ok(());
        }
        if is_end {
            // It is free here, so rather now than too late at the next one.
            let next_end = self.ends.get(1).map_or(i64::MAX, |&end| self.position(end));
            if next_end > self.begin_by {
                self.look_ahead(old)?;
                if next_end > self.begin_by && at + self.soon >= self.begin_by {
                    match self.leave_island(after, old, false) {
                        Err(NoPlan::Unreached(_)) => {}
                        left => return left,
                    }
                }
            }
        }
        if next > self.begin_by {
            self.look_ahead(old)?;
            if next > self.begin_by {
                self.leave_island(after, old, !is_end)?;
            }
        }
        Ok(())
    }

    /// All that is pending at `old`, by deadline.
    fn open(&mut self, old: u32) -> Result<Vec<Open>, Refused> {
        let goals = &self.plan.goals;
        self.pending.retain(|pending| goals[pending.goal as usize].due[pending.way].is_some());
        let growth = self.growth;
        let open = self.pending.iter().filter_map(|&pending| {
            let goal = &goals[pending.goal as usize];
            let end = if pending.way == FORWARD { goal.old } else { goal.last };
            Some(Open { pending, deadline: goal.due[pending.way]?, end: i64::from(end) + growth })
        });
        let mut open = collect(open)?;
        open.sort_unstable_by_key(|open| (open.deadline, open.pending.goal, open.pending.way));
        debug_assert!(open.iter().all(|open| open.end >= self.position(old)));
        Ok(open)
    }

    /// Finds out when the next island has to begin.
    fn look_ahead(&mut self, old: u32) -> Result<(), Refused> {
        let open = self.open(old)?;
        let Bounce { len, .. } = self.bounce;
        // Whether what is resolved before the island counts depends on where the island is.
        let mut until = self.position(old) + self.soon;
        for last in [false, false, false, true] {
            if last {
                until = i64::MIN;
            }
            let counts = |open: &&Open| open.end > open.deadline || open.end + self.longest > until;
            let begin_by = (1..).zip(open.iter().filter(counts)).map(|(nth, open)| open.deadline - nth * len);
            self.begin_by = begin_by.min().unwrap_or(i64::MAX);
            if self.begin_by >= until {
                break;
            }
            until = self.begin_by;
        }
        Ok(())
    }

    /// Leaves an island between `after` and the instruction at `old`, for what is due now or soon.
    fn leave_island(&mut self, after: Handle, old: u32, is_made: bool) -> Result<(), NoPlan> {
        let Bounce { len, reach } = self.bounce;
        let at = self.position(old);
        let mut open = self.open(old)?;
        let is_due = |(nth, open): &(i64, &Open)| open.deadline - nth * len < at + self.soon;
        let count = (2..).zip(&open).filter(is_due).map(|(nth, _)| nth - 1).max().unwrap_or(0);
        open.truncate(usize::try_from(count).unwrap_or(usize::MAX));
        let start = at + if is_made { len } else { 0 };
        for (nth, open) in (0..).zip(&open) {
            if start + nth * len > open.deadline {
                return Err(NoPlan::Unreached(self.plan.goals[open.pending.goal as usize].target));
            }
        }
        let Some(last) = open.last() else { return Ok(()) };
        let growth = self.growth + start - at + count * len;
        if growth > self.most_growth {
            return Err(NoPlan::Unreached(self.plan.goals[last.pending.goal as usize].target));
        }
        self.growth = growth;
        let first = self.plan.trampolines.len();
        for (nth, &Open { pending: Pending { goal, way }, .. }) in (0..).zip(&open) {
            let at = start + nth * len;
            let this = &mut self.plan.goals[goal as usize];
            this.due[way] = Some(at + if way == FORWARD { reach.most } else { this.back });
            push(&mut self.plan.trampolines, Trampoline { goal, at, next: None, is_used: false })?;
        }
        let trampolines = first..self.plan.trampolines.len();
        push(&mut self.plan.islands, Island { after, is_made, trampolines })?;
        Ok(self.look_ahead(old)?)
    }
}

#[cfg(test)]
mod tests;
