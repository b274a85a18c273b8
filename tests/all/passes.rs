//! Dead code and constant blinding. What programs return comes from the kernel.

use std::os::fd::AsRawFd;

use relinear::bpf::opcode::{AX, MOV, XOR};
use relinear::bpf::{Aux, Bpf, Insn, Program, dis};
use relinear::passes::{self, blind, dce};
use relinear::{Arena, Handle, List};

use crate::kernel;
use crate::random::{Rng, Shape, from_insns, program, traffic_control};

/// Edits a program and gives what comes out.
fn edited(program: &Program, edit: impl FnOnce(&mut List<'_, Bpf>)) -> Vec<Insn> {
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
    edit(&mut list);
    list.linearize().expect("a program").units
}

fn without_dead_code(program: &Program) -> (Vec<Insn>, dce::Report) {
    let mut report = dce::Report::default();
    let options = dce::Options { roots: Some(vec![0]) };
    let insns = edited(program, |list| report = dce::run(program, list, &options).expect("no error"));
    (insns, report)
}

fn blinded(program: &Program, options: blind::Options) -> (Vec<Insn>, blind::Report) {
    let mut report = blind::Report::default();
    let insns = edited(program, |list| report = blind::run(program, list, &options).expect("no error"));
    (insns, report)
}

/// The text of a program, a line for each instruction.
pub(crate) fn listing(insns: &[Insn]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while at < insns.len() {
        let line = dis::dis(&insns[at..]);
        text.extend([at.to_string(), ": ".to_string(), line.to_string(), "\n".to_string()]);
        at += line.slots();
    }
    text
}

/// What a program returns for packets of several lengths.
fn returned(insns: &[Insn], what: &str) -> Vec<u32> {
    let loaded = kernel::load(insns)
        .unwrap_or_else(|refused| panic!("{what}: {}\n{}\n{}", refused.error, listing(insns), refused.log));
    [14, 60, 61, 100, 1500].map(|packet| loaded.run(packet).expect("it runs")).to_vec()
}

const SHAPES: [Shape; 4] = [
    Shape { statements: 30, callees: 0, junk: false, use_r1: false },
    Shape { statements: 60, callees: 2, junk: false, use_r1: false },
    Shape { statements: 40, callees: 1, junk: false, use_r1: true },
    Shape { statements: 12, callees: 3, junk: false, use_r1: true },
];

/// Programs may have facts of any type, and lists others.
#[test]
fn passes_take_programs_with_any_facts() {
    let plain = program("r1 = 5\nif r1 == 5 goto on\nr0 = 7\nexit\non:\nr0 = 77\nexit");
    let facts = (1..).take(plain.insns.len()).map(|user| Aux { user, ..Aux::<u32>::default() });
    let with_facts = Program {
        insns: plain.insns.clone(),
        subprogs: plain.subprogs.clone(),
        aux: facts.collect(),
        ..Program::default()
    };
    let arena = Arena::new();
    let mut editor = with_facts.edit(&arena).expect("a list");
    dce::run(&with_facts, editor.list(), &dce::Options::default()).expect("no error");
    blind::run(&with_facts, editor.list(), &blind::Options::default()).expect("no error");
    let out = editor.linearize().expect("a program");
    let expected = edited(&plain, |list| {
        dce::run(&plain, list, &dce::Options::default()).expect("no error");
        blind::run(&plain, list, &blind::Options::default()).expect("no error");
    });
    assert_eq!(out.insns, expected);
    let kept: Vec<u32> = out.aux.iter().map(|aux| aux.user).filter(|&user| user > 0).collect();
    assert_eq!(kept, [1, 5, 6]);
}

#[test]
fn random_programs_return_the_same_after_each_pass() {
    if !kernel::is_available() {
        return;
    }
    let mut blind_total = blind::Report::default();
    let mut dce_total = dce::Report::default();
    for seed in 0..200 {
        let shape = SHAPES[usize::try_from(seed % 4).expect("small")];
        let what = format!("seed {seed}");
        let plain = program(&traffic_control(seed, shape));
        let expected = returned(&plain.insns, &what);

        let with_junk = program(&traffic_control(seed, Shape { junk: true, ..shape }));
        let (insns, report) = without_dead_code(&with_junk);
        assert_eq!(returned(&insns, &format!("{what}, without dead code")), expected, "{what}");
        let again = from_insns(insns.clone());
        assert_eq!(without_dead_code(&again), (insns, dce::Report::default()), "{what}: a fixpoint");
        dce_total.unreached_slots += report.unreached_slots;
        dce_total.always_taken += report.always_taken;
        dce_total.never_taken += report.never_taken;
        dce_total.gotos += report.gotos;

        let (insns, report) = blinded(&plain, blind::Options { seed, ..Default::default() });
        assert_eq!(returned(&insns, &format!("{what}, blinded")), expected, "{what}");
        blind_total.blinded += report.blinded;
        blind_total.spilled += report.spilled;
        blind_total.without_register += report.without_register;
        blind_total.jumps_without_register += report.jumps_without_register;

        let both = edited(&with_junk, |list| {
            dce::run(&with_junk, list, &dce::Options { roots: Some(vec![0]) }).expect("no error");
            blind::run(&with_junk, list, &blind::Options { seed, ..Default::default() }).expect("no error");
        });
        assert_eq!(returned(&both, &format!("{what}, both passes on one list")), expected, "{what}");
    }
    println!("{dce_total:?}\n{blind_total:?}");
    assert!(dce_total.unreached_slots > 500 && dce_total.always_taken > 50 && dce_total.never_taken > 50);
    assert!(
        blind_total.blinded > 5000 && blind_total.spilled > 500 && blind_total.jumps_without_register > 50
    );
}

/// The text of a program without dead code must be that of another one.
fn assert_becomes(before: &str, after: &str) {
    let (insns, _) = without_dead_code(&program(before));
    assert_eq!(listing(&insns), listing(&program(after).insns), "{before}");
}

#[test]
fn unreached_code_goes() {
    assert_becomes("goto on\nr1 = 1 ll\nr1 = 2\non:\nr0 = 0\nexit", "r0 = 0\nexit");
    assert_becomes("r0 = 0\nexit\nr0 = 1\nexit", "r0 = 0\nexit");
    assert_becomes("r0 = 0\nexit\ntop:\nr0 = 1\ngoto top", "r0 = 0\nexit");
}

#[test]
fn branches_on_constants_fold() {
    assert_becomes("r1 = 5\nif r1 > 4 goto on\nr2 = 1\non:\nr0 = 0\nexit", "r1 = 5\nr0 = 0\nexit");
    assert_becomes("r1 = 4\nif r1 > 4 goto on\nr2 = 1\non:\nr0 = 0\nexit", "r1 = 4\nr2 = 1\nr0 = 0\nexit");
    // The same constant on both ways into a block, known as the third way does not exist.
    assert_becomes(
        "
        r1 = 1
        if r6 == 0 goto left
        r2 = 3
        if r1 == 2 goto never
        goto join
    left:
        r2 = 3
        goto join
    never:
        r2 = 4
    join:
        if r2 == 3 goto yes
        r0 = 0
        exit
    yes:
        r0 = 1
        exit",
        "
        r1 = 1
        if r6 == 0 goto left
        r2 = 3
        goto yes
    left:
        r2 = 3
    yes:
        r0 = 1
        exit",
    );
}

#[test]
fn a_goto_over_what_goes_goes_too() {
    // Each one leads to the next instruction once the one behind it is gone.
    assert_becomes("goto a\na:\ngoto b\nexit\nb:\ngotol c\nc:\nr0 = 0\nexit", "r0 = 0\nexit");
    // A fold, a goto over the hole, a fold again.
    assert_becomes(
        "
        r1 = 1
        if r1 != 1 goto dead
        goto on
    dead:
        r1 = 2
    on:
        if r1 == 1 goto end
        exit
    end:
        r0 = 0
        exit",
        "r1 = 1\nr0 = 0\nexit",
    );
}

#[test]
fn what_a_verifier_or_a_loop_needs_stays() {
    for text in [
        // Not a constant: it is one thing, then another.
        "r1 = 0\ntop:\nr1 += 1\nif r1 < 9 goto top\nr0 = 0\nexit",
        // Loops without an end.
        "top:\ngoto top",
        "if r1 == 0 goto top\nexit\ntop:\nr2 = 1\ngoto top",
        // A verifier may learn from these.
        "if r1 == 5 goto +0\nmay_goto +0\nr0 = 0\nexit",
        // Half of the comparison is unknown.
        "r1 = 5\nif r1 == r2 goto on\nr0 = 1\non:\nexit",
        "r1 = 5\ncall 7\nif r0 == 5 goto on\nr0 = 1\non:\nexit",
        "r1 = map[fd:0x7] ll\nif r1 == 7 goto on\nr0 = 1\non:\nexit",
    ] {
        assert_becomes(text, text);
    }
}

#[test]
fn the_last_instruction_of_a_subprogram_ends_it() {
    assert_becomes(
        "call sub\nexit\nsub:\nr0 = 1\ngoto on\non:\nexit\nr0 = 2\nexit",
        "call sub\nexit\nsub:\nr0 = 1\nexit",
    );
    assert_becomes(
        "call sub\nexit\nsub:\ntop:\nr0 = 1\ngoto top\nexit",
        "call sub\nexit\nsub:\ntop:\nr0 = 1\ngoto top",
    );
}

#[test]
fn pinned_instructions_are_unknown() {
    let mut program = program("r1 = 1\nif r1 == 1 goto on\nr0 = 0\nexit\non:\nr0 = 1\nexit");
    for pinned in [0, 1] {
        program.pinned = std::iter::repeat_n(false, program.insns.len()).collect();
        program.pinned.set(pinned, true);
        assert_eq!(without_dead_code(&program).0, program.insns, "{pinned}");
    }
}

const SUBPROGS: &str = "
    r1 = 1
    if r1 == 1 goto on
    call only_from_dead_code
    r2 = subprog[address_in_dead_code] ll
on:
    r2 = subprog[address] ll
    call called
    exit
only_from_dead_code:
    exit
address_in_dead_code:
    exit
address:
    call from_a_callback
    exit
called:
    exit
from_a_callback:
    exit";

#[test]
fn subprograms_that_nothing_refers_to_go() {
    let program = program(SUBPROGS);
    assert_eq!(program.subprogs.len(), 6);
    let (insns, report) = without_dead_code(&program);
    let expected = "r1 = 1\nr2 = subprog[a] ll\ncall c\nexit\na:\ncall f\nexit\nc:\nexit\nf:\nexit";
    assert_eq!(listing(&insns), listing(&crate::random::program(expected).insns));
    // Unreached: a call, an `ld_imm64`, two times `exit`.
    let report_expected =
        dce::Report { unreached_slots: 5, unreferenced_subprogs: 2, always_taken: 1, gotos: 1, ..report };
    assert_eq!((report, report.never_taken), (report_expected, 0));
}

fn dce_roots(program: &Program, roots: Option<Vec<u32>>) -> Result<dce::Report, passes::Error> {
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
    dce::run(program, &mut list, &dce::Options { roots })
}

#[test]
fn roots_are_what_the_caller_says() {
    let program = program(SUBPROGS);
    let gone = |roots| dce_roots(&program, roots).expect("no error").unreferenced_subprogs;
    assert_eq!(gone(None), 0);
    assert_eq!(gone(Some(vec![0, 1])), 1);
    assert_eq!(gone(Some(vec![5, 5])), 5);
    assert_eq!(dce_roots(&program, Some(vec![])), Err(passes::Error::BadRoot { root: None, subprogs: 6 }));
    assert_eq!(
        dce_roots(&program, Some(vec![6])),
        Err(passes::Error::BadRoot { root: Some(6), subprogs: 6 })
    );
}

#[test]
fn dead_code_wants_a_list_that_no_edit_has_touched() {
    let program = program("r1 = 1 ll\nr0 = 0\nexit");
    let after = |edit: &dyn Fn(&mut List<'_, Bpf>) -> bool| {
        let arena = Arena::new();
        let mut list = List::new(&arena, &program.insns).expect("a list");
        assert!(edit(&mut list), "the edit itself is fine");
        dce::run(&program, &mut list, &dce::Options::default()).map(|_| ())
    };
    let nop = [Insn::ja(0)];
    let edited = |at| Err(passes::Error::Edited { at });
    assert_eq!(after(&|_| true), Ok(()));
    assert_eq!(after(&|list| list.delete(Handle::new(2)).is_ok()), edited(2));
    assert_eq!(after(&|list| list.replace(Handle::new(2), &nop[..]).is_ok()), edited(2));
    assert_eq!(after(&|list| list.append(Handle::new(0), &nop[..]).is_ok()), edited(2));
    assert_eq!(after(&|list| list.delete(Handle::new(3)).is_ok()), edited(3));
    assert_eq!(after(&|list| list.prepend(list.end(), &nop[..]).is_ok()), edited(4));
    let other = from_insns(vec![Insn::exit()]);
    let arena = Arena::new();
    let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
    assert_eq!(dce::run(&other, &mut list, &dce::Options::default()).map(|_| ()), edited(0));
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low_half(value: i64) -> i32 {
    value as i32
}

/// What the kernel computes must be what the pass takes for the value: a comparison with it folds.
#[test]
fn constants_are_what_the_kernel_computes() {
    if !kernel::is_available() {
        return;
    }
    let mut rng = Rng::new(7);
    let ops = [
        "+=", "-=", "*=", "/=", "%=", "s/=", "s%=", "&=", "|=", "^=", "<<=", ">>=", "s>>=", "= ", "= (s8)",
        "= (s16)", "= (s32)", "neg", "bswap16", "bswap32", "bswap64",
    ];
    let odd = [
        0_i64,
        1,
        -1,
        i64::MIN,
        i64::MAX,
        i32::MIN.into(),
        0x8000_0000,
        0xffff_ffff_0000_0000_u64.cast_signed(),
    ];
    for op in ops {
        for case in 0..24 {
            let mut value = || if rng.one_in(2) { odd[rng.below(8)] } else { rng.next().cast_signed() };
            let (a, b) = (value(), value());
            let width = if case % 2 == 0 { "r" } else { "w" };
            let immediate = match low_half(b) {
                0 if matches!(op, "/=" | "%=" | "s/=" | "s%=") => 3,
                immediate => immediate,
            };
            let code = match op {
                "neg" => format!("{width}0 = -{width}0"),
                "bswap16" | "bswap32" | "bswap64" => format!("r0 = {op} r0"),
                "= (s32)" => format!("r0 = {op}r1").replace("= = ", "= "),
                "= (s8)" | "= (s16)" => format!("{width}0 {op}{width}1"),
                "<<=" | ">>=" | "s>>=" if case % 4 < 2 => format!("{width}0 {op} {}", b & 31),
                _ if case % 4 < 2 => format!("{width}0 {op} {immediate}"),
                _ => format!("{width}0 {op} {width}1"),
            };
            let head = format!("r0 = {a} ll\nr1 = {b} ll\n{code}\n");
            let half = |shift: &str| {
                let insns = program(&format!("{head}{shift}\nexit")).insns;
                u64::from(
                    kernel::load(&insns)
                        .unwrap_or_else(|refused| panic!("{code}: {refused:?}"))
                        .run(14)
                        .expect("it runs"),
                )
            };
            let expected = (half("r0 >>= 32") << 32 | half("")).cast_signed();
            let text =
                format!("{head}r1 = {expected} ll\nif r0 == r1 goto yes\nr0 = 7\nexit\nyes:\nr0 = 8\nexit");
            let (_, report) = without_dead_code(&program(&text));
            assert_eq!(
                (report.always_taken, report.never_taken),
                (1, 0),
                "{a:#x} {b:#x} {code}: {expected:#x}"
            );
        }
    }
}

#[test]
fn comparisons_are_what_the_kernel_makes_of_them() {
    if !kernel::is_available() {
        return;
    }
    let mut rng = Rng::new(8);
    for op in ["==", "!=", ">", ">=", "<", "<=", "s>", "s>=", "s<", "s<=", "&"] {
        for case in 0..32 {
            let mut value = || {
                [0_i64, 1, -1, i64::MIN, i64::MAX, i32::MIN.into(), 0x8000_0000, 0x1_0000_0001][rng.below(8)]
            };
            let (a, b) = (value(), value());
            let width = if case % 2 == 0 { "r" } else { "w" };
            let operand = if case % 4 < 2 { low_half(b).to_string() } else { format!("{width}1") };
            let text = format!(
                "r0 = {a} ll\nr1 = {b} ll\nif {width}0 {op} {operand} goto yes\nr0 = 0\nexit\nyes:\nr0 = 1\nexit"
            );
            let program = program(&text);
            let taken = kernel::load(&program.insns).expect("it loads").run(14).expect("it runs");
            let (_, report) = without_dead_code(&program);
            assert_eq!((report.always_taken, report.never_taken), (taken, 1 - taken), "{text}");
        }
    }
}

#[test]
fn blinding_leaves_what_a_verifier_needs() {
    let text = "
        r2 = r10
        r2 += -4
        *(u32 *)(r2 + 0) = 0
        r1 = map[fd:0x3e7] ll
        call 1
        if r0 == 0 goto out
        r1 = 5
        *(u64 *)(r0 + 8) = r1
        if r1 != 0 goto out
        if w1 != 0 goto out
    out:
        r0 = 3
        exit";
    let (insns, report) = blinded(&program(text), blind::Options::default());
    // Both 64-bit comparisons with zero, though the second one is of a number.
    assert_eq!(report, blind::Report { blinded: 5, null_checks: 2, ..Default::default() });
    let kept = ["r1 = map[fd:0x3e7] ll", "call 0x1", "if r0 == 0x0 goto"];
    let listing = listing(&insns);
    assert!(kept.iter().all(|line| listing.contains(line)), "{listing}");

    if !kernel::is_available() {
        return;
    }
    let map = kernel::array_map().expect("a map");
    let text = text.replace("0x3e7", &map.as_raw_fd().to_string());
    let program = program(&text);
    let (insns, _) = blinded(&program, blind::Options::default());
    assert_eq!(returned(&insns, "blinded"), returned(&program.insns, "plain"));
}

#[test]
fn blinding_leaves_what_a_loader_rewrites_and_what_has_no_register() {
    let mut program = program(&traffic_control(4, Shape { statements: 200, ..SHAPES[2] }));
    let (plain, all) = blinded(&program, blind::Options::default());
    assert!(all.spilled > 5, "{all:?}");
    let (_, unspilled) = blinded(&program, blind::Options { stack: 0, ..Default::default() });
    assert_eq!(unspilled.spilled, 0);
    assert_eq!(unspilled.without_register, all.without_register + all.spilled);
    let (other, _) = blinded(&program, blind::Options { seed: 1, ..Default::default() });
    assert_eq!(other.len(), plain.len(), "a seed changes numbers only");
    assert_ne!(other, plain);
    assert_eq!(blinded(&program, blind::Options::default()).0, plain, "the same seed gives the same");

    program.pinned = std::iter::repeat_n(true, program.insns.len()).collect();
    let (insns, report) = blinded(&program, blind::Options::default());
    assert_eq!(insns, program.insns);
    let constants = all.blinded + all.without_register + all.jumps_without_register + all.null_checks;
    assert_eq!(report, blind::Report { pinned: constants, ..Default::default() });
}

#[test]
fn a_hidden_register_is_one_that_programs_cannot_name() {
    let program = program("r0 = 0\nexit");
    let arena = Arena::new();
    for hidden in [0, 10, 16] {
        let mut list = List::<Bpf>::new(&arena, &program.insns).expect("a list");
        let options = blind::Options { hidden: Some(hidden), ..Default::default() };
        let result = blind::run(&program, &mut list, &options);
        assert_eq!(result, Err(passes::Error::BadHidden { reg: hidden }));
    }
}

/// With the hidden register renamed to one that a program does not use, it can be loaded.
#[test]
fn programs_blinded_with_a_hidden_register_return_the_same() {
    if !kernel::is_available() {
        return;
    }
    for seed in 0..40 {
        let shape = Shape { statements: 50, callees: 0, junk: false, use_r1: false };
        let program = program(&traffic_control(seed, shape));
        let (insns, report) =
            blinded(&program, blind::Options { seed, hidden: Some(AX), ..Default::default() });
        let left = blind::Report { blinded: report.blinded, ..Default::default() };
        assert_eq!(report, left, "nothing is left");
        let renamed = |insn: &Insn| {
            let zeroed = *insn == Insn::alu64_reg(XOR, insn.dst(), insn.dst());
            let insn = if zeroed { Insn::mov64_imm(insn.dst(), 0) } else { *insn };
            let insn = if insn.dst() == AX { insn.with_dst(1) } else { insn };
            if insn.src() == AX { insn.with_src(1) } else { insn }
        };
        let insns: Vec<Insn> = insns.iter().map(renamed).collect();
        assert_eq!(returned(&insns, &format!("seed {seed}")), returned(&program.insns, "plain"));
    }
}

/// The kernel's own blinding of the same program. It is asked for by a system-wide setting.
#[test]
fn a_hidden_register_gives_what_the_kernel_gives() {
    if std::env::var_os("RELINEAR_SET_JIT_HARDEN").is_none() {
        crate::skipped("RELINEAR_SET_JIT_HARDEN is not set, so net.core.bpf_jit_harden is left alone");
        return;
    }
    // The halves are random: only what they join to can be compared.
    let joined = |insns: &[Insn]| {
        let mut insns = insns.to_vec();
        for at in 1..insns.len() {
            let [first, second] = [insns[at - 1], insns[at]];
            if first.dst() == AX
                && first.op() == MOV
                && !first.is_reg()
                && second.op() == XOR
                && second.dst() == AX
            {
                insns[at - 1].imm ^= second.imm;
                insns[at].imm = 0;
            }
        }
        insns
    };
    for seed in 0..100 {
        let shape = Shape { statements: 60, callees: 0, junk: false, use_r1: true };
        let text = traffic_control(seed, shape);
        let Some(held) = kernel::unhardened() else { return };
        let plain =
            kernel::load(&program(&text).insns).expect("it loads").translated().expect("it can be read");
        drop(held);
        let Ok(held) = kernel::Hardening::on().inspect_err(|error| crate::skipped(error)) else { return };
        let theirs = kernel::load(&program(&text).insns).expect("it loads").translated();
        drop(held);
        let theirs = theirs.expect("it can be read");
        let plain = from_insns(plain);
        let (ours, _) = blinded(&plain, blind::Options { seed, hidden: Some(AX), ..Default::default() });
        assert_eq!(listing(&joined(&ours)), listing(&joined(&theirs)), "seed {seed}");
    }
}
