//! The text of a script to statements.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{Action, Code, Kind, Place, Script, ScriptError, ScriptReason, Statement, What};
use crate::bpf::asm::template;

/// The words that statements begin with: no instruction does.
const STATEMENTS: [&str; 4] = ["data", "map", "func", "at"];

/// Kinds of maps that have a name here, of `enum bpf_map_type`.
const MAPS: [(&str, u32); 5] =
    [("hash", 1), ("array", 2), ("percpu_hash", 5), ("percpu_array", 6), ("lru_hash", 9)];

impl Script {
    /// Reads a script. O(bytes).
    ///
    /// # Errors
    ///
    /// [`ScriptError`], for the first line that is none.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let lines: Vec<&str> = text.lines().map(without_comment).collect();
        let mut statements = Vec::new();
        let mut at = 0;
        while at < lines.len() {
            let line = at + 1;
            if lines[at].trim().is_empty() {
                at += 1;
                continue;
            }
            let mut end = at + 1;
            while end < lines.len() && !begins(lines[end]) {
                end += 1;
            }
            let code = &lines[at + 1..end];
            let fail = |reason| ScriptError { line, place: None, reason };
            let kind = statement(lines[at], code, line).map_err(|error| match error {
                Fault::Here(reason) => fail(reason),
                Fault::At(line, reason) => ScriptError { line, place: None, reason },
            })?;
            statements.push(Statement { line, kind });
            at = end;
        }
        Ok(Self { statements })
    }
}

/// What is wrong with a statement, on its first line or on another one.
enum Fault {
    Here(ScriptReason),
    At(usize, ScriptReason),
}

impl From<ScriptReason> for Fault {
    fn from(reason: ScriptReason) -> Self {
        Self::Here(reason)
    }
}

fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        if character == '#' && before.is_whitespace() {
            return &line[..at];
        }
        before = character;
    }
    line
}

/// Whether a line begins a statement.
fn begins(line: &str) -> bool {
    line.split_whitespace().next().is_some_and(|word| STATEMENTS.contains(&word))
}

fn expected<T>(what: &'static str) -> Result<T, Fault> {
    Err(ScriptReason::Expected(what).into())
}

fn statement(head: &str, code: &[&str], line: usize) -> Result<Kind, Fault> {
    let words: Vec<&str> = head.split_whitespace().collect();
    let kind = match words[..] {
        ["data", name, size] => {
            let size = number(size)?.try_into().ok().filter(|&size| size != 0);
            let Some(size) = size else { return expected("a size in bytes") };
            Kind::Data { name: name.to_string(), size }
        }
        ["map", name, kind, ref rest @ ..] => map(name, kind, rest)?,
        ["func", ..] => {
            let text = head.trim_start().strip_prefix("func").unwrap_or_default();
            let Some((name, rest)) = text.split_once('(') else { return expected("func NAME(ARGUMENTS)") };
            let Some(params) = rest.trim_end().strip_suffix(')') else { return expected(")") };
            let params = number(params.trim())?.try_into().ok().filter(|&params| params <= 5);
            let Some(params) = params else { return expected("a number of arguments up to 5") };
            return Ok(Kind::Func { name: name.trim().to_string(), params, code: assemble(code, line)? });
        }
        ["at", ref rest @ ..] => {
            let Some((action, place)) = rest.split_last() else { return expected("a place") };
            let action = match *action {
                "prepend" => Action::Prepend,
                "append" => Action::Append,
                "replace" => Action::Replace,
                "delete" => Action::Delete,
                _ => return expected("prepend, append, replace or delete at the end of the line"),
            };
            let place = parse_place(place)?;
            if action != Action::Delete {
                return Ok(Kind::At { place, action, code: assemble(code, line)? });
            }
            Kind::At { place, action, code: Code::default() }
        }
        _ => return expected("data NAME SIZE, map NAME KIND ..., func NAME(ARGUMENTS), or at PLACE ACTION"),
    };
    match code.iter().position(|line| !line.trim().is_empty()) {
        Some(at) => {
            Err(Fault::At(line + 1 + at, ScriptReason::Expected("a statement, which this code is not for")))
        }
        None => Ok(kind),
    }
}

fn parse_place(words: &[&str]) -> Result<Place, Fault> {
    let of = |function: &str, what| Ok(Place::Of { function: function.to_string(), what });
    match *words {
        [place] => {
            let Some((file, line)) = place.rsplit_once(':') else {
                return expected("a place: FILE:LINE, or FUNCTION and entry, exit, call, label or insn");
            };
            let line = number(line)?.try_into().ok().filter(|_| !file.is_empty());
            let Some(line) = line else { return expected("FILE:LINE") };
            Ok(Place::Line { file: file.to_string(), line })
        }
        [function, "entry"] => of(function, What::Entry),
        [function, "exit"] => of(function, What::Exit),
        [function, "call", name] => of(function, What::Call(plain(name).to_string())),
        [function, "label", name] => {
            let number = name.strip_prefix('L').and_then(|number| number.parse().ok());
            let Some(number) = number else { return expected("a label as dis prints it: L1") };
            of(function, What::Label(number))
        }
        [function, "insn", slots] => {
            let (first, last) = slots.split_once("..").unwrap_or((slots, slots));
            let slot = |text| number(text).ok().and_then(|slot| u32::try_from(slot).ok());
            match (slot(first), slot(last)) {
                (Some(first), Some(last)) if first <= last => of(function, What::Insns(first, last)),
                _ => expected("a slot, or two ascending ones with .. between them"),
            }
        }
        _ => expected("a place: FILE:LINE, or FUNCTION and entry, exit, call NAME, label L1, or insn N"),
    }
}

/// A name without the number that `dis` prints behind that of a helper.
pub(super) fn plain(name: &str) -> &str {
    name.split_once('#').map_or(name, |(name, _)| name)
}

fn map(name: &str, kind: &str, rest: &[&str]) -> Result<Kind, Fault> {
    let named = MAPS.iter().find(|(name, _)| *name == kind).map(|&(_, kind)| kind);
    let kind = named.or_else(|| kind.parse().ok());
    let Some(kind) = kind else { return expected("a kind of map: hash, array, ..., or its number") };
    let (mut key, mut value, mut max_entries, mut flags) = (0, 0, 0, 0);
    for pair in rest.chunks(2) {
        let [field, size] = *pair else { return expected("a number") };
        let Ok(size) = u32::try_from(number(size)?) else { return expected("a number of 32 bits") };
        *match field {
            "key" => &mut key,
            "value" => &mut value,
            "max_entries" => &mut max_entries,
            "flags" => &mut flags,
            _ => return expected("key, value, max_entries or flags"),
        } = size;
    }
    Ok(Kind::Map { name: name.to_string(), kind, key, value, max_entries, flags })
}

fn number(text: &str) -> Result<u64, Fault> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(number) if !text.starts_with('+') => Ok(number),
        _ => expected("a number"),
    }
}

fn assemble(code: &[&str], line: usize) -> Result<Code, Fault> {
    let text: String = code.join("\n");
    let template = template(&text).map_err(|error| {
        Fault::At(line + error.line, ScriptReason::Code { column: error.column, reason: error.reason })
    })?;
    if template.insns.is_empty() {
        return expected("code below this line");
    }
    Ok(Code { template, line })
}
