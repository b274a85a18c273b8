//! What is known of values, and the passes that go by it: `fold`, `constants`, `dead_stores`. The kernel has to accept
//! what they make of programs that it accepts.

use std::os::fd::AsRawFd;

use relinear::bpf::opcode::{FRAME_POINTER, LD_MAP_VALUE};
use relinear::bpf::values::{Base, Bits, Fact, Facts, Options, Value, Values};
use relinear::bpf::{Bpf, Cfg, Endian, Insn, Program};
use relinear::passes::{self, constants, dead_stores, fold};
use relinear::{Arena, List};

use crate::kernel;
use crate::passes::listing;
use crate::random::{Shape, from_insns, program, slot, traffic_control};

const OPTIONS: Options<'_> =
    Options { roots: Some(&[0]), programs: &[0], endian: Some(Endian::Little), every_way: false };

/// What is known of a register before the last instruction.
fn known(text: &str, reg: u8) -> Value {
    let program = program(text);
    let cfg = Cfg::new(&program).expect("a graph");
    let facts = Facts::default();
    let values = Values::new(&program, &cfg, &facts, &OPTIONS).expect("a root");
    let state = values.before(slot(program.insns.len()) - 1).expect("control comes there");
    state.reg(reg)
}

#[test]
fn registers_and_the_frame_are_known() {
    let bits = |value, unknown| Value::Bits(Bits::with_unknown(value, unknown));
    for (text, value) in [
        ("r0 = 5\nr0 <<= 3\nexit", Value::constant(40)),
        ("call 7\nr0 &= 6\nr0 |= 1\nexit", bits(1, 6)),
        ("call 7\nif r0 == 9 goto on\nr0 = 9\non:\nexit", Value::constant(9)),
        ("call 7\nif r0 & 0xf0 goto on\ngoto out\non:\nr0 = 0\nout:\nexit", bits(0, !0xf0)),
        (
            "*(u32 *)(r10 - 4) = 7\n*(u32 *)(r10 - 8) = -1\nr0 = *(u64 *)(r10 - 8)\nexit",
            Value::constant(0x7_ffff_ffff),
        ),
        ("r1 = 9\n*(u64 *)(r10 - 8) = r1\ncall 7\nr0 = *(u8 *)(r10 - 8)\nexit", Value::constant(9)),
        ("r0 = r1\nr0 += 8\nexit", Value::pointer(Base::Context, 8)),
        (
            "r0 = r10\nr0 -= 24\n*(u64 *)(r10 - 8) = r0\nr0 = *(u64 *)(r10 - 8)\nexit",
            Value::pointer(Base::Frame, -24),
        ),
        // A helper gets at what is above an address, a subprogram at everything.
        (
            "*(u64 *)(r10 - 16) = 1\nr2 = r10\nr2 += -8\ncall 1\nr0 = *(u64 *)(r10 - 16)\nexit",
            Value::constant(1),
        ),
        ("*(u64 *)(r10 - 8) = 1\nr2 = r10\nr2 += -16\ncall 1\nr0 = *(u64 *)(r10 - 8)\nexit", Value::UNKNOWN),
        // An address that may be one in the frame, and one that is none.
        (
            "*(u64 *)(r10 - 8) = 1\ncall 7\n*(u64 *)(r0 + 0) = 2\nr0 = *(u64 *)(r10 - 8)\nexit",
            Value::constant(1),
        ),
        (
            "*(u64 *)(r10 - 8) = 1\nr2 = r10\nr3 = r2\nr3 |= 1\ncall 7\n*(u64 *)(r0 + 0) = 2\nr0 = *(u64 *)(r10 - 8)\nexit",
            Value::UNKNOWN,
        ),
        // A field of the context may be a whole address.
        ("r0 = *(u32 *)(r1 + 76)\nexit", Value::UNKNOWN),
        ("r0 = *(u16 *)(r1 + 76)\nexit", bits(0, 0xffff)),
    ] {
        assert_eq!(known(text, 0), value, "{text}");
    }
}

#[test]
fn arguments_and_results_of_subprograms_are_known() {
    let sub = "exit\nsub:\nr0 = r1\nr0 += 1\nexit";
    let calls = |head: &str| {
        let program = program(&format!("{head}\n{sub}"));
        let cfg = Cfg::new(&program).expect("a graph");
        let facts = Facts::default();
        let returned = |options: &Options<'_>| {
            Values::new(&program, &cfg, &facts, options)
                .expect("a root")
                .returned(1)
                .and_then(Value::as_constant)
        };
        [returned(&OPTIONS), returned(&Options::default())]
    };
    assert_eq!(calls("r1 = 4\ncall sub"), [Some(5), None]);
    assert_eq!(calls("r1 = 4\ncall sub\nr1 = 4\ncall sub"), [Some(5), None]);
    assert_eq!(calls("r1 = 4\ncall sub\nr1 = 5\ncall sub"), [None, None]);
    // Only calls that control reaches count, and whoever has the address calls with anything.
    assert_eq!(calls("r1 = 4\ncall sub\nr2 = r0\nif r2 == 5 goto +2\nr1 = 5\ncall sub"), [Some(5), None]);
    assert_eq!(calls("r1 = 4\ncall sub\nr2 = subprog[sub] ll"), [None, None]);
}

#[test]
fn what_is_not_there_is_no_root() {
    let program = program("exit");
    let (cfg, facts) = (Cfg::new(&program).expect("a graph"), Facts::default());
    for (roots, root) in [(&[][..], None), (&[0, 1][..], Some(1))] {
        let options = Options { roots: Some(roots), ..Options::default() };
        let error = Values::new(&program, &cfg, &facts, &options).expect_err("no root");
        assert_eq!((error.root, error.subprogs), (root, 1));
    }
}

type Run<'f> = dyn Fn(&Program, &mut List<'_, Bpf>) -> Result<(), passes::Error> + 'f;

fn edited(program: &Program, run: &Run<'_>) -> Program {
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
    run(program, &mut list).expect("no error");
    from_insns(list.linearize().expect("a program").units)
}

fn assert_becomes(before: &str, after: &str, run: &Run<'_>) {
    assert_eq!(listing(&edited(&program(before), run).insns), listing(&program(after).insns), "{before}");
}

#[test]
fn constants_are_written() {
    for (before, after) in [
        ("r1 = 6\nr1 *= 7\nr0 = r1\nexit", "r1 = 6\nr1 = 42\nr0 = 42\nexit"),
        ("w1 = -1\nr0 = r1\nexit", "w1 = -1\nw0 = -1\nexit"),
        ("r1 = 1\nr1 <<= 40\nr0 = 0\nexit", "r1 = 1\nr1 = 0x10000000000 ll\nr0 = 0\nexit"),
        ("r2 = 3\ncall 7\nr6 = 5\nr0 += r6\nexit", "r2 = 3\ncall 7\nr6 = 5\nr0 += 5\nexit"),
        ("call 7\nr6 = 35\nw0 <<= w6\nexit", "call 7\nr6 = 35\nw0 <<= 3\nexit"),
        // No immediate is such a number, or a verifier refuses it.
        ("call 7\nr6 = 0x80000000 ll\nr0 += r6\nexit", "call 7\nr6 = 0x80000000 ll\nr0 += r6\nexit"),
        ("call 7\nr6 = 0\nr0 /= r6\nexit", "call 7\nr6 = 0\nr0 /= r6\nexit"),
        (
            "call 7\nr6 = 4\ntop:\nr0 += 1\nif r0 < r6 goto top\nexit",
            "call 7\nr6 = 4\ntop:\nr0 += 1\nif r0 < 4 goto top\nexit",
        ),
        (
            "*(u64 *)(r10 - 8) = 3\nr0 = *(u32 *)(r10 - 8)\nif r0 == 3 goto on\nr0 = 7\non:\nexit",
            "*(u64 *)(r10 - 8) = 3\nr0 = 3\nexit",
        ),
        (
            "r1 = 2\ncall sub\nif r0 == 2 goto on\ncall gone\non:\nexit\nsub:\nr0 = r1\nexit\ngone:\nr0 = 0\nexit",
            "r1 = 2\ncall sub\nexit\nsub:\nr0 = 2\nexit",
        ),
    ] {
        assert_becomes(before, after, &|program, list| {
            constants::run(program, list, &Facts::default(), &OPTIONS).map(|_| ())
        });
    }
}

#[test]
fn results_that_nothing_uses_go() {
    for (before, after) in [
        ("r1 = 5\nr2 = 1 ll\nr3 = map[fd:0x7] ll\nr4 = r3\nr0 = 0\nexit", "r0 = 0\nexit"),
        (
            "r6 = 0\ntop:\nr6 += 1\ncall 7\nif r0 != 0 goto top\nexit",
            "top:\ncall 7\nif r0 != 0 goto top\nexit",
        ),
        (
            "*(u64 *)(r10 - 8) = 1\n*(u32 *)(r10 - 8) = 2\nr0 = *(u32 *)(r10 - 8)\nexit",
            "*(u32 *)(r10 - 8) = 2\nr0 = *(u32 *)(r10 - 8)\nexit",
        ),
        ("*(u64 *)(r10 - 8) = 1\nr1 = *(u64 *)(r10 - 8)\nr0 = 0\nexit", "r0 = 0\nexit"),
        // A helper reads upwards.
        (
            "*(u64 *)(r10 - 8) = 1\n*(u64 *)(r10 - 16) = 1\nr2 = r10\nr2 += -8\nr1 = map[fd:0x7] ll\ncall 1\nexit",
            "*(u64 *)(r10 - 8) = 1\nr2 = r10\nr2 += -8\nr1 = map[fd:0x7] ll\ncall 1\nexit",
        ),
    ] {
        assert_becomes(before, after, &|program, list| {
            dead_stores::run(program, list, &Facts::default(), &OPTIONS).map(|_| ())
        });
    }
    for kept in [
        // Read by one of two ways, by a subprogram, by a helper that may follow an address, by what has the address.
        "*(u64 *)(r10 - 8) = 1\nif r1 == 0 goto on\nr0 = *(u8 *)(r10 - 1)\nexit\non:\nr0 = 0\nexit",
        "*(u64 *)(r10 - 8) = 1\nr1 = r10\ncall sub\nexit\nsub:\nr0 = *(u64 *)(r1 - 8)\nexit",
        "*(u64 *)(r10 - 32) = 1\nr2 = r10\nr2 += -32\n*(u64 *)(r10 - 8) = r2\nr2 += 24\ncall 1\nexit",
        "*(u64 *)(r10 - 8) = 1\nr2 = r10\nr2 |= 1\ncall 5\nr0 = *(u64 *)(r0 + 0)\nexit",
        // Loads of other memory, and a callback that would be left alone.
        "r0 = *(u64 *)(r1 + 0)\nr0 = 0\nexit",
        "r2 = subprog[sub] ll\nr0 = 0\nexit\nsub:\nr0 = 0\nexit",
        // A constant branch that is left: a verifier may go both ways.
        "*(u64 *)(r10 - 8) = 1\nr1 = 0\nif r1 == 0 goto on\nr0 = *(u64 *)(r10 - 8)\nexit\non:\nr0 = 0\nexit",
    ] {
        assert_becomes(kept, kept, &|program, list| {
            dead_stores::run(program, list, &Facts::default(), &OPTIONS).map(|_| ())
        });
    }
}

#[test]
fn facts_become_code() {
    let mut program = program(
        "r1 = map[fd:0x7][8] ll\nr2 = *(u16 *)(r1 + 2)\nr3 = *(u32 *)(r1 + 4)\nr4 = 9\nr0 = *(u32 *)(r1 + 0)\nexit",
    );
    program.pinned = std::iter::repeat_n(false, program.insns.len()).collect();
    program.pinned.set(0, true);
    program.pinned.set(4, true);
    let data = [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0x84, 5, 6, 7, 8];
    let mut facts = Facts::default();
    // Only the first four bytes never change.
    let object = facts.add_object(&data, [8..10, 9..12]);
    facts.set(0, Fact::Pointer { object, offset: 8 });
    facts.set(4, Fact::Immediate(-3));
    let arena = Arena::new();
    let mut editor = program.edit(&arena).expect("an editor");
    let report = fold::run(&program, editor.list(), &facts, &OPTIONS).expect("no error");
    assert_eq!((report.loads, report.insns), (2, 1));
    let (out, moves) = editor.linearize_with_map().expect("a program");
    let expected =
        "r1 = map[fd:0x7][8] ll\nr2 = 0x8403\nr3 = *(u32 *)(r1 + 4)\nr4 = -3\nw0 = -2080177663\nexit";
    assert_eq!(listing(&out.insns), listing(&self::program(expected).insns));
    // The loader has nothing to write any more.
    assert_eq!(out.pinned.iter_ones().collect::<Vec<_>>(), [0]);
    assert_eq!(facts.moved(&moves.map).iter().count(), 1);
}

/// Every pass, then all to a fixpoint: the kernel accepts each, and they return the same.
#[test]
fn the_kernel_accepts_what_passes_by_values_make() {
    if !kernel::is_available() {
        return;
    }
    let facts = Facts::default();
    let constants = |program: &Program, list: &mut List<'_, Bpf>| {
        constants::run(program, list, &facts, &OPTIONS).map(|_| ())
    };
    let dead_stores = |program: &Program, list: &mut List<'_, Bpf>| {
        dead_stores::run(program, list, &facts, &OPTIONS).map(|_| ())
    };
    let mut slots = [0, 0];
    for seed in 0..100 {
        let callees = usize::try_from(seed % 3).expect("small");
        let shape = Shape { statements: 40, callees, junk: false, use_r1: seed % 2 == 0 };
        let plain = program(&traffic_control(seed, shape));
        let runs = |program: &Program, what: &str| {
            let loaded = kernel::load(&program.insns).unwrap_or_else(|refused| {
                panic!("seed {seed}, {what}: {}\n{}\n{}", refused.error, listing(&program.insns), refused.log)
            });
            [14, 60, 61, 1500].map(|packet| loaded.run(packet).expect("it runs"))
        };
        let expected = runs(&plain, "plain");
        assert_eq!(runs(&edited(&plain, &dead_stores), "without dead stores"), expected, "seed {seed}");
        let mut all = edited(&plain, &constants);
        assert_eq!(runs(&all, "with constants"), expected, "seed {seed}");
        for _ in 0..3 {
            all = edited(&edited(&all, &constants), &dead_stores);
        }
        assert_eq!(runs(&all, "all"), expected, "seed {seed}");
        slots = [slots[0] + plain.insns.len(), slots[1] + all.insns.len()];
    }
    println!("{slots:?} slots before and after");
    assert!(slots[1] < slots[0]);
}

/// A map that is read-only for programs and frozen: what the kernel's verifier knows too.
#[test]
fn the_kernel_reads_the_same_from_frozen_maps() {
    if !kernel::is_available() {
        return;
    }
    let data: Vec<u8> = (0..64_u8).map(|byte| byte.wrapping_mul(77).wrapping_add(131)).collect();
    let map = kernel::frozen_map(&data).expect("a map");
    for (size, sign) in [
        ("u8", false),
        ("u16", false),
        ("u32", false),
        ("u64", false),
        ("s8", true),
        ("s16", true),
        ("s32", true),
    ] {
        for at in [0, 8, 24, 56] {
            let fd = map.as_raw_fd();
            let text = format!(
                "r1 = map[fd:{fd:#x}][{at}] ll\nr0 = *({size} *)(r1 + 0)\nr1 = r0\nr1 >>= 32\nr0 ^= r1\nexit"
            );
            let plain = program(&text);
            assert_eq!(plain.insns[0].src(), LD_MAP_VALUE);
            let mut facts = Facts::default();
            let object = facts.add_object(&data, Some(0..data.len()));
            facts.set(0, Fact::Pointer { object, offset: at });
            let folded =
                edited(&plain, &|program, list| fold::run(program, list, &facts, &OPTIONS).map(|_| ()));
            let reads =
                |insn: &Insn| insn.class() == relinear::bpf::opcode::LDX && insn.src() != FRAME_POINTER;
            assert!(plain.insns.iter().any(reads) && !folded.insns.iter().any(reads), "{text} {sign}");
            let [before, after] = [&plain, &folded]
                .map(|program| kernel::load(&program.insns).expect("it loads").run(14).expect("it runs"));
            assert_eq!(before, after, "{text}");
        }
    }
}
