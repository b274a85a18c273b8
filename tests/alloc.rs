//! The core when memory runs out: the allocator refuses its k-th call, for every k.
//!
//! A test binary of its own, because the allocator is one for a whole program.
#![cfg(feature = "bpf")]
#![expect(unsafe_code, reason = "an allocator is unsafe to implement")]

mod shared;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::RangeInclusive;

use relinear::bpf::{Bpf, Insn};
use relinear::{
    Arena, At, Branch, Deleted, Error, Fact, Handle, Isa, Linear, List, LongForm, Patch, Relax, Relaxed,
    TableError, Target,
};
use shared::{JUMP, MOV};

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

/// Edits of every kind, in an order that uses every column of a list.
fn edits(arena: &Arena, units: u32) -> Outcome {
    let (program, facts) = shared::program(units);
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
fn refuse_each<T: PartialEq>(work: impl Fn(&mut Arena) -> T) -> usize {
    let expected = work(&mut Arena::new());
    let blocks = BLOCKS.get();
    for for_good in [false, true] {
        // Miri gets through a few of them.
        for call in (0..).step_by(if cfg!(miri) { 29 } else { 1 }) {
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
                assert!(call > 5);
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
#[cfg_attr(miri, ignore = "hours")]
fn memory_runs_out_at_each_call() {
    refuse_each(|arena| edits(arena, 300));
}

#[test]
fn memory_runs_out_in_a_short_program() {
    refuse_each(|arena| edits(arena, 40));
}

#[test]
#[cfg_attr(miri, ignore = "hours")]
fn memory_runs_out_when_an_arena_is_used_again() {
    refuse_each(|arena| {
        edits(arena, 200);
        pressed(|| arena.reset());
        edits(arena, 200)
    });
}

/// A list in which each instruction has a site, after all of them have a slot.
fn sites(arena: &Arena, units: u32) -> Vec<Insn> {
    let (program, _) = shared::program(units);
    let mut list = insist(|| List::<Bpf>::new(arena, &program));
    for _ in 0..2 {
        for at in 4..units - 1 {
            edit(&mut list, |list| list.prepend(Handle::new(at), &[MOV][..]));
        }
    }
    insist(|| list.linearize()).units
}

/// Which of the columns needs a new block of memory depends on how long the others are.
#[test]
#[cfg_attr(miri, ignore = "hours")]
fn memory_runs_out_for_sites() {
    refuse_each(|arena| sites(arena, 160));
}

/// A list into which more branches are inserted than there are other things in it.
fn branches(arena: &Arena, units: u32) -> Vec<Insn> {
    let (program, _) = shared::program(units);
    let mut list = insist(|| List::<Bpf>::new(arena, &program));
    let targets: Vec<Branch> = (0..40).map(|unit| Branch::new(unit, Target::Original(0))).collect();
    for at in 4..units - 1 {
        let patch = Patch::new(&[JUMP; 40]).branches(&targets);
        edit(&mut list, |list| list.append(Handle::new(at), patch));
    }
    insist(|| list.linearize()).units
}

#[test]
#[cfg_attr(miri, ignore = "hours")]
fn memory_runs_out_for_targets() {
    refuse_each(|arena| branches(arena, 250));
}

/// Two lists in an arena, edited from the end to the start.
fn fill(arena: &Arena, units: u32) -> Result<(), Error> {
    static PROGRAM: [Insn; 600] = [MOV; 600];
    for _ in 0..2 {
        let mut list = List::<Bpf, u16>::with_aux(arena, &PROGRAM[..units as usize], &[])?;
        for at in (0..units).rev() {
            list.prepend(Handle::new(at), &[MOV, JUMP, MOV][..])?;
        }
    }
    Ok(())
}

#[test]
#[cfg_attr(miri, ignore = "too many units")]
fn an_arena_that_was_reset_has_memory_for_the_same_again() {
    let mut arena = Arena::new();
    let before = BLOCKS.get();
    fill(&arena, 600).expect("there is memory");
    assert!(BLOCKS.get() > before + 1, "too little for this test");
    arena.reset();
    assert_eq!(BLOCKS.get(), before + 1);
    // Two times 2400 units of 8 bytes, with a fact of 2 each, and a run of 16 for each edit.
    assert!(arena.allocated_bytes() >= 2 * (1800 * 10 + 600 * 18), "{}", arena.allocated_bytes());
    for units in [600, 5, 600] {
        FOR_GOOD.set(true);
        LEFT.set(0);
        let filled = pressed(|| fill(&arena, units));
        pressed(|| arena.reset());
        assert!(!relent(), "{units} units");
        filled.expect("there is memory");
    }
    assert_eq!(BLOCKS.get(), before + 1);
}

#[test]
fn parts_that_were_removed_are_counted_before_memory_is_taken() {
    let program = [MOV; 20];
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program).expect("a list");
    list.delete_range(2..18).expect("they are there");
    let map = list.linearize().expect("it is laid out").map;
    let mut starts: Vec<u32> = (0..20).step_by(2).collect();
    FOR_GOOD.set(true);
    LEFT.set(1);
    let removed = pressed(|| map.adjust_starts(&mut starts, |start| start));
    assert!(!relent());
    assert_eq!((removed, starts), (Ok((1..9).collect()), vec![0, 2]));
}

/// An instruction set of which jumps do not reach far. An instruction is a unit, and keeps its number wherever it goes.
#[derive(Clone, Copy, Debug, Default)]
struct Short;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Unit {
    kind: Kind,
    number: u16,
    to: i16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Kind {
    #[default]
    Plain,
    /// Control may go on, or jump up to 64 units.
    If,
    /// Control jumps, up to 64 units.
    Jump,
    /// Control jumps, as far as there are units.
    FarJump,
}

impl Isa for Short {
    type Unit = Unit;

    fn len(&self, units: &[Unit]) -> Option<usize> {
        units.first().map(|_| 1)
    }

    fn fields(&self, insn: &[Unit]) -> usize {
        usize::from(insn[0].kind != Kind::Plain)
    }

    fn base(&self, _: &[Unit], _: usize) -> i64 {
        0
    }

    fn read(&self, insn: &[Unit], _: usize) -> i64 {
        insn[0].to.into()
    }

    fn range(&self, insn: &[Unit], _: usize) -> RangeInclusive<i64> {
        if insn[0].kind == Kind::FarJump { i16::MIN.into()..=i16::MAX.into() } else { -64..=64 }
    }

    fn write(&self, insn: &mut [Unit], _: usize, displacement: i64) {
        insn[0].to = displacement.try_into().expect("it is in range");
    }
}

/// What branches that do not reach do.
#[derive(Clone, Copy)]
enum Way {
    LongerForms,
    Trampolines,
}

static TRAMPOLINE: [Unit; 1] = [Unit { kind: Kind::Jump, number: 0, to: 0 }];

impl Relax<Short> for Way {
    fn relax(&self, insn: &[Unit], _: usize, long: &mut LongForm<Unit>) -> bool {
        let Unit { kind: Kind::If, number, .. } = insn[0] else { return false };
        if matches!(self, Self::Trampolines) {
            return false;
        }
        // All of the room that there is: an `if` to a far jump, around which control goes otherwise.
        long.units.push(Unit { kind: Kind::If, number, to: 2 });
        long.units.push(Unit { kind: Kind::Jump, number: 0, to: 14 });
        long.goto_target(0);
        long.units.push(Unit { kind: Kind::FarJump, number: 0, to: 0 });
        long.units.resize(LongForm::<Unit>::ROOM, Unit::default());
        true
    }

    fn trampoline(&self) -> Option<&[Unit]> {
        matches!(self, Self::Trampolines).then_some(&TRAMPOLINE)
    }

    fn may_detour(&self, _: &[Unit], _: usize) -> bool {
        true
    }

    fn ends_flow(&self, insn: &[Unit]) -> bool {
        matches!(insn[0].kind, Kind::Jump | Kind::FarJump)
    }
}

/// Of each instruction that has a number: the one that comes after it, and the one that it jumps to.
fn ways(units: &[Unit]) -> Vec<(u16, Option<u16>, Option<u16>)> {
    let follow = |mut at: usize| loop {
        let unit = units.get(at)?;
        if unit.number != 0 {
            return Some(unit.number);
        }
        let by = if unit.kind == Kind::Plain { 1 } else { unit.to };
        at = at.checked_add_signed(by.into()).expect("it leads into the program");
    };
    let way = |(at, unit): (usize, &Unit)| {
        let jump = (unit.kind != Kind::Plain).then(|| at.checked_add_signed(unit.to.into()));
        (unit.number, follow(at + 1), jump.and_then(|to| follow(to.expect("it leads into the program"))))
    };
    units.iter().enumerate().filter(|(_, unit)| unit.number != 0).map(way).collect()
}

/// A program of jumps here and there, of which many do not reach any more when others have grown.
fn relaxed(arena: &Arena, way: Way) -> Vec<(u16, Option<u16>, Option<u16>)> {
    let len = 260;
    let program: Vec<Unit> = (0..len)
        .map(|at| {
            let number = u16::try_from(at + 1).expect("few");
            let to = match at % 13 {
                0 => 60,
                3 => -55,
                _ => return Unit { number, ..Unit::default() },
            };
            let to = if (0..len).contains(&(at + to)) { to } else { 1 - at % 2 };
            Unit { kind: Kind::If, number, to: to.try_into().expect("near") }
        })
        .collect();
    let expected = ways(&program);
    let mut list = List::<Short>::new(arena, &program).expect("a list");
    for at in (5..len).step_by(40) {
        let at = Handle::new(u32::try_from(at).expect("few"));
        list.append(at, &[Unit::default(); 12][..]).expect("there is room");
    }
    assert!(matches!(list.linearize(), Err(Error::OutOfRange { .. })));
    let mut out = Linear::default();
    let mut attempt = |list: &mut List<'_, Short>| pressed(|| list.linearize_relaxed(&way, &mut out));
    let first = attempt(&mut list);
    if let Err(error) = first {
        assert!(relent() && error == Error::OutOfMemory, "{error}");
        list.check().expect("it is sound");
        attempt(&mut list).expect("there is memory now");
    }
    list.check().expect("it is sound");
    assert_eq!(ways(&out.units), expected);
    if let Ok(Relaxed { lengthened, trampolines, islands, .. }) = first {
        let done = match way {
            Way::LongerForms => lengthened > 20 && trampolines == 0,
            Way::Trampolines => lengthened == 0 && trampolines > 20 && islands > 0,
        };
        assert!(done, "{first:?}");
    }
    expected
}

#[test]
#[cfg_attr(miri, ignore = "hours")]
fn memory_runs_out_while_branches_take_longer_forms() {
    refuse_each(|arena| relaxed(arena, Way::LongerForms));
}

#[test]
#[cfg_attr(miri, ignore = "hours")]
fn memory_runs_out_while_branches_are_led_to_trampolines() {
    refuse_each(|arena| relaxed(arena, Way::Trampolines));
}

/// Leaves as much as it can to the defaults of [`Relax`].
struct Defaults {
    trampoline: bool,
    may_detour: bool,
}

impl Relax<Short> for Defaults {
    fn relax(&self, _: &[Unit], _: usize, _: &mut LongForm<Unit>) -> bool {
        false
    }

    fn trampoline(&self) -> Option<&[Unit]> {
        if self.trampoline { Some(&TRAMPOLINE) } else { Bare.trampoline() }
    }

    fn may_detour(&self, insn: &[Unit], field: usize) -> bool {
        self.may_detour || Bare.may_detour(insn, field)
    }

    fn ends_flow(&self, insn: &[Unit]) -> bool {
        Bare.ends_flow(insn)
    }
}

/// Leaves all of it.
struct Bare;

impl Relax<Short> for Bare {
    fn relax(&self, _: &[Unit], _: usize, _: &mut LongForm<Unit>) -> bool {
        false
    }
}

#[test]
fn by_default_no_branch_goes_another_way() {
    let mut program: Vec<Unit> = (1..100).map(|number| Unit { number, ..Unit::default() }).collect();
    program[0] = Unit { kind: Kind::If, to: 64, ..program[0] };
    let expected = ways(&program);
    let relax = |defaults: Defaults| {
        let arena = Arena::new();
        let mut list = List::<Short>::new(&arena, &program).expect("a list");
        list.append(Handle::new(40), &[Unit::default()][..]).expect("there is room");
        list.check().expect("it is sound");
        let mut out = Linear::default();
        let done = list.linearize_relaxed(&defaults, &mut out)?;
        assert_eq!(ways(&out.units), expected);
        Ok(done)
    };
    for (trampoline, may_detour) in [(false, false), (false, true), (true, false)] {
        let refused = relax(Defaults { trampoline, may_detour });
        assert!(matches!(refused, Err(Error::OutOfRange { displacement: 65, .. })), "{refused:?}");
    }
    // Control goes on from everything, so a trampoline needs a branch around it.
    let done = relax(Defaults { trampoline: true, may_detour: true }).expect("there is a way");
    assert_eq!((done.detoured, done.trampolines, done.islands, done.rounds), (1, 1, 1, 1));
}
