//! The core when memory runs out: the allocator refuses its k-th call, for every k.
//!
//! A test binary of its own, because the allocator is one for a whole program.
#![cfg(feature = "bpf")]
#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use relinear::bpf::{Bpf, Insn};
use relinear::{Arena, At, Branch, Deleted, Error, Fact, Handle, Linear, List, Patch, TableError, Target};

thread_local! {
    /// Whether calls count: those of the test itself do not.
    static COUNTS: Cell<bool> = const { Cell::new(false) };
    /// How many calls are served before one is refused.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    /// Whether all calls after it are refused as well.
    static FOR_GOOD: Cell<bool> = const { Cell::new(false) };
    /// How many calls were refused.
    static REFUSED: Cell<usize> = const { Cell::new(0) };
    /// Blocks that are in use.
    static BLOCKS: Cell<isize> = const { Cell::new(0) };
}

struct Failing;

fn refuses() -> bool {
    if !COUNTS.get() {
        return false;
    }
    let left = LEFT.get();
    match left {
        usize::MAX => false,
        0 => {
            REFUSED.set(REFUSED.get() + 1);
            if !FOR_GOOD.get() {
                LEFT.set(usize::MAX);
            }
            true
        }
        _ => {
            LEFT.set(left - 1);
            false
        }
    }
}

// SAFETY: blocks are those of the system's allocator, and a null pointer says that there is none.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if refuses() {
            return std::ptr::null_mut();
        }
        BLOCKS.set(BLOCKS.get() + 1);
        // SAFETY: the caller promises what the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BLOCKS.set(BLOCKS.get() - 1);
        // SAFETY: the block came from `alloc`, which had it from there.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static FAILING: Failing = Failing;

/// Runs what may be refused memory.
fn pressed<T>(run: impl FnOnce() -> T) -> T {
    COUNTS.set(true);
    let done = run();
    COUNTS.set(false);
    done
}

/// Serves every call from now on. Says whether one was refused.
fn relent() -> bool {
    LEFT.set(usize::MAX);
    REFUSED.take() != 0
}

/// Does it, and if memory runs out, does it again with memory. Nothing else may go wrong.
fn insist<T>(mut attempt: impl FnMut() -> Result<T, Error>) -> T {
    let error = match pressed(&mut attempt) {
        Ok(done) => return done,
        Err(error) => error,
    };
    assert!(relent(), "{error}");
    assert_eq!(error, Error::OutOfMemory);
    attempt().expect("there is memory now")
}

/// An edit of a list, which is sound whether it is refused or not.
fn edit<A: Copy + Default, T>(
    list: &mut List<'_, Bpf, A>,
    mut edit: impl FnMut(&mut List<'_, Bpf, A>) -> Result<T, Error>,
) -> T {
    let live = list.live_len();
    let error = match pressed(|| edit(list)) {
        Ok(done) => return done,
        Err(error) => error,
    };
    assert!(relent(), "{error}");
    assert_eq!(error, Error::OutOfMemory);
    list.check().expect("it is sound");
    assert_eq!(list.live_len(), live);
    edit(list).expect("there is memory now")
}

/// What comes out of a list: units, facts, and where everything went.
type Outcome = (Vec<Insn>, Vec<u16>, Vec<u32>, Vec<(u32, u16)>, Vec<u32>, Vec<usize>);

const MOV: Insn = Insn::mov64_imm(1, 1);
/// `if r1 == 0 goto +0`
const JUMP: Insn = Insn::jmp_imm(0x10, 1, 0, 0);

/// Edits of every kind, in an order that uses every column of a list.
fn edits(arena: &Arena, units: u32) -> Outcome {
    let mut program = vec![MOV; units as usize];
    for at in (0..program.len()).step_by(7) {
        program[at] = JUMP;
    }
    program[2..4].copy_from_slice(&Insn::ld_imm64(1, 7));
    program[units as usize - 1] = Insn::exit();
    let facts: Vec<u16> = (0..).take(program.len()).collect();
    let (mut lines, mut starts): (Vec<_>, Vec<u32>) =
        ((0..units).zip(0..).collect(), (0..units).step_by(10).filter(|at| *at != 2).collect());
    let mut list = insist(|| List::<Bpf, u16>::with_aux(arena, &program, &facts));
    let handle = Handle::new;
    for at in (4..units - 1).rev().step_by(3) {
        edit(&mut list, |list| list.prepend(handle(at), &[MOV][..]));
    }
    for at in (4..units - 1).step_by(5) {
        let inserted = edit(&mut list, |list| {
            let back = [Branch::new(1, Target::Local(0)), Branch::new(2, Target::Original(0))];
            let fact = Fact::MoveTo(0);
            list.replace(handle(at), Patch::new(&[MOV, JUMP, JUMP]).branches(&back).fact(fact))
        });
        edit(&mut list, |list| list.append(inserted.at(1), &[MOV, JUMP, MOV][..]));
        edit(&mut list, |list| list.prepend_fallthrough(inserted.first(), &[MOV, MOV][..]));
        edit(&mut list, |list| list.prepend(inserted.at(2), &[JUMP][..]));
    }
    for at in (6..units - 1).step_by(11) {
        edit(&mut list, |list| {
            list.delete(handle(at)).or_else(|error| match error {
                Error::Deleted(_) => Ok(()),
                error => Err(error),
            })
        });
    }
    edit(&mut list, |list| list.delete_range(20..31));
    edit(&mut list, |list| list.prepend(list.end(), &[MOV; 70][..]));
    let mut out = Linear::default();
    loop {
        match pressed(|| list.linearize_into(&mut out)) {
            Ok(()) => break,
            Err(error) => {
                assert!(relent() && error == Error::OutOfMemory, "{error}");
                assert!(out.units.is_empty() && out.aux.is_empty() && out.map.new_len() == 0);
                list.check().expect("it is sound");
            }
        }
    }
    let again = insist(|| list.linearize());
    assert_eq!(again.units, out.units);
    let new_of = (0..=units).map(|old| out.map.new_of(old)).collect();
    out.map.adjust_points(&mut lines, At::Start, Deleted::Slide, |line| &mut line.0).expect("it is in order");
    let before = starts.clone();
    let removed = pressed(|| out.map.adjust_starts(&mut starts, |start| start)).unwrap_or_else(|error| {
        assert!(relent() && error == TableError::OutOfMemory, "{error}");
        assert_eq!(starts, before);
        out.map.adjust_starts(&mut starts, |start| start).expect("there is memory now")
    });
    (out.units, out.aux, new_of, lines, starts, removed)
}

/// Has one call after the other refused, until the work gets by without it. Returns how many calls there were.
fn refuse_each(work: impl Fn(&mut Arena) -> Outcome) -> usize {
    let expected = work(&mut Arena::new());
    let blocks = BLOCKS.get();
    for for_good in [false, true] {
        for call in 0.. {
            let mut arena = Arena::new();
            FOR_GOOD.set(for_good);
            REFUSED.set(0);
            LEFT.set(call);
            let outcome = work(&mut arena);
            let reached = LEFT.get() == usize::MAX;
            relent();
            assert!(outcome == expected, "with call {call} refused");
            drop((arena, outcome));
            assert_eq!(BLOCKS.get(), blocks, "call {call}");
            if !reached {
                assert!(call > 20);
                if for_good {
                    return call;
                }
                break;
            }
        }
    }
    unreachable!("it ends")
}

#[test]
fn memory_runs_out_at_each_call() {
    refuse_each(|arena| edits(arena, 300));
}

#[test]
fn memory_runs_out_while_branches_get_longer() {
    refuse_each(|arena| edits(arena, 100));
}

#[test]
fn memory_runs_out_when_an_arena_is_used_again() {
    refuse_each(|arena| {
        edits(arena, 200);
        pressed(|| arena.reset());
        edits(arena, 200)
    });
}
