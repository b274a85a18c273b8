//! Programs with all tables under edit, against a naive model of the kernel and against what the kernel does.

mod by_hand;
mod generate;
mod kernel_tables;
mod lines;
mod model;

use model::Model;
use relinear::bpf::{Aux, Bpf, Editor, Insn, Program};
use relinear::passes::kernel::{Kernel, patch, prologue};
use relinear::passes::{hard_wire_dead_branches, remove_dead_code, remove_nops, sanitize_dead_code};
use relinear::{Arena, Branch, Handle, List, Patch, Target};

use crate::random::Rng;

type Facts<'a> = List<'a, Bpf, Aux<u32>>;

/// The passes of this crate that take nothing but the facts of the verifier.
#[derive(Clone, Copy, Debug)]
enum Step {
    HardWire,
    RemoveDeadCode,
    RemoveNops(Kernel),
    Sanitize,
}

impl Step {
    fn run(self, list: &mut Facts<'_>) {
        let result = match self {
            Self::HardWire => hard_wire_dead_branches::run(list).map(|_| ()),
            Self::RemoveDeadCode => remove_dead_code::run(list).map(|_| ()),
            Self::RemoveNops(version) => {
                remove_nops::run(list, &remove_nops::Options { version }).map(|_| ())
            }
            Self::Sanitize => sanitize_dead_code::run(list).map(|_| ()),
        };
        result.unwrap();
    }

    fn run_model(self, model: &mut Model) {
        match self {
            Self::HardWire => model.hard_wire_dead_branches(),
            Self::RemoveDeadCode => model.remove_dead_code(),
            Self::RemoveNops(version) => model.remove_nops(version),
            Self::Sanitize => model.sanitize_dead_code(),
        }
    }
}

const fn privileged(version: Kernel) -> [Step; 3] {
    [Step::HardWire, Step::RemoveDeadCode, Step::RemoveNops(version)]
}

/// A program after these steps, linearized once.
fn at_once(program: &Program<u32>, steps: &[Step]) -> Program<u32> {
    let arena = Arena::new();
    let mut editor = program.edit(&arena).unwrap();
    for step in steps {
        step.run(editor.list());
    }
    editor.linearize().unwrap()
}

#[test]
fn passes_do_as_the_model_of_the_kernel_at_once_or_one_by_one() {
    for seed in 0..3000 {
        let program = generate::program(&mut Rng::new(seed));
        for version in [Kernel::V6_1, Kernel::V6_12, Kernel::V6_18] {
            for steps in [&privileged(version)[..], &[Step::Sanitize], &privileged(version)[1..]] {
                if steps.len() == 2 && !is_sound_without_hard_wiring(&program) {
                    continue;
                }
                let mut model = Model::new(&program);
                for step in steps {
                    step.run_model(&mut model);
                }
                assert_eq!(at_once(&program, steps), model.program(), "{seed} {steps:?}");
                let one_by_one = steps
                    .iter()
                    .fold(program.clone(), |program, step| at_once(&program, std::slice::from_ref(step)));
                assert_eq!(one_by_one, model.program(), "{seed} {steps:?}");
            }
        }
    }
}

/// Whether no jump that was seen leads to code that was not.
fn is_sound_without_hard_wiring(program: &Program<u32>) -> bool {
    let model = Model::new(program);
    model
        .starts()
        .into_iter()
        .all(|at| !program.aux[at].seen || model.target(at).is_none_or(|target| program.aux[target].seen))
}

/// Replaces instruction number `number` of the program, in both.
fn patch_both(rng: &mut Rng, model: &mut Model, list: &mut Facts<'_>, number: usize) {
    let at = model.starts()[number];
    let handle = list.iter().nth(number).unwrap();
    let old = model.0.insns[at];
    let code = |rng: &mut Rng| -> Vec<Insn> {
        let pieces: [&[Insn]; 4] = [
            &[Insn::mov64_imm(5, 1)],
            &[Insn::mov32_imm(5, 2)],
            &Insn::ld_imm64(5, 3),
            &[Insn::jmp_imm(0x10, 5, 1, 1), Insn::mov64_imm(5, 3)],
        ];
        (0..rng.below(3)).flat_map(|_| pieces[rng.below(4)].to_vec()).collect()
    };
    let mut slots = code(rng);
    let target = list.target(handle, 0);
    if old.is_wide() {
        // The kernel knows the two slots one by one.
        slots.push(Insn::mov64_imm(2, 9));
        model.remove(at + 1, 1);
        model.patch(at, &slots);
        patch(list, handle, Patch::new(&slots)).unwrap();
    } else if let Some(target) = target {
        slots.push(old);
        let end = slots.len() - 1;
        let branch = [Branch::new(u32::try_from(end).unwrap(), Target::Handle(target))];
        patch(list, handle, Patch::new(&slots).branches(&branch)).unwrap();
        if model.target(at).unwrap() <= at {
            // Those who write patches for the kernel make up for the slots before the jump.
            let by = i16::try_from(end).unwrap();
            match old.code {
                0x85 | 0x06 => slots[end].imm -= i32::from(by),
                _ => slots[end].off -= by,
            }
        }
        model.patch(at, &slots);
    } else {
        slots.push(old);
        let next = u32::try_from(at + 1).unwrap();
        // What leads past the end of a subprogram is no program.
        if !old.is_exit() && next as usize != model.len() && !model.0.subprogs.contains(&next) {
            slots.extend(code(rng));
            if rng.one_in(4) {
                // One slot becomes the two of one instruction.
                slots = Insn::ld_imm64(5, 4).to_vec();
            }
        }
        model.patch(at, &slots);
        patch(list, handle, Patch::new(&slots)).unwrap();
    }
}

/// Deletes `count` instructions from number `number` on, in both, if that leaves a program.
fn remove_both(model: &mut Model, list: &mut Facts<'_>, number: usize, count: usize) -> bool {
    let starts = model.starts();
    let (p, q) = (starts[number], starts.get(number + count).copied().unwrap_or(model.len()));
    let mut after = model.clone();
    if q - p == model.len() {
        return false;
    }
    let is_reference = |insn: Insn| insn.is_call() || insn.is_wide();
    // No subprogram that is referred to may go as a whole, nor the first one.
    let subprogs = &model.0.subprogs;
    let ends = subprogs[1..].iter().map(|&end| end as usize).chain([model.len()]);
    let removed: Vec<usize> = subprogs
        .iter()
        .map(|&start| start as usize)
        .zip(ends)
        .filter(|&(s, e)| p <= s && e <= q)
        .map(|(s, _)| s)
        .collect();
    let refers = |&at: &usize| !(p..q).contains(&at) && is_reference(model.0.insns[at]);
    let referred = starts.iter().filter(|at| refers(at)).filter_map(|&at| model.target(at));
    if removed.contains(&0) || referred.into_iter().any(|target| removed.contains(&target)) {
        return false;
    }
    after.remove(p, q - p);
    let subprog = |at: usize| after.0.subprogs.partition_point(|&start| start as usize <= at);
    let stays = |at: usize| {
        is_reference(after.0.insns[at])
            || after.target(at).is_none_or(|to| to < after.len() && subprog(at) == subprog(to))
    };
    if !after.starts().into_iter().all(stays) {
        return false;
    }
    let handles: Vec<Handle> = list.iter().skip(number).take(count).collect();
    for handle in handles {
        list.delete(handle).unwrap();
    }
    *model = after;
    true
}

#[test]
fn patches_and_removals_do_as_the_model_of_the_kernel() {
    let (mut patched, mut removed) = (0, 0);
    for seed in 0..3000 {
        let rng = &mut Rng::new(seed);
        let program = generate::program(rng);
        let mut model = Model::new(&program);
        let arena = Arena::new();
        let mut editor = program.edit(&arena).unwrap();
        for _ in 0..rng.below(12) {
            let insns = model.starts().len();
            let number = rng.below(insns);
            if rng.one_in(2) {
                patch_both(rng, &mut model, editor.list(), number);
                patched += 1;
            } else {
                let most = if rng.one_in(3) { 20 } else { 3 };
                let count = (1 + rng.below(most)).min(insns - number);
                removed += u32::from(remove_both(&mut model, editor.list(), number, count));
            }
        }
        assert_eq!(editor.linearize().unwrap(), model.program(), "{seed}");
    }
    assert!(patched > 5000 && removed > 5000, "{patched} {removed}");
}

#[test]
fn patches_after_the_passes_of_the_kernel_do_as_its_model() {
    for seed in 0..2000 {
        let rng = &mut Rng::new(seed);
        let program = generate::program(rng);
        let mut model = Model::new(&program);
        let arena = Arena::new();
        let mut editor = program.edit(&arena).unwrap();
        for step in privileged(Kernel::V6_18) {
            for _ in 0..rng.below(3) {
                let number = rng.below(model.starts().len());
                patch_both(rng, &mut model, editor.list(), number);
            }
            step.run_model(&mut model);
            step.run(editor.list());
        }
        for _ in 0..rng.below(6) {
            let number = rng.below(model.starts().len());
            patch_both(rng, &mut model, editor.list(), number);
        }
        assert_eq!(editor.linearize().unwrap(), model.program(), "{seed}");
    }
}

/// Adds a subprogram that calls another one of the program, and a call of it to the start of the program.
fn add_subprog(rng: &mut Rng, editor: &mut Editor<'_, u32>) {
    let code = [Insn::mov64_reg(0, 1), Insn::call_local(0), Insn::exit()];
    let live: Vec<Handle> = editor.list().iter().collect();
    let callee = [Branch::new(1, Target::Original(0))];
    let type_id = rng.one_in(2).then_some(99);
    let added = editor.add_subprog(Patch::new(&code).branches(&callee), type_id).unwrap();
    if rng.one_in(3) {
        // It begins with its prologue then, as calls do.
        let code = [Insn::mov64_imm(3, 3), Insn::jmp_imm(0x10, 3, 4, 0)];
        prologue(editor.list(), added.first(), Patch::new(&code), Kernel::V6_18).unwrap();
    }
    let call = [Branch::new(0, Target::Handle(added.first()))];
    editor.list().append(live[0], Patch::new(&[Insn::call_local(0)]).branches(&call)).unwrap();
}

/// The kernel adds a subprogram when all dead code is gone. In one list it is there while code is deleted before it.
#[test]
fn subprograms_added_at_once_or_after_linearizing_in_between() {
    let (mut dropped, mut kept) = (0, 0);
    for seed in 0..3000 {
        let rng = &mut Rng::new(seed);
        let program = generate::program(rng);
        // A call ends the flow at times, so that the end of the program is dead.
        let mut program = program;
        let cut = program.insns.len() - rng.below(4).min(program.insns.len() - 1);
        for aux in &mut program.aux[cut..] {
            aux.seen = false;
        }
        let steps = &privileged(Kernel::V6_18)[1..];
        let choices = rng.next();
        let arena = Arena::new();
        let mut editor = program.edit(&arena).unwrap();
        if seed % 2 == 0 {
            for step in steps {
                step.run(editor.list());
            }
            add_subprog(&mut Rng::new(choices), &mut editor);
        } else {
            add_subprog(&mut Rng::new(choices), &mut editor);
            // What was added has no facts, and is not for these passes.
            let dead: Vec<Handle> = (0..).map(Handle::new).take(program.insns.len()).collect();
            for at in dead {
                if editor.list().is_live(at) && !program.aux[at.index() as usize].seen {
                    editor.list().delete(at).unwrap();
                }
            }
        }
        let steps = if seed % 2 == 0 { steps } else { &steps[..1] };
        let between = {
            let arena = Arena::new();
            let mut editor = program.edit(&arena).unwrap();
            for step in steps {
                step.run(editor.list());
            }
            editor.linearize()
        };
        // Deleted code that something still refers to is not what this is about.
        let Ok(between) = between else { continue };
        let arena = Arena::new();
        let mut after = between.edit(&arena).unwrap();
        add_subprog(&mut Rng::new(choices), &mut after);
        let expected = after.linearize().unwrap();
        let ours = editor.linearize().unwrap_or_else(|error| panic!("{seed}: {error}"));
        assert_eq!(ours, expected, "{seed}");
        let end = ours.subprogs.last().copied().unwrap();
        assert!(ours.line_info.iter().all(|line| line.insn_off < end), "{seed}");
        let at_end = program.line_info.iter().any(|line| line.insn_off as usize >= cut);
        dropped += u32::from(at_end && cut < program.insns.len());
        kept += 1;
    }
    assert!(dropped > 300 && kept > 1000, "{dropped} {kept}");
}
