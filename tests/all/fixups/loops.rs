//! `may_goto` and `bpf_loop`: loops that come to an end.

use relinear::bpf::{Aux, Insn};
use relinear::passes::misc_fixups::{Host, MayGoto, Options, Site, Subprogs, inline_loops, run};
use relinear::passes::{self, Error};
use relinear::{Arena, Handle, List};

use super::{AX, EXIT, Edited, edited, slot};

const CHECK: i32 = -0x0017_88a0;
const TIMED: MayGoto = MayGoto::Timed { check: CHECK };

fn bounded(program: &[Insn], kind: MayGoto, starts: &[u32], stack: &mut [u32]) -> Result<Edited, Error> {
    let options = Options { may_goto: Some(kind), ..Options::default() };
    edited(program, |list| run(list, &mut Subprogs { starts, stack }, &(), &options).map(drop))
}

/// A `may_goto` at offset `off` where the count is at `count` from the frame pointer.
fn timed(off: i16, count: i16) -> [Insn; 7] {
    [
        slot(0x79, AX, 10, count, 0),
        slot(0x15, AX, 0, off, 0),
        slot(0x17, AX, 0, 0, 1),
        slot(0x55, AX, 0, 2, 0),
        slot(0xb7, AX, 0, 0, i32::from(count)),
        Insn::call(CHECK),
        slot(0x7b, 10, AX, count, 0),
    ]
}

fn counted(off: i16, count: i16) -> [Insn; 4] {
    [
        slot(0x79, AX, 10, count, 0),
        slot(0x15, AX, 0, off, 0),
        slot(0x17, AX, 0, 0, 1),
        slot(0x7b, 10, AX, count, 0),
    ]
}

/// `*(u32 *)(r10 - 4) = 1; may_goto +1; r0 = 1; r0 = 0; exit`, as Linux 6.18 has it, and the like with more
/// stack: the verifier counts that in steps of 8.
#[test]
fn timed_loops() {
    for (stack, count) in [(0_u32, -16_i16), (4, -24), (8, -24), (12, -32), (512, -528)] {
        let head = slot(0x62, 10, 0, -4, 1);
        let tail = [slot(0xb7, 0, 0, 0, 1), slot(0xb7, 0, 0, 0, 0), EXIT];
        let program = [&[head, Insn::may_goto(1)], &tail[..]].concat();
        let prologue = [slot(0x7a, 10, 0, count, 0xffff), slot(0x7a, 10, 0, count + 8, 0)];
        let mut depth = [stack];
        let edited = bounded(&program, TIMED, &[0], &mut depth).expect("no error");
        assert_eq!(edited.insns, [&prologue[..], &[head], &timed(6, count), &tail].concat());
        assert_eq!(depth[0], u32::from(count.unsigned_abs()));
    }
}

#[test]
fn counted_loops() {
    let tail = [slot(0xb7, 0, 0, 0, 1), slot(0xb7, 0, 0, 0, 0), EXIT];
    let program = [&[Insn::may_goto(1)], &tail[..]].concat();
    let edited = bounded(&program, MayGoto::Counted, &[0], &mut [8]).expect("no error");
    let prologue = [slot(0x7a, 10, 0, -16, 0x0080_0000)];
    assert_eq!(edited.insns, [&prologue[..], &counted(3, -16), &tail].concat());
}

/// A jump to the first instruction of a subprogram does not run the prologue, a call does. `may_goto`
/// with a negative offset counts what stands before the jump in its patch.
#[test]
fn prologues_are_for_calls_only() {
    let main = [slot(0xb7, 0, 0, 0, 0), Insn::may_goto(-2), Insn::call_local(1), EXIT];
    let callee = [slot(0xb7, 0, 0, 0, 0), Insn::may_goto(1), slot(0x15, 0, 0, -3, 1), EXIT];
    let mut stack = [0, 24];
    let edited = bounded(&[main, callee].concat(), MayGoto::Counted, &[0, 4], &mut stack).expect("no error");
    let count = |at| slot(0x7a, 10, 0, at, 0x0080_0000);
    let expected = [
        &[count(-8), main[0]][..],
        &counted(-3, -8),
        &[Insn::call_local(1), EXIT],
        &[count(-32), callee[0]],
        &counted(3, -32),
        &[slot(0x15, 0, 0, -6, 1), EXIT],
    ];
    assert_eq!(edited.insns, expected.concat());
    assert_eq!(stack, [8, 32]);
    assert!(edited.aux.iter().all(|aux| aux.seen));
}

/// The kernel writes these offsets without a look at their range.
#[test]
fn a_jump_out_of_reach_is_an_error() {
    for (kind, last) in [(TIMED, 32762_i16), (MayGoto::Counted, 32765)] {
        for off in [last, last + 1] {
            let mut program = vec![Insn::may_goto(off)];
            program.resize(off.unsigned_abs() as usize + 1, slot(0xb7, 0, 0, 0, 0));
            program.push(EXIT);
            let result = bounded(&program, kind, &[0], &mut [0]);
            if off == last {
                let jump = if kind == TIMED { 3 } else { 2 };
                assert_eq!(result.expect("no error").insns[jump], slot(0x15, AX, 0, 32767, 0));
            } else {
                let error = result.err();
                assert!(
                    matches!(error, Some(Error::Edit(relinear::Error::OutOfRange { origin: 0, .. }))),
                    "{error:?}"
                );
            }
        }
    }
}

#[test]
fn bad_input_is_refused() {
    let out = [slot(0xb7, 0, 0, 0, 0), Insn::may_goto(-3), EXIT];
    let error = bounded(&out, TIMED, &[0], &mut [0]).err();
    assert_eq!(error, Some(Error::Edit(relinear::Error::BranchOutside { origin: 1, target: -1 })));
    let fine = [Insn::may_goto(0), EXIT];
    let error = bounded(&fine, TIMED, &[0], &mut [32760]).err();
    assert_eq!(error, Some(Error::StackTooDeep { subprog: 0, used: 32760, more: 16 }));
    assert!(matches!(bounded(&fine, TIMED, &[0], &mut [u32::MAX]).err(), Some(Error::StackTooDeep { .. })));
    for (starts, stack) in [(&[][..], &mut [][..]), (&[1], &mut [0]), (&[0], &mut []), (&[0, 0], &mut [0, 0])]
    {
        assert!(matches!(bounded(&fine, TIMED, starts, stack).err(), Some(Error::BadSubprogs { .. })));
    }
}

/// Every call of `bpf_loop` calls the subprogram at this position.
struct Callback(u32);

impl Host<u32> for Callback {
    fn loop_callback(&self, _: &Site<'_, u32>) -> Option<Handle> {
        Some(Handle::new(self.0))
    }
}

fn inlined(callback: i32, at: i16) -> [Insn; 19] {
    let kept = [(6, at), (7, at + 8), (8, at + 16)];
    let save = kept.map(|(reg, at)| slot(0x7b, 10, reg, at, 0));
    let restore = kept.map(|(reg, at)| slot(0x79, reg, 10, at, 0));
    [
        slot(0xb5, 1, 0, 2, 0x0080_0000),
        slot(0xb4, 0, 0, 0, -7),
        slot(0x05, 0, 0, 16, 0),
        save[0],
        save[1],
        save[2],
        slot(0xbf, 6, 1, 0, 0),
        slot(0xb4, 7, 0, 0, 0),
        slot(0xbf, 8, 3, 0, 0),
        slot(0x3d, 7, 6, 5, 0),
        slot(0xbf, 1, 7, 0, 0),
        slot(0xbf, 2, 8, 0, 0),
        Insn::call_local(callback),
        slot(0x07, 7, 0, 0, 1),
        slot(0x15, 0, 0, -6, 0),
        slot(0xbf, 0, 7, 0, 0),
        restore[0],
        restore[1],
        restore[2],
    ]
}

/// The stack of the kernel's own test: 12 bytes in the first function give slots from -40 on, 32 in the
/// second one from -56 on.
#[test]
fn loops_call_their_callback_directly() {
    let helper = Insn::call(181);
    let main = [helper, Insn::call_local(1), EXIT];
    let second = [helper, helper, EXIT];
    let callback = [slot(0xb7, 0, 0, 0, 0), EXIT];
    let program = [&main[..], &second, &callback].concat();
    let mut stack = [12, 32, 0];
    let edited = edited(&program, |list| {
        let mut subprogs = Subprogs { starts: &[0, 3, 6], stack: &mut stack };
        inline_loops(list, &mut subprogs, &Callback(6))?;
        Ok::<_, passes::Error>(())
    })
    .expect("no error");
    // The main function takes 21 slots, the second one 39, and a call is the 13th of 19 slots.
    let expected = [
        &inlined(60 - 13, -40)[..],
        &[Insn::call_local(1), EXIT],
        &inlined(60 - 21 - 13, -56),
        &inlined(60 - 40 - 13, -56),
        &[EXIT],
        &callback,
    ];
    assert_eq!(edited.insns, expected.concat());
    assert_eq!(stack, [40, 56, 0]);
}

#[test]
fn other_calls_and_unknown_callbacks_stay() {
    let program = [Insn::call(181), Insn::call(180), slot(0x85, 0, 2, 0, 181), EXIT];
    let arena = Arena::new();
    let aux = [Aux { seen: true, ..Aux::default() }; 4];
    let mut list = List::with_aux(&arena, &program, &aux).expect("a list");
    let mut subprogs = Subprogs { starts: &[0], stack: &mut [0] };
    inline_loops::<u32, _>(&mut list, &mut subprogs, &()).expect("no error");
    let report = inline_loops(&mut list, &mut subprogs, &Callback(99));
    assert_eq!(report, Err(Error::Edit(relinear::Error::NoSuchInsn(Handle::new(99)))));
    assert_eq!(list.linearize().expect("a program").units, program);
}

/// A verifier knows nothing of a call that it never saw, so the host must not be asked, and no stack be taken.
#[test]
fn calls_that_were_never_seen_stay() {
    let program = [EXIT, Insn::call(181), EXIT, Insn::call(181), EXIT];
    let aux = [true, false, false, true, true].map(|seen| Aux { seen, zext_dst: false, user: 0 });
    let arena = Arena::new();
    let mut list = List::with_aux(&arena, &program, &aux).expect("a list");
    let mut stack = [8, 8];
    let mut subprogs = Subprogs { starts: &[0, 3], stack: &mut stack };
    let report = inline_loops(&mut list, &mut subprogs, &Callback(3)).expect("no error");
    assert_eq!(report.loops, 1);
    let out = list.linearize().expect("a program").units;
    assert_eq!(out[..3], program[..3]);
    assert_eq!(stack, [8, 32]);
}
