//! [`check_asm`]: bytes to text to bytes, and text to bytes to text.

use core::fmt::{self, Formatter, Write as _};
use std::collections::BTreeSet;
use std::string::String;

use crate::bpf::asm::parse;
use crate::bpf::dis::{Names, Numbers, dis_with};
use crate::bpf::{Endian, Insn, check_insn, decode, encode};

/// The highest register that a text can name.
const HIGHEST: u8 = 12;

/// Takes the input for the slots of a program, in both byte orders, and for a text.
///
/// # Panics
///
/// If what a text stands for depends on who wrote it, or an error is not at a place of the text.
pub fn check_asm(input: &[u8]) {
    let whole = &input[..input.len() & !7];
    for endian in [Endian::Little, Endian::Big] {
        let insns = decode(whole, endian).expect("whole slots");
        assert_eq!(encode(&insns, endian), whole, "the bytes of the slots");
        check_slots(&insns);
    }
    assert_eq!(decode(input, Endian::Little).is_ok(), whole.len() == input.len(), "only whole slots");
    if let Ok(text) = str::from_utf8(input) {
        check_text(text);
    }
}

fn check_slots(insns: &[Insn]) {
    let starts = starts(insns);
    let plain = listing(insns, &starts, false);
    assert_eq!(parse(&plain).as_deref(), Ok(insns), "what this stands for:\n{plain}");
    let labelled = listing(insns, &starts, true);
    assert_eq!(parse(&labelled).as_deref(), Ok(insns), "what this stands for:\n{labelled}");
}

fn check_text(text: &str) {
    let insns = match parse(text) {
        Ok(insns) => insns,
        Err(error) => {
            let line = error.line.checked_sub(1).and_then(|line| text.lines().nth(line));
            let columns = line.map_or(0, |line| line.chars().count() + 1);
            assert!((1..=columns).contains(&error.column), "{error}, in {text:?}");
            return;
        }
    };
    if !text.contains(".insn") {
        let mut at = 0;
        while at < insns.len() {
            at += check_insn(&insns, at, HIGHEST).expect("only .insn gives what is not valid");
        }
    }
    check_slots(&insns);
}

/// Where instructions start, and the end.
fn starts(insns: &[Insn]) -> BTreeSet<usize> {
    let mut starts = BTreeSet::new();
    let mut at = 0;
    while at < insns.len() {
        starts.insert(at);
        at += check_insn(insns, at, HIGHEST).unwrap_or(1);
    }
    starts.insert(at);
    starts
}

/// One instruction a line, with a label before each, and in each jump that leads to one, if `labelled`.
fn listing(insns: &[Insn], starts: &BTreeSet<usize>, labelled: bool) -> String {
    let mut text = String::new();
    for &at in starts {
        if labelled {
            writeln!(text, "L{at}:").expect("a string takes all");
        }
        let names: &dyn Names = if labelled { &Labels { at, starts } } else { &Numbers };
        let line = dis_with(&insns[at..], names);
        let valid = check_insn(insns, at, HIGHEST);
        assert_eq!(line.slots(), valid.as_ref().map_or((insns.len() - at).min(1), |&slots| slots), "slots");
        let start = text.len();
        writeln!(text, "{line}").expect("a string takes all");
        let raw = text[start..].starts_with(".insn");
        assert_eq!(raw, valid.is_err() && at < insns.len(), "only what is not valid has no words");
    }
    text
}

/// Labels for what the instruction at `at` leads to.
struct Labels<'a> {
    at: usize,
    starts: &'a BTreeSet<usize>,
}

impl Names for Labels<'_> {
    fn target(&self, displacement: i64, f: &mut Formatter<'_>) -> Result<bool, fmt::Error> {
        let to = isize::try_from(displacement).ok().and_then(|by| (self.at + 1).checked_add_signed(by));
        match to.filter(|to| self.starts.contains(to)) {
            Some(to) => write!(f, "L{to}").map(|()| true),
            None => Ok(false),
        }
    }
}
