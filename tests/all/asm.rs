//! The assembler and the disassembler: against what LLVM prints, against each other, and malformed text.

use std::collections::HashMap;
use std::fmt::{self, Formatter, Write};

use proptest::prelude::*;
use relinear::bpf::asm::{AsmReason, parse};
use relinear::bpf::dis::{Names, dis, dis_all, dis_with};
use relinear::bpf::{Endian, Insn, check_insn, decode, helper};

use crate::encoding::{grid, is_valid};

/// The highest register that the text can name.
const HIGHEST: u8 = 12;

fn listing(mut insns: &[Insn]) -> String {
    let mut text = String::new();
    while !insns.is_empty() {
        let line = dis(insns);
        writeln!(text, "{line}").unwrap();
        insns = &insns[line.slots()..];
    }
    text
}

#[test]
fn the_text_is_that_of_llvm() {
    let lines = include_str!("llvm.txt").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        let (hex, text) = line.split_once('\t').unwrap();
        let bytes: Vec<u8> = hex.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let insns = decode(&bytes, Endian::Little).unwrap();
        assert_eq!(dis(&insns).to_string(), text, "{hex}");
        assert_eq!(parse(text).as_ref(), Ok(&insns), "{text}");
        count += 1;
    }
    assert!(count > 250);
}

/// Where LLVM's text does not tell encodings apart: ours, as the module's table has them.
#[test]
fn the_text_that_llvm_has_not() {
    let one = |code, dst, src, off, imm| vec![Insn::new(code, dst, src, off, imm)];
    let wide = |kind, low, high| Insn::ld_imm64_kind(1, kind, low, high).to_vec();
    for (insns, text) in [
        (one(0x85, 0, 1, 0, 7), "call pc+0x7"),
        (one(0x85, 0, 1, 0, -1), "call pc-0x1"),
        (one(0x85, 0, 2, 0, 7), "call kfunc 0x7"),
        (one(0x85, 0, 2, 3, 7), "call kfunc 0x7 off 0x3"),
        (one(0x85, 0, 2, -3, -7), "call kfunc -0x7 off -0x3"),
        (one(0x50, 0, 4, 0, 8), "r0 = *(u8 *)skb[r4 + 0x8]"),
        (one(0x50, 0, 4, 0, -8), "r0 = *(u8 *)skb[r4 - 0x8]"),
        (wide(1, 7, 0), "r1 = map[fd:0x7] ll"),
        (wide(2, 7, 16), "r1 = map[fd:0x7][0x10] ll"),
        (wide(2, 7, 0), "r1 = map[fd:0x7][0x0] ll"),
        (wide(3, 7, 0), "r1 = btf[id:0x7] ll"),
        (wide(3, 7, 3), "r1 = btf[id:0x7][0x3] ll"),
        (wide(4, 7, 0), "r1 = subprog[+0x7] ll"),
        (wide(4, -7, 0), "r1 = subprog[-0x7] ll"),
        (wide(4, 7, 1), "r1 = subprog[+0x7][0x1] ll"),
        (wide(5, 7, 0), "r1 = map[idx:0x7] ll"),
        (wide(6, -7, -16), "r1 = map[idx:-0x7][-0x10] ll"),
        (one(0xff, 1, 2, -3, 4), ".insn 0xff, 0x1, 0x2, -0x3, 0x4"),
        (one(0xb7, 13, 0, 0, 4), ".insn 0xb7, 0xd, 0x0, 0x0, 0x4"),
        (one(0x18, 1, 0, 0, 4), ".insn 0x18, 0x1, 0x0, 0x0, 0x4"),
    ] {
        assert_eq!(dis(&insns).to_string(), text);
        assert_eq!(parse(text), Ok(insns), "{text}");
    }
    assert_eq!(dis(&[]).to_string(), "");
    assert_eq!(dis(&[]).slots(), 0);
}

#[test]
fn every_valid_encoding_has_a_text_of_its_own_that_parses_back() {
    let mut texts = HashMap::new();
    let mut text = String::new();
    for insn in grid().filter(|&insn| is_valid(insn, HIGHEST)) {
        let highs: &[i32] = match (insn.code, insn.src()) {
            (0x18, 0 | 2 | 3 | 4 | 6) => &[0, 1, -1, i32::MIN, i32::MAX],
            _ => &[0],
        };
        for &high in highs {
            let slots = [insn, Insn::new(0, 0, 0, 0, high)];
            let slots = if insn.is_wide() { &slots[..] } else { &slots[..1] };
            text.clear();
            write!(text, "{}", dis(slots)).unwrap();
            assert!(!text.starts_with(".insn"), "{insn:?}");
            assert_eq!(parse(&text).as_deref(), Ok(slots), "{text}");
            if let Some(other) = texts.insert(text.clone(), slots.to_vec()) {
                assert_eq!(other, slots, "{text}");
            }
        }
    }
    assert!(texts.len() > 10_000);
}

fn slot() -> impl Strategy<Value = Insn> {
    let field = || prop_oneof![Just(0i32), -2..70i32, any::<i32>()];
    (any::<u8>(), 0..16u8, 0..16u8, any::<i16>(), any::<bool>(), field()).prop_map(
        |(code, dst, src, off, no_off, imm)| Insn::new(code, dst, src, if no_off { 0 } else { off }, imm),
    )
}

proptest! {
    #[test]
    fn any_slots_print_and_parse_back(mut insns in prop::collection::vec(slot(), 0..40), wide: bool) {
        if wide {
            insns.extend(Insn::ld_imm64(3, 0x0123_4567_89ab_cdef));
        }
        prop_assert_eq!(dis_all(&insns).to_string(), listing(&insns));
        prop_assert_eq!(parse(&listing(&insns)), Ok(insns));
    }

    /// What parses is valid, and means what it prints as.
    #[test]
    fn any_words_give_valid_instructions_or_an_error(words in prop::collection::vec(word(), 0..14)) {
        let text = words.join(" ");
        match parse(&text) {
            Ok(insns) => {
                let mut at = 0;
                while at < insns.len() {
                    at += check_insn(&insns, at, HIGHEST).unwrap();
                }
                prop_assert_eq!(parse(&listing(&insns)), Ok(insns));
            }
            Err(error) => {
                let line = text.lines().nth(error.line - 1).unwrap_or_default();
                prop_assert!(error.column <= line.chars().count() + 1);
            }
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text: String) {
        let _ = parse(&text);
    }
}

fn word() -> impl Strategy<Value = String> {
    let words = "r1 r2 r0 w0 w1 r13 = += s>= == & * ( ) [ ] , + - 0 1 5 0x10 0xffffffffff exit goto if call lock \
                 u8 u32 u64 s8 skb L1 L1: ll map fd : idx subprog btf id kfunc off pc be16 bswap64 \
                 load_acquire store_release xchg_64 cmpxchg32_32 atomic_fetch_add addr_space_cast";
    let words: Vec<String> = words.split_whitespace().map(String::from).chain(["\n".into()]).collect();
    prop::sample::select(words)
}

#[test]
fn comments_blank_lines_and_decimal_numbers() {
    let text = "\n; head\n  r0 = 16 // sixteen\n\t// more\n\nr1=-16//tail\r\nr2 = 0x10\nexit";
    let expected = [Insn::mov64_imm(0, 16), Insn::mov64_imm(1, -16), Insn::mov64_imm(2, 16), Insn::exit()];
    assert_eq!(parse(text).as_deref(), Ok(&expected[..]));
    assert_eq!(parse("").as_deref(), Ok(&[][..]));
}

#[test]
fn a_semicolon_is_a_comment_at_the_start_of_a_line_and_else_ends_an_instruction() {
    let two = [Insn::mov64_imm(0, 1), Insn::exit()];
    for text in [
        "r0 = 1; exit",
        "r0 = 1;exit;",
        "r0 = 1 ;; exit // done; exit",
        "on: r0 = 1; off: exit",
        "; int x = 1; exit
r0 = 1
  ; return x;
exit",
    ] {
        assert_eq!(parse(text).as_deref(), Ok(&two[..]), "{text}");
    }
    assert_eq!(parse("goto on; r0 = 1; on: exit").map(|insns| insns[0]), Ok(Insn::ja(1)));
    // Words behind an instruction or a label are never taken for a comment.
    for (text, column) in
        [("exit ; nine times", 8), ("here: ; and so on", 9), ("exit; r0 = ", 11), ("goto x; exit", 6)]
    {
        let error = parse(text).unwrap_err();
        assert_eq!((error.line, error.column), (1, column), "{text}: {error}");
    }
}

#[test]
fn memory_of_less_than_64_bits_takes_either_spelling_of_a_register() {
    for (older, newer) in [
        ("r0 = *(u8 *)(r1 + 4)", "w0 = *(u8 *)(r1 + 4)"),
        ("*(u32 *)(r1 + 4) = r2", "*(u32 *)(r1 + 4) = w2"),
        ("lock *(u32 *)(r1 + 4) += r2", "lock *(u32 *)(r1 + 4) += w2"),
    ] {
        assert_eq!(parse(older), parse(newer));
        assert!(parse(older).is_ok());
    }
}

#[test]
fn labels() {
    let text = "
    start: again:
        r0 = 5 ll           // 0, 1
        goto .end           // 2
        if r0 s> 3 goto start
        may_goto again
        gotol .end          // 5
        call sub_1
        r1 = subprog[sub_1] ll
        if w0 == w1 goto sub_1
    .end:
        exit                // 10
    sub_1: exit
    past:
        goto past
    ";
    let insns = parse(text).unwrap();
    // A displacement counts from the slot after the (first) slot of the instruction.
    let fields: Vec<(i16, i32)> = insns[2..].iter().map(|insn| (insn.off, insn.imm)).collect();
    assert_eq!(
        fields,
        [(7, 0), (-4, 3), (-5, 0), (0, 4), (0, 4), (0, 3), (0, 0), (1, 0), (0, 0), (0, 0), (-1, 0)]
    );
    assert_eq!((insns[6].src(), insns[7].src()), (1, 4));
}

#[test]
fn a_label_that_is_too_far_is_an_error_where_it_is_used() {
    let program = |filler: usize, jump: &str| format!("{jump}\n{}far: exit", "exit\n".repeat(filler));
    let insns = parse(&program(32767, "goto far")).unwrap();
    assert_eq!(insns[0].off, i16::MAX);
    let error = parse(&program(32768, "  if r1 > 4 goto far")).unwrap_err();
    assert_eq!((error.line, error.column), (1, 18));
    assert_eq!(error.reason, AsmReason::Range { value: 32768, min: -32768, max: 32767 });
    assert_eq!(error.to_string(), "line 1, column 18: 32768 is not between -32768 and 32767");
    assert_eq!(parse(&program(32768, "gotol far")).unwrap()[0].imm, 32768);
    let back = |filler: usize| format!("back: {}goto back", "exit\n".repeat(filler));
    assert_eq!(parse(&back(32767)).unwrap()[32767].off, i16::MIN);
    assert_eq!(parse(&back(32768)).unwrap_err().line, 32769);
}

#[test]
fn malformed_text_is_an_error_at_its_place() {
    for (text, line, column, message) in [
        ("exit\n\n  frob", 3, 3, "expected an instruction"),
        ("exit exit", 1, 6, "expected the end of the line"),
        ("r1", 1, 3, "expected = or an operation and ="),
        ("r1 = ", 1, 5, "expected a register or a number"),
        ("r1 =   // nothing", 1, 5, "expected a register or a number"),
        ("r13 = 1", 1, 1, "expected an instruction"),
        ("r1 = r13", 1, 6, "expected an operand"),
        ("r1 += r13", 1, 7, "expected a register or a number"),
        ("r1 = w2", 1, 6, "expected a 64-bit register: r0 to r12"),
        ("w1 += r2", 1, 7, "expected a 32-bit register: w0 to w12"),
        ("r1 = -r2", 1, 7, "expected the register that the line begins with"),
        ("r1 = be16 r2", 1, 11, "expected the register that the line begins with"),
        ("w1 = be16 w1", 1, 1, "expected a 64-bit register: r0 to r12"),
        ("w1 = (s32)w2", 1, 7, "expected s8, s16 or, in a 64-bit register, s32"),
        ("r1 = 0x80000000", 1, 6, "2147483648 is not between -2147483648 and 2147483647"),
        ("r1 = -2147483649", 1, 6, "-2147483649 is not between -2147483648 and 2147483647"),
        ("r1 = 0x10000000000000000 ll", 1, 6, "not a number of at most 64 bits"),
        (
            "r1 = -0x8000000000000001 ll",
            1,
            6,
            "-9223372036854775809 is not between -9223372036854775808 and 18446744073709551615",
        ),
        ("r1 = 12ab", 1, 6, "not a number of at most 64 bits"),
        ("w1 = 5 ll", 1, 1, "expected a 64-bit register: r0 to r12"),
        ("r1 = map[fd:5]", 1, 15, "expected ll"),
        ("r1 = map[id:5] ll", 1, 10, "expected fd or idx"),
        ("r0 = *(u8 *)(r1)", 1, 16, "expected + or -"),
        ("r0 = *(u9 *)(r1 + 0)", 1, 8, "expected a size: u8 to u64, or s8 to s32"),
        ("r0 = *(s64 *)(r1 + 0)", 1, 8, "expected a size: u8 to u64, or s8 to s32"),
        ("w0 = *(s8 *)(r1 + 0)", 1, 1, "expected a 64-bit register: r0 to r12"),
        ("w0 = *(u64 *)(r1 + 0)", 1, 1, "expected a 64-bit register: r0 to r12"),
        ("r0 = *(u8 *)(w1 + 0)", 1, 14, "expected a 64-bit register: r0 to r12"),
        ("r0 = *(u8 *)(r1 + 32768)", 1, 17, "32768 is not between -32768 and 32767"),
        ("r0 = *(u64 *)skb[4]", 1, 8, "expected u8, u16 or u32"),
        ("r1 = *(u8 *)skb[4]", 1, 1, "expected register 0"),
        ("*(u64 *)(r1 + 0) = w2", 1, 20, "expected a 64-bit register: r0 to r12"),
        ("*(u8 *)(r1 + 0) = x", 1, 19, "expected a register or a number"),
        ("lock *(u8 *)(r1 + 0) += w2", 1, 6, "expected u32 or u64"),
        ("lock *(u32 *)(r1 + 0) -= w2", 1, 23, "expected +=, |=, &= or ^="),
        ("r1 = cmpxchg_64(r2 + 0, r1, r3)", 1, 1, "expected register 0"),
        (
            "r2 = atomic_fetch_add((u64 *)(r1 + 0), r3)",
            1,
            40,
            "expected the register that the line begins with",
        ),
        ("r1 = addr_space_cast(r2, 1, 1)", 1, 26, "expected the address spaces 0, 1 or 1, 0"),
        ("goto 5", 1, 6, "expected a label, or a displacement with its sign"),
        ("goto r1", 1, 6, "expected a label, or a displacement with its sign"),
        ("goto +32768", 1, 6, "32768 is not between -32768 and 32767"),
        ("exit\ngoto nowhere", 2, 6, "label 'nowhere' is not defined"),
        ("a: exit\n a: exit", 2, 2, "label 'a' is defined twice"),
        ("r1: exit", 1, 1, "expected a label that is not the name of a register"),
        ("if r1 = 5 goto +1", 1, 7, "expected a comparison"),
        ("if r1 == w2 goto +1", 1, 10, "expected a 64-bit register: r0 to r12"),
        ("if r1 == 5 jump +1", 1, 12, "expected goto"),
        ("call", 1, 5, "expected a label, or a displacement with its sign"),
        ("call pc", 1, 8, "expected a displacement with its sign"),
        (".insn 256, 0, 0, 0, 0", 1, 7, "256 is not between 0 and 255"),
        (".insn 1, 0, 16, 0, 0", 1, 13, "16 is not between 0 and 15"),
        ("r1 = é", 1, 6, "unexpected character 'é'"),
        ("exit // é\nr1 = \"é\" @", 2, 6, "unexpected character '\"'"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{text:?}: {error}");
        assert_eq!(error.reason.to_string(), message, "{text:?}");
    }
}

/// Names everything that can have a name.
struct Everything;

impl Names for Everything {
    fn target(&self, displacement: i64, f: &mut Formatter<'_>) -> Result<bool, fmt::Error> {
        write!(f, "L{}", displacement + 1).map(|()| true)
    }

    fn callee(&self, insn: Insn, f: &mut Formatter<'_>) -> Result<bool, fmt::Error> {
        if insn.src() != 0 { Ok(false) } else { f.write_str("bpf_helper").map(|()| true) }
    }

    fn imm64(&self, insn: [Insn; 2], f: &mut Formatter<'_>) -> Result<bool, fmt::Error> {
        write!(f, "counters+{}", insn[1].imm).map(|()| true)
    }
}

#[test]
fn names_take_the_place_of_numbers() {
    for (insns, text) in [
        (&[Insn::ja(4)][..], "goto L5"),
        (&[Insn::gotol(4)], "gotol L5"),
        (&[Insn::may_goto(4)], "may_goto L5"),
        (&[Insn::jmp_imm(0x20, 3, 9, 4)], "if r3 > 0x9 goto L5"),
        (&[Insn::call_local(4)], "call L5"),
        (&[Insn::call(4)], "call bpf_helper"),
        (&[Insn::call(4).with_src(2)], "call kfunc 0x4"),
        (&Insn::ld_imm64_kind(1, 4, 4, 0), "r1 = subprog[L5] ll"),
        (&Insn::ld_imm64_kind(1, 2, 4, 8), "r1 = counters+8 ll"),
        (&[Insn::mov64_imm(0, 4)], "r0 = 0x4"),
    ] {
        assert_eq!(dis_with(insns, &Everything).to_string(), text);
    }
}

/// The table of helpers against libbpf's header of their prototypes, which is made from that of the kernel.
#[test]
#[cfg(target_os = "linux")]
fn helpers_have_the_numbers_of_the_header() {
    let path = "/usr/include/bpf/bpf_helper_defs.h";
    let Ok(header) = std::fs::read_to_string(path) else {
        crate::skipped(format_args!("numbers of helpers are not compared: there is no {path}"));
        return;
    };
    let mut count = 0;
    for line in header.lines() {
        let Some((name, number)) = line.strip_suffix(';').and_then(|line| line.split_once(") = (void *) "))
        else {
            // The parameters, and then the number.
            continue;
        };
        let name = name.rsplit_once("(*").map(|(_, name)| name.split(')').next().unwrap());
        let name = name.unwrap().trim().trim_start_matches("const").trim().to_owned();
        let number = number.parse().unwrap();
        assert_eq!(helper::name(number), Some(&*name));
        assert_eq!(helper::number(&name), Some(number));
        assert_eq!(helper::number(name.strip_prefix("bpf_").unwrap()), Some(number));
        count += 1;
    }
    assert!(count > 200, "{count}");
    assert_eq!((helper::name(0), helper::name(-1), helper::name(212)), (None, None, None));
    assert_eq!((helper::number("bpf_"), helper::number("unspec")), (None, None));
}
