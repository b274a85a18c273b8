//! The kernel loads programs with relaxed jumps, and they return what they did before they grew.

use std::fmt::Write;

use relinear::bpf::{Cpu, Insn, Program, asm};
use relinear::{Arena, Handle, Relaxed};

use crate::kernel;

/// Lengths of packets for which a program does different things.
const PACKETS: [usize; 6] = [14, 60, 64, 100, 101, 300];

/// What a program is made longer with behind the instruction at a slot: so many slots that do nothing.
type Growth = (u32, u32);

/// Straight code that does nothing, of instructions of one slot and of two.
fn filler(len: u32) -> Vec<Insn> {
    let mut filler: Vec<Insn> = (0..len / 8)
        .flat_map(|_| {
            let mut insns = vec![Insn::mov64_imm(9, 1); 6];
            insns.extend(Insn::ld_imm64(9, 7));
            insns
        })
        .collect();
    filler.resize(len as usize, Insn::mov64_reg(9, 9));
    filler
}

fn grown(program: &Program, growth: &[Growth], cpu: Cpu) -> (Program, Relaxed) {
    let arena = Arena::new();
    let mut editor = program.edit(&arena).unwrap();
    for &(after, len) in growth.iter().filter(|&&(_, len)| len > 0) {
        editor.list().append(Handle::new(after), &filler(len)[..]).unwrap();
    }
    assert!(editor.linearize_with_map().is_err(), "nothing would have to be relaxed");
    let mut out = relinear::Linear::default();
    let relaxed = editor.list().linearize_relaxed(&cpu, &mut out).unwrap();
    let (program, moves) = editor.linearize_relaxed(cpu).unwrap();
    assert_eq!(moves.map.new_len(), out.map.new_len());
    (program, relaxed)
}

fn run(name: &str, insns: &[Insn]) -> Vec<u32> {
    let loaded = kernel::load(insns).unwrap_or_else(|refused| {
        let log = &refused.log[refused.log.len().saturating_sub(2000)..];
        panic!("{name}: {}\n{log}", refused.error)
    });
    PACKETS.map(|packet| loaded.run(packet).unwrap()).to_vec()
}

fn check_program(name: &str, program: &Program, growth: &[Growth]) -> [Relaxed; 2] {
    let expected = run(name, &program.insns);
    [Cpu::V3, Cpu::V4].map(|cpu| {
        let (grown, relaxed) = grown(program, growth, cpu);
        let name = format!("{name} for {cpu:?}, {} slots, {relaxed:?}", grown.insns.len());
        assert_eq!(run(&name, &grown.insns), expected, "{name}");
        assert!(relaxed.detoured + relaxed.lengthened > 0, "{name}");
        println!("{name}");
        relaxed
    })
}

/// Each case is a program, and where it grows.
fn check(name: &str, text: &str, growth: &[Growth]) -> [Relaxed; 2] {
    let insns = asm::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    check_program(name, &Program::<()> { insns, subprogs: vec![0], ..Program::default() }, growth)
}

#[test]
fn jumps_on_over_long_code() {
    let Some(_held) = kernel::unhardened() else { return };
    let conditions =
        ["r2 > 100", "r2 s<= 64", "w2 == 64", "r2 & 4", "w2 & 64", "r2 != r8", "r8 < r2", "w2 s>= w8"];
    for condition in conditions {
        let text = format!(
            "r2 = *(u32 *)(r1 + 0)
             r8 = 64
             r9 = 0
             if {condition} goto far
             if r2 == 60 goto near
             r0 = 1
             exit
       near: r0 = 3
             exit
        far: r0 = 2
             exit"
        );
        let [v3, v4] = check(condition, &text, &[(3, 70_000)]);
        assert_eq!((v3.detoured, v3.trampolines, v3.islands), (1, 2, 2));
        assert_eq!(v4.lengthened, 1);
        // Behind the exit trampolines are free.
        let [v3, _] = check(condition, &text, &[(3, 30_000), (7, 5_000)]);
        assert_eq!((v3.detoured, v3.trampolines, v3.islands), (1, 1, 0));
    }
}

#[test]
fn loops_of_long_bodies() {
    let Some(_held) = kernel::unhardened() else { return };
    let text = "r6 = *(u32 *)(r1 + 0)
        r7 = 3
        r0 = 0
        r9 = 0
 again: r0 += r6
        r7 -= 1
        if r7 != 0 goto again
        exit";
    check("loop", text, &[(4, 40_000)]);
    let nested = "r6 = *(u32 *)(r1 + 0)
        r7 = 2
        r0 = 0
        r9 = 0
 outer: r8 = 2
 inner: r0 += r6
        r8 -= 1
        if r8 != 0 goto inner
        r0 *= 3
        r7 -= 1
        if r7 != 0 goto outer
        exit";
    let [v3, _] = check("nested loops", nested, &[(5, 66_000), (8, 3_000)]);
    assert_eq!(v3.detoured, 2);
    let may_goto = "r6 = *(u32 *)(r1 + 0)
        r9 = 0
        r0 = 0
 again: may_goto done
        r0 += r6
        if r0 > 1000 goto done
        goto again
  done: r0 += 7
        exit";
    check("may_goto", may_goto, &[(4, 40_000)]);
}

#[test]
fn every_subprogram_keeps_its_trampolines() {
    let Some(_held) = kernel::unhardened() else { return };
    let text = "r6 = *(u32 *)(r1 + 0)
        r9 = 0
        r1 = r6
        call double
        if r6 > 100 goto second
        r0 += 5
        exit
second: r1 = r0
        call count
        exit
double: r9 = 0
        r0 = r1
        if r1 > 64 goto twice
        exit
 twice: r0 += r1
        exit
 count: r9 = 0
        r0 = r1
        r2 = 2
 again: r0 += 3
        r2 -= 1
        if r2 != 0 goto again
        if r0 > 200 goto out
        r0 += 2
   out: exit";
    let insns = asm::parse(text).unwrap();
    let program = Program { insns, subprogs: vec![0, 10, 16], ..Program::default() };
    let growth = [(4, 35_000), (12, 33_000), (14, 100), (19, 45_000), (23, 33_000)];
    let [v3, v4] = check_program("three subprograms", &program, &growth);
    assert!(v3.detoured >= 3 && v4.lengthened >= 3, "{v3:?} {v4:?}");
    let (grown, _) = grown(&program, &growth, Cpu::V3);
    for (&start, end) in grown
        .subprogs
        .iter()
        .zip(grown.subprogs[1..].iter().chain([&u32::try_from(grown.insns.len()).unwrap()]))
    {
        for at in start..*end {
            let insn = grown.insns[at as usize];
            if insn.is_jump() {
                let to = i64::from(at) + 1 + i64::from(insn.off);
                assert!((i64::from(start)..i64::from(*end)).contains(&to), "{at} leads to {to}");
            }
        }
    }
}

#[test]
fn many_jumps_with_one_target_and_with_many() {
    let Some(_held) = kernel::unhardened() else { return };
    let mut text = String::from("r2 = *(u32 *)(r1 + 0)\nr9 = 0\nr0 = 0\n");
    let (mut to_one, mut growth) = (text.clone(), Vec::new());
    for nth in 0..100 {
        writeln!(to_one, "r0 += 1\nif r2 == {} goto out", nth * 3).unwrap();
        growth.push((4 + 2 * nth, 800));
    }
    to_one += "r0 += 1000\nout: exit\n";
    let [v3, _] = check("to one target", &to_one, &growth);
    assert_eq!(v3.trampolines, 2);
    for nth in 0..60 {
        writeln!(text, "if r2 == {} goto case{nth}", 40 + nth).unwrap();
    }
    text += "r0 = 5\nexit\n";
    for nth in 0..60 {
        writeln!(text, "case{nth}: r0 = {}\nexit", nth + 100).unwrap();
    }
    let growth: Vec<_> = (0..60).map(|nth| (3 + 60 + 2 + 2 * nth, 1_500)).collect();
    let [v3, _] = check("switch", &text, &growth);
    assert_eq!(v3.islands, 0);
}

#[test]
fn one_more_instruction_tips_a_chain() {
    let Some(_held) = kernel::unhardened() else { return };
    let mut text = String::from("r2 = *(u32 *)(r1 + 0)\nr9 = 0\nr0 = 0\n");
    for nth in 0..40 {
        writeln!(text, "if r2 == {} goto out{nth}", 60 + nth).unwrap();
    }
    text += "r0 = 7\nr0 += 1\n";
    for nth in 0..40 {
        writeln!(text, "out{nth}: r0 += {}", 1 << (nth % 20)).unwrap();
    }
    text += "exit\n";
    let insns = asm::parse(&text).unwrap();
    let program = Program { insns, subprogs: vec![0], ..Program::default() };
    // Each jump is over 41 slots: 39 jumps and those between, or 40 with the first targets.
    let fits = 32_767 - 41;
    let arena = Arena::new();
    let mut editor = program.edit(&arena).unwrap();
    editor.list().append(Handle::new(43), &filler(fits)[..]).unwrap();
    editor.linearize().unwrap();
    let [v3, v4] = check_program("a chain", &program, &[(43, fits + 1)]);
    assert_eq!((v3.detoured, v4.lengthened), (40, 40));
}

/// Blocks that change the result and jump on, in an order by chance.
#[test]
fn random_programs() {
    let Some(_held) = kernel::unhardened() else { return };
    let mut state = 1_u64;
    let mut random = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 33).unwrap() % below
    };
    for case in 0..12 {
        let blocks = 10 + random(50);
        let mut text = String::from("r2 = *(u32 *)(r1 + 0)\nr9 = 0\nr0 = r2\nr7 = 3\n");
        let (mut slot, mut growth) = (4, Vec::new());
        for block in 0..blocks {
            let to = block + 1 + random(blocks - block);
            let jump = match random(5) {
                0 => format!("if r2 & {} goto block{to}", 1 << random(9)),
                1 => format!("if w2 s> {} goto block{to}", random(200)),
                2 => format!("if r2 >= {} goto block{to}", random(200)),
                3 => format!("goto block{to}"),
                _ => format!("if r2 != {} goto block{to}", PACKETS[random(6) as usize]),
            };
            // A block that nothing leads to would not be loaded.
            writeln!(
                text,
                "block{block}: r0 *= {}\nr0 += {block}\nif r2 == {} goto block{}\n{jump}",
                random(100),
                random(100),
                block + 1
            )
            .unwrap();
            slot += 4;
            growth.push((slot - 2 - random(3), random(3_000) * random(2)));
        }
        writeln!(text, "block{blocks}: exit").unwrap();
        growth.push((3, 40_000));
        growth.push((slot - 4, 33_000));
        check(&format!("random program {case}"), &text, &growth);
    }
}
