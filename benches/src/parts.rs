//! The parts of our own work, each to be measured by itself.

use relinear::bpf::{Bpf, Insn};
use relinear::{Arena, Branch, Handle, Inserted, Linear, List, Patch, Target};

use crate::branch;
use crate::clock;
use crate::measure::median;
use crate::work::{Edit, Kind, Work};

/// Makes all edits of a work. `inserted` is what passes remember of the patches of earlier ones.
///
/// # Panics
///
/// If the list is not a new one over the program of the work.
pub fn edit(list: &mut List<'_, Bpf>, work: &Work, inserted: &mut Vec<Inserted>) {
    inserted.clear();
    for (number, pass) in work.passes.iter().enumerate() {
        let note = work.is_referred_to(number);
        for edit in &pass.edits {
            let handle = match pass.within {
                None => Handle::new(edit.at),
                Some(unit) => inserted[edit.at as usize].at(unit),
            };
            let made = make(list, work, edit, handle);
            if note {
                inserted.extend(made);
            }
        }
    }
}

#[inline]
fn make(list: &mut List<'_, Bpf>, work: &Work, edit: &Edit, handle: Handle) -> Option<Inserted> {
    if edit.kind == Kind::Delete {
        if edit.len == 1 {
            list.delete(handle).expect("it is live");
        } else {
            let at = handle.index();
            list.delete_range(at..at + u32::from(edit.len)).expect("whole instructions of the program");
        }
        return None;
    }
    let patch = work.patch(edit);
    let units = Patch::new(&patch.units);
    let made = match (edit.kind, patch.keep) {
        (Kind::Prepend, _) => list.prepend(handle, units),
        (_, None) => list.replace(handle, units),
        (_, Some(unit)) => {
            let to = branch::target(edit.at, &work.program[edit.at as usize]);
            let branches = [Branch::new(u32::from(unit), Target::Original(to))];
            list.replace(handle, units.branches(&branches))
        }
    };
    Some(made.expect("the patch is valid"))
}

/// A list over the program of a work, in an arena that has seen the work before and so does not
/// grow. It lives as long as the process.
///
/// # Panics
///
/// If `relinear` refuses the work.
#[must_use]
pub fn warm_list(work: &'static Work) -> List<'static, Bpf> {
    warm(&work.program, |list| edit(list, work, &mut Vec::new()))
}

/// A list over a program, in an arena that has seen these edits before.
///
/// # Panics
///
/// If the program is not valid.
#[must_use]
pub fn warm(program: &'static [Insn], edits: impl Fn(&mut List<'_, Bpf>)) -> List<'static, Bpf> {
    let mut arena = Arena::new();
    for _ in 0..2 {
        let mut list = List::new(&arena, program).expect("the program is valid");
        edits(&mut list);
        drop(list);
        arena.reset();
    }
    List::new(Box::leak(Box::new(arena)), program).expect("the program is valid")
}

/// Names of the parts that [`times`] gives.
pub const NAMES: [&str; 4] = ["create", "edit", "linearize", "free"];

/// Median nanoseconds of each part of a warm run.
///
/// # Panics
///
/// If `relinear` refuses the work.
#[must_use]
pub fn times(work: &Work, runs: usize) -> [u64; 4] {
    let (mut arena, mut inserted, mut out) = (Arena::new(), Vec::new(), Linear::default());
    let mut samples: [Vec<u64>; 4] = Default::default();
    for run in 0..runs + 3 {
        let start = clock::now();
        let mut list = List::<Bpf>::new(&arena, &work.program).expect("the program is valid");
        let created = clock::now();
        edit(&mut list, work, &mut inserted);
        let edited = clock::now();
        list.linearize_into(&mut out).expect("every branch has a place to go");
        let linear = clock::now();
        drop(list);
        arena.reset();
        let ends = [start, created, edited, linear, clock::now()];
        if run >= 3 {
            for (samples, ends) in samples.iter_mut().zip(ends.windows(2)) {
                samples.push(ends[1] - ends[0]);
            }
        }
    }
    samples.map(|mut samples| median(&mut samples))
}
