//! Rules that no run in this kernel shows: the other byte order, undefined upper halves, budgets, faults. Where no
//! source is named they are of RFC 9669.

use relinear::bpf::opcode::{AX, FRAME_POINTER};
use relinear::bpf::{Endian, Insn, asm};
use relinear::fuzzing::interp::{Fault, HelperCall, HighHalf, Machine, MapValues, Reason};

pub(super) fn insns(text: &str) -> Vec<Insn> {
    asm::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What a program returns.
fn value(machine: &Machine, text: &str) -> u64 {
    machine.run(&insns(text)).unwrap_or_else(|fault| panic!("{fault}\n{text}")).value
}

fn fault(machine: &Machine, text: &str) -> Fault {
    machine.run(&insns(text)).expect_err(text)
}

#[test]
fn memory_has_the_byte_order_of_the_machine() {
    let [little, big] = [Endian::Little, Endian::Big].map(|endian| Machine { endian, ..Machine::default() });
    for (text, in_little, in_big) in [
        ("*(u32 *)(r10 - 4) = 0x01020304\nr0 = *(u8 *)(r10 - 4)", 0x04, 0x01),
        ("*(u32 *)(r10 - 4) = 0x01020384\nr0 = *(s8 *)(r10 - 1)", 0x01, u64::MAX - 0x7b),
        ("*(u64 *)(r10 - 8) = 0x01020304\nr0 = *(u16 *)(r10 - 8)", 0x0304, 0),
        (
            "r1 = 0x0102030405060708 ll\n*(u64 *)(r10 - 8) = r1\nr0 = *(u32 *)(r10 - 8)",
            0x0506_0708,
            0x0102_0304,
        ),
        ("r0 = 0x0102030405060708 ll\nr0 = be16 r0", 0x0807, 0x0708),
        ("r0 = 0x0102030405060708 ll\nr0 = le16 r0", 0x0708, 0x0807),
        ("r0 = 0x0102030405060708 ll\nr0 = be32 r0", 0x0807_0605, 0x0506_0708),
        ("r0 = 0x0102030405060708 ll\nr0 = le64 r0", 0x0102_0304_0506_0708, 0x0807_0605_0403_0201),
        ("r0 = 0x0102030405060708 ll\nr0 = bswap32 r0", 0x0807_0605, 0x0807_0605),
        ("*(u64 *)(r10 - 8) = 0\nr1 = 1\nlock *(u32 *)(r10 - 8) += r1\nr0 = *(u8 *)(r10 - 5)", 0, 1),
    ] {
        let text = format!("{text}\nexit");
        assert_eq!(value(&little, &text), in_little, "little: {text}");
        assert_eq!(value(&big, &text), in_big, "big: {text}");
    }
}

#[test]
fn the_packet_has_network_byte_order_in_any_machine() {
    for endian in [Endian::Little, Endian::Big] {
        let machine = Machine { endian, packet: vec![1, 2, 3, 4, 5], ..Machine::default() };
        assert_eq!(value(&machine, "r6 = r1\nr0 = *(u32 *)skb[1]\nexit"), 0x0203_0405);
        // Past the end, it leaves the program (`bpf_gen_ld_abs` in the kernel).
        assert_eq!(value(&machine, "r6 = r1\nr0 = *(u32 *)skb[2]\nr0 = 7\nexit"), 0);
    }
}

#[test]
fn upper_halves_may_hold_anything_until_they_are_zeroed() {
    let machine = Machine { high_half: HighHalf::Anything, ..Machine::default() };
    let high = |text: &str| value(&machine, text) >> 32;
    assert_ne!(high("w0 = 1\nexit"), 0);
    assert_ne!(high("*(u64 *)(r10 - 8) = 0\nr0 = *(u8 *)(r10 - 8)\nexit"), 0);
    assert_eq!(high("r0 = 1\nexit"), 0);
    assert_eq!(high("*(u64 *)(r10 - 8) = 0\nr0 = *(s8 *)(r10 - 8)\nexit"), 0);
    let mut zeroed = insns("w0 = 1\nw0 = w0\nexit");
    assert_ne!(machine.run(&zeroed).unwrap().value >> 32, 0);
    // `BPF_ZEXT_REG` of the kernel.
    zeroed[1] = zeroed[1].with_imm(1);
    assert_eq!(machine.run(&zeroed).unwrap().value, 1);
}

/// Calls `bpf_loop` with a callback that adds its index to the word that it gets, and stops at index 3.
pub(super) fn looping(turns: i64, flags: i32) -> String {
    format!(
        "*(u64 *)(r10 - 8) = 0\nr1 = {turns} ll\nr2 = subprog[body] ll\nr3 = r10\nr3 += -8\nr4 = {flags}\ncall 181\n\
         r1 = *(u64 *)(r10 - 8)\nr1 <<= 16\nr0 ^= r1\nexit\n\
         body:\nr3 = *(u64 *)(r2 + 0)\nr3 += r1\n*(u64 *)(r2 + 0) = r3\nr0 = 0\nif r1 != 3 goto out\nr0 = 1\nout:\nexit"
    )
}

/// By `bpf_loop` of the kernel's `bpf_iter.c`.
#[test]
fn a_loop_calls_back_until_it_is_told_to_stop() {
    let machine = Machine::default();
    assert_eq!(value(&machine, &looping(0, 0)), 0);
    assert_eq!(value(&machine, &looping(3, 0)), 3 << 16 | 3);
    assert_eq!(value(&machine, &looping(9, 0)), 6 << 16 | 4);
    // -EINVAL and -E2BIG.
    assert_eq!(value(&machine, &looping(3, 1)), (-22_i64).cast_unsigned());
    assert_eq!(value(&machine, &looping((1 << 23) + 1, 0)), (-7_i64).cast_unsigned());
}

/// By `may_goto` of the kernel, where each call of a function has a budget.
#[test]
fn may_goto_leaves_once_its_budget_is_spent() {
    let machine = Machine { may_goto: 5, ..Machine::default() };
    let turns = "r0 = 0\nagain:\nmay_goto out\nr0 += 1\ngoto again\nout:\nexit";
    assert_eq!(value(&machine, turns), 5);
    let twice = format!("call sub\nr6 = r0\ncall sub\nr0 += r6\nexit\nsub:\n{turns}");
    assert_eq!(value(&machine, &twice), 10);
}

#[test]
fn callees_have_frames_and_registers_of_their_own() {
    let machine = Machine::default();
    let text = "r6 = 7\n*(u64 *)(r10 - 8) = 5\nr1 = r10\ncall sub\nr0 = *(u64 *)(r10 - 8)\nr0 += r6\nexit\n\
                sub:\nr6 = 1\n*(u64 *)(r10 - 8) = 9\n*(u64 *)(r1 - 8) = 6\nr0 = 0\nexit";
    assert_eq!(value(&machine, text), 13);
}

#[test]
fn maps_are_found_by_helpers_and_by_addresses() {
    let map = MapValues { size: 8, bytes: (0..16).collect() };
    let machine = Machine { maps: vec![map], ..Machine::default() };
    let text = "*(u32 *)(r10 - 4) = 1\nr1 = map[idx:0] ll\nr2 = r10\nr2 += -4\ncall 1\nr0 = *(u8 *)(r0 + 2)\n\
                r1 = map[idx:0][15] ll\n*(u8 *)(r1 + 0) = 77\nexit";
    let outcome = machine.run(&insns(text)).unwrap();
    assert_eq!(outcome.value, 10);
    assert_eq!(outcome.maps[0][14..], [14, 77]);
    let missing = "*(u32 *)(r10 - 4) = 2\nr1 = map[idx:0] ll\nr2 = r10\nr2 += -4\ncall 1\nexit";
    assert_eq!(value(&machine, missing), 0);
}

#[test]
fn what_helpers_are_called_with_is_recorded() {
    let text = "r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\ncall 6\nr0 = 0\nexit";
    let outcome = Machine::default().run(&insns(text)).unwrap();
    assert_eq!(outcome.trace, [HelperCall { helper: 6, arguments: vec![1, 2, 3, 4, 5] }]);
}

#[test]
fn faults_name_the_instruction() {
    let machine = Machine { steps: 100, context: vec![0; 8], ..Machine::default() };
    let access = |address, bytes| Reason::Access { address, bytes };
    for (text, at, reason) in [
        ("r0 = r3\nexit", 0, Reason::Unwritten(3)),
        ("r0 = 0\ncall sub\nexit\nsub:\nr0 = r6\nexit", 3, Reason::Unwritten(6)),
        ("r1 = 0\ncall 5\nr0 = r1\nexit", 2, Reason::Unwritten(1)),
        ("r0 = 0", 0, Reason::Outside(1)),
        ("goto +5", 0, Reason::Outside(6)),
        ("r0 = 0\ngoto -3", 1, Reason::Outside(-1)),
        ("r10 = 0\nexit", 0, Reason::FramePointer),
        ("r1 = 0\nr0 = *(u32 *)(r1 - 4)\nexit", 1, access(u64::MAX - 3, 4)),
        ("r1 = 16\n*(u16 *)(r1 + 0) = 1\nexit", 1, access(16, 2)),
        ("call 99999\nexit", 0, Reason::Helper(99999)),
        ("r1 = map[idx:3] ll\nexit", 0, Reason::Map(3)),
        ("r1 = 1\nr2 = 2\nr3 = 0\nr4 = 0\ncall 181\nexit", 4, Reason::Function(2)),
        ("r6 = 0\nr0 = *(u8 *)skb[0]\nexit", 1, Reason::Context(0)),
        ("sub:\ncall sub\nexit", 0, Reason::Depth),
        ("goto -1", 0, Reason::Steps),
    ] {
        assert_eq!(fault(&machine, text), Fault { at, reason }, "{text}");
    }
    for past in ["r0 = *(u64 *)(r1 + 1)", "*(u8 *)(r10 + 0) = 1", "*(u8 *)(r10 - 513) = 1"] {
        let Fault { at, reason } = fault(&machine, &format!("{past}\nexit"));
        assert!(at == 0 && matches!(reason, Reason::Access { .. }), "{past}: {reason}");
    }
    assert!(matches!(machine.run(&[]), Err(Fault { at: 0, reason: Reason::Insn(_) })));
    let hidden = [Insn::mov64_imm(AX, 0), Insn::mov64_reg(0, AX), Insn::exit()];
    assert!(matches!(machine.run(&hidden), Err(Fault { at: 0, reason: Reason::Insn(_) })));
    assert_eq!(Machine { highest: AX, ..machine.clone() }.run(&hidden).map(|outcome| outcome.value), Ok(0));
    assert_eq!(machine.highest, FRAME_POINTER);
}

/// No slots make it panic, however they are put together.
#[test]
fn any_slots_run_or_fault() {
    let mut rng = crate::random::Rng::new(7);
    let machine = Machine { steps: 1000, packet: vec![3; 9], context: vec![0; 9], ..Machine::default() };
    for _ in 0..20_000 {
        let slots = |_| {
            let word = rng.next().to_le_bytes();
            let small = rng.next().to_le_bytes()[0] % 12;
            let code = if small < 9 {
                [0x18, 0x85, 0x95, 0x05, 0xdb, 0xc3, 0x79, 0x7b, 0xbf][usize::from(small)]
            } else {
                word[0]
            };
            Insn::new(
                code,
                word[1] % 11,
                word[2] % 11,
                i16::from(word[3].cast_signed()),
                i32::from(word[4].cast_signed()),
            )
        };
        let program: Vec<Insn> = (0..12).map(slots).collect();
        _ = machine.run(&program);
    }
}
