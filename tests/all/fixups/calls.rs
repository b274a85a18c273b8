//! Calls, packet access and pointer arithmetic: what they become depends on what the host knows.

use relinear::Handle;
use relinear::bpf::Insn;
use relinear::passes::Error;
use relinear::passes::kernel::Kernel;
use relinear::passes::misc_fixups::{
    AluLimit, ArrayLookup, Call, HashLookup, Host, IndexMask, MayGoto, Options, PacketLoads, Site, Subprogs,
    TailCall, inline_loops,
};

use super::{AX, EXIT, Edited, fixed, slot, try_fixed};

/// A host that says the same of every call and of every sum.
struct Knows(Call<'static>, Option<AluLimit>);

impl Host<u32> for Knows {
    fn call(&self, _: &Site<'_, u32>) -> Call<'_> {
        self.0
    }

    fn alu_limit(&self, _: &Site<'_, u32>) -> Option<AluLimit> {
        self.1
    }
}

/// What Linux 6.18 made of calls of helpers, for maps of 3 elements.
fn table() -> Vec<(i32, Call<'static>, Vec<Insn>)> {
    let array = ArrayLookup { elements: 0x138, element_size: 64, max_entries: 3, index_mask: None };
    let masked = ArrayLookup { index_mask: Some(3), ..array };
    let odd = ArrayLookup { element_size: 24, ..array };
    let hash = HashLookup { find: 0x50c70, value: 0x38, referenced: None };
    let head = |skip| vec![slot(0x07, 1, 0, 0, 0x138), slot(0x61, 0, 2, 0, 0), slot(0x35, 0, 0, skip, 3)];
    let none = [slot(0x05, 0, 0, 1, 0), slot(0xb7, 0, 0, 0, 0)];
    let sum = slot(0x0f, 0, 1, 0, 0);
    let mask = slot(0x54, 0, 0, 0, 3);
    let of_cpu = slot(0xbf, 0, 0, -1, 0);
    let per_cpu = [slot(0x67, 0, 0, 0, 3), sum, slot(0x79, 0, 0, 0, 0), of_cpu, none[0], none[1]];
    let tail_call = slot(0xf5, 0, 0, 0, 0);
    vec![
        (1, Call::Keep, vec![Insn::call(1)]),
        (2, Call::Immediate(-0x1234), vec![Insn::call(-0x1234)]),
        (1, Call::ArrayLookup(array), [&head(3)[..], &[slot(0x67, 0, 0, 0, 6), sum], &none].concat()),
        (1, Call::ArrayLookup(odd), [&head(3)[..], &[slot(0x27, 0, 0, 0, 24), sum], &none].concat()),
        (1, Call::ArrayLookup(masked), [&head(4)[..], &[mask, slot(0x67, 0, 0, 0, 6), sum], &none].concat()),
        (1, Call::PerCpuArrayLookup(array), [&head(5)[..], &per_cpu].concat()),
        (1, Call::PerCpuArrayLookup(masked), [&head(6)[..], &[mask], &per_cpu].concat()),
        (
            1,
            Call::HashLookup(hash),
            vec![Insn::call(0x50c70), slot(0x15, 0, 0, 1, 0), slot(0x07, 0, 0, 0, 0x38)],
        ),
        (
            1,
            Call::HashLookup(HashLookup { referenced: Some(35), ..hash }),
            vec![
                Insn::call(0x50c70),
                slot(0x15, 0, 0, 4, 0),
                slot(0x71, 1, 0, 35, 0),
                slot(0x55, 1, 0, 1, 0),
                slot(0x72, 0, 0, 35, 1),
                slot(0x07, 0, 0, 0, 0x38),
            ],
        ),
        (12, Call::TailCall(TailCall { poke: 0, mask: None }), vec![tail_call]),
        (12, Call::TailCall(TailCall { poke: 2, mask: None }), vec![tail_call.with_imm(2)]),
        (
            12,
            Call::TailCall(TailCall { poke: 0, mask: Some(IndexMask { max_entries: 5, index_mask: 7 }) }),
            vec![slot(0x35, 3, 0, 2, 5), slot(0x54, 3, 0, 0, 7), tail_call],
        ),
        (
            118,
            Call::Jiffies { address: 0xffff_ffff_8300_9980 },
            vec![slot(0x18, 0, 0, 0, -0x7cff_6680), slot(0, 0, 0, 0, -1), slot(0x79, 0, 0, 0, 0)],
        ),
        (
            8,
            Call::ProcessorId { address: -0x7c4f_1fcc },
            vec![slot(0xb7, 0, 0, 0, -0x7c4f_1fcc), of_cpu, slot(0x61, 0, 0, 0, 0)],
        ),
    ]
}

#[test]
fn every_call_becomes_what_the_kernel_makes_of_it() {
    for (helper, call, expected) in table() {
        let program = [slot(0x15, 1, 0, 1, 0), Insn::call(helper), slot(0xb7, 0, 0, 0, 0), EXIT];
        let (edited, report) = fixed(&program, &Knows(call, None), &Options::default());
        let over = i16::try_from(expected.len()).expect("a short patch");
        let expected = [&[program[0].with_off(over)], &expected[..], &program[2..]].concat();
        assert_eq!(edited.insns, expected, "{call:?}");
        assert_eq!(report.calls, u32::from(call != Call::Keep));
    }
}

#[test]
fn a_call_of_a_subprogram_is_no_helper() {
    let program = [Insn::call_local(1), EXIT, slot(0xb7, 0, 0, 0, 0), EXIT];
    let (edited, _) = fixed(&program, &Knows(Call::Immediate(5), None), &Options::default());
    assert_eq!(edited.insns, program);
}

#[test]
fn before_6_18_the_number_of_the_processor_is_found_by_a_short_move() {
    let host = Knows(Call::ProcessorId { address: 4 }, None);
    let (edited, _) =
        fixed(&[Insn::call(8), EXIT], &host, &Options { version: Kernel::V6_12, ..Options::default() });
    assert_eq!(edited.insns[0], slot(0xb4, 0, 0, 0, 4));
}

#[test]
fn what_a_host_writes_itself_is_a_patch() {
    static CODE: [Insn; 3] = [slot(0x15, 1, 0, 1, 0), slot(0xb7, 0, 0, 0, 7), slot(0xb4, 0, 0, 0, 8)];
    let (edited, _) = fixed(&[Insn::call(200), EXIT], &Knows(Call::Code(&CODE), None), &Options::default());
    assert_eq!(edited.insns, [&CODE[..], &[EXIT]].concat());
    assert_eq!(edited.aux.iter().map(|aux| aux.user).collect::<Vec<_>>(), [0, 0, 0, 1]);
    assert_eq!(edited.aux.iter().map(|aux| aux.zext_dst).collect::<Vec<_>>(), [false, false, true, false]);
}

#[test]
fn numbers_that_an_immediate_would_make_negative_are_refused() {
    let array = ArrayLookup { elements: 0, element_size: 8, max_entries: 1 << 31, index_mask: None };
    let long = ArrayLookup { element_size: (1 << 31) + 8, max_entries: 1, ..array };
    let mask = IndexMask { max_entries: 1 << 31, index_mask: u32::MAX };
    for call in [
        Call::ArrayLookup(array),
        Call::PerCpuArrayLookup(array),
        Call::ArrayLookup(long),
        Call::TailCall(TailCall { poke: 0, mask: Some(mask) }),
    ] {
        let program = [slot(0xb7, 0, 0, 0, 0), Insn::call(1), EXIT];
        let error = try_fixed(&program, &Knows(call, None), &Options::default()).err();
        let Some(Error::BadFact { at, value, .. }) = error else { panic!("{call:?}: {error:?}") };
        assert_eq!((at.index(), value >> 31), (1, 1));
    }
}

/// What Linux 6.18 made of `r0 = *(u32 *)skb[4]` and the like.
#[test]
fn packet_access_becomes_a_call_that_may_end_the_program() {
    let helpers = PacketLoads { byte: 0x009c_e8b0, half: 0x009c_e9a0, word: 0x009c_7ab0 };
    let options = Options { packet_loads: Some(helpers), ..Options::default() };
    let rest = |helper| {
        [
            slot(0xbf, 1, 6, 0, 0),
            Insn::call(helper),
            slot(0x75, 0, 0, 2, 0),
            slot(0xac, 0, 0, 0, 0),
            slot(0x95, 0, 0, 0, 0),
        ]
    };
    for (insn, argument, helper) in [
        (slot(0x20, 0, 0, 0, 4), vec![slot(0xb7, 2, 0, 0, 4)], helpers.word),
        (slot(0x28, 0, 0, 0, 0), vec![slot(0xb7, 2, 0, 0, 0)], helpers.half),
        (slot(0x30, 0, 0, 0, -3), vec![slot(0xb7, 2, 0, 0, -3)], helpers.byte),
        (slot(0x40, 0, 7, 0, 8), vec![slot(0xbf, 2, 7, 0, 0), slot(0x07, 2, 0, 0, 8)], helpers.word),
        (slot(0x48, 0, 7, 0, 4), vec![slot(0xbf, 2, 7, 0, 0), slot(0x07, 2, 0, 0, 4)], helpers.half),
        (slot(0x50, 0, 7, 0, 0), vec![slot(0xbf, 2, 7, 0, 0)], helpers.byte),
    ] {
        let (edited, report) = fixed(&[insn, EXIT], &(), &options);
        assert_eq!(edited.insns, [&argument[..], &rest(helper), &[EXIT]].concat());
        assert_eq!(report.packet_loads, 1);
        let (left, _) = fixed(&[insn, EXIT], &(), &Options::default());
        assert_eq!(left.insns, [insn, EXIT]);
    }
}

/// The sequences of the kernel: those for offsets that are not negative, or known, were read back from
/// Linux 6.18.
#[test]
fn pointers_stay_in_bounds_while_a_processor_speculates() {
    let limit = AluLimit { limit: 15, negative: false, known: false, offset_in_dst: false };
    let negative = AluLimit { negative: true, ..limit };
    let known = AluLimit { known: true, limit: 5, ..limit };
    let dst = |limit| AluLimit { offset_in_dst: true, ..limit };
    let masked = |reg| {
        [
            slot(0xb4, AX, 0, 0, 15),
            slot(0x1f, AX, reg, 0, 0),
            slot(0x4f, AX, reg, 0, 0),
            slot(0x87, AX, 0, 0, 0),
            slot(0xc7, AX, 0, 0, 63),
            slot(0x5f, AX, reg, 0, 0),
        ]
    };
    let (p, o) = (8, 7);
    let load = slot(0xb4, AX, 0, 0, 5);
    let sum = |code, dst| slot(code, dst, AX, 0, 0);
    let copy = slot(0xbf, o, p, 0, 0);
    let negate = slot(0x27, o, 0, 0, -1);
    let op = |code, dst, src| slot(code, dst, src, 0, 0);
    for (insn, limit, expected) in [
        (op(0x0f, p, o), limit, [&masked(o)[..], &[sum(0x0f, p)]].concat()),
        (op(0x0f, o, p), dst(limit), [&masked(o)[..], &[copy, sum(0x0f, o)]].concat()),
        (op(0x1f, p, o), limit, [&masked(o)[..], &[sum(0x1f, p)]].concat()),
        (op(0x0f, p, o), negative, [&[negate], &masked(o)[..], &[sum(0x1f, p), negate]].concat()),
        (op(0x1f, p, o), negative, [&[negate], &masked(o)[..], &[sum(0x0f, p), negate]].concat()),
        (op(0x0f, o, p), dst(negative), [&[negate], &masked(o)[..], &[copy, sum(0x1f, o)]].concat()),
        (op(0x0f, p, o), known, vec![load, sum(0x0f, p)]),
        (op(0x0f, p, o), AluLimit { negative: true, ..known }, vec![load, sum(0x1f, p)]),
        (op(0x0f, o, p), AluLimit { negative: true, ..dst(known) }, vec![load, copy, sum(0x1f, o)]),
    ] {
        let host = Knows(Call::Keep, Some(limit));
        let (edited, report) = fixed(&[insn, EXIT], &host, &Options::default());
        assert_eq!(edited.insns, [expected, vec![EXIT]].concat(), "{insn:?} {limit:?}");
        assert_eq!(report.sanitized, 1);
    }
    // No other operation is one of a pointer and a register.
    for insn in [op(0x0c, p, o), slot(0x07, p, 0, 0, 4), op(0x2f, p, o), op(0xbf, p, o)] {
        let host = Knows(Call::Keep, Some(limit));
        assert_eq!(fixed(&[insn, EXIT], &host, &Options::default()).0.insns, [insn, EXIT]);
    }
}

/// A host that numbers the calls that were inserted, from 1000 on.
struct Tells(Call<'static>);

impl Host<u32> for Tells {
    fn call(&self, _: &Site<'_, u32>) -> Call<'_> {
        self.0
    }

    fn loop_callback(&self, _: &Site<'_, u32>) -> Option<Handle> {
        Some(Handle::new(4))
    }

    fn inserted_call(&self, insn: Insn) -> u32 {
        if insn.src() == 1 { 2000 } else { 1000 + u32::try_from(insn.imm).expect("a small number") }
    }
}

/// What a host knows of the calls of a program, by their facts: inserted ones have the facts that it gave them, all others
/// have those that they had.
#[test]
fn inserted_calls_are_known_by_their_facts() {
    let helpers = PacketLoads { byte: 11, half: 12, word: 13 };
    let hash = Call::HashLookup(HashLookup { find: 21, value: 8, referenced: None });
    let budget = MayGoto::Timed { check: 31 };
    let options = Options { packet_loads: Some(helpers), may_goto: Some(budget), ..Options::default() };
    let program =
        [slot(0x28, 0, 0, 0, 2), Insn::call(1), Insn::may_goto(0), EXIT, slot(0xb7, 0, 0, 0, 0), EXIT];
    let (edited, _) = fixed(&program, &Tells(hash), &options);
    let calls = |edited: &Edited| {
        let both = edited.insns.iter().zip(&edited.aux);
        both.filter(|(insn, _)| insn.is_call()).map(|(insn, aux)| (insn.imm, aux.user)).collect::<Vec<_>>()
    };
    assert_eq!(calls(&edited), [(12, 1012), (21, 1021), (31, 1031)]);
    // A call that takes the place of another one keeps what was known of it.
    let (edited, _) = fixed(&program[1..2], &Tells(Call::Immediate(9)), &options);
    assert_eq!(calls(&edited), [(9, 0)]);
    let program = [Insn::call(7), Insn::call(181), EXIT, EXIT, slot(0xb7, 0, 0, 0, 0), EXIT];
    let edited = super::edited(&program, |list| {
        let mut subprogs = Subprogs { starts: &[0, 4], stack: &mut [0, 0] };
        inline_loops(list, &mut subprogs, &Tells(Call::Keep)).map(drop)
    });
    let facts: Vec<u32> = calls(&edited.expect("no error")).into_iter().map(|(_, user)| user).collect();
    assert_eq!(facts, [0, 2000]);
}
