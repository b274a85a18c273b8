//! A line to tokens.

use alloc::vec::Vec;

use super::error::{AsmReason, Fault};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tok<'a> {
    /// A register, a keyword, a label, or a name in braces: `{a}`, `w{a}`.
    Word(&'a str),
    /// A number without its sign.
    Number(u64),
    /// One of [`OPS`].
    Op(&'static str),
    /// The end of the line.
    End,
}

/// What stands between two instructions of a line.
pub(super) const SEPARATOR: &str = ";";

/// Longer ones before their own beginnings.
const OPS: [&str; 35] = [
    "s>>=", "<<=", ">>=", "s>=", "s<=", "s/=", "s%=", "s>", "s<", "+=", "-=", "*=", "/=", "|=", "&=", "%=",
    "^=", "==", "!=", ">=", "<=", "=", ">", "<", "&", "+", "-", "*", "(", ")", "[", "]", ",", ":", SEPARATOR,
];

/// Puts the tokens of `line` into `tokens`, each with the byte it starts at. The last is [`Tok::End`].
pub(super) fn line<'a>(line: &'a str, tokens: &mut Vec<(Tok<'a>, usize)>) -> Result<(), Fault> {
    tokens.clear();
    // Where the code ends: a missing token is reported there, not after a comment.
    let mut end = 0;
    let mut at = 0;
    loop {
        let rest = &line[at..];
        let Some(first) = rest.chars().next() else { break };
        let is_comment = rest.starts_with("//") || (tokens.is_empty() && rest.starts_with(SEPARATOR));
        if is_comment {
            break;
        }
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        let (token, len) = token(rest, first).map_err(|reason| Fault { at, reason })?;
        tokens.push((token, at));
        at += len;
        end = at;
    }
    tokens.push((Tok::End, end));
    Ok(())
}

fn token(rest: &str, first: char) -> Result<(Tok<'_>, usize), AsmReason> {
    // Most tokens are words and numbers, and no operator begins as they do but for an `s`.
    if first == 's' || !first.is_ascii_alphanumeric() {
        let same = |op: &&str| op.as_bytes()[0] == rest.as_bytes()[0] && rest.starts_with(*op);
        if let Some(op) = OPS.into_iter().find(same) {
            return Ok((Tok::Op(op), op.len()));
        }
    }
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$' | '#');
    if let Some(name) = rest.strip_prefix('{').or_else(|| rest.strip_prefix("w{")) {
        let len = name.find(|c| !part(c)).unwrap_or(name.len());
        if len == 0 || !name[len..].starts_with('}') {
            return Err(AsmReason::Expected("a name in braces"));
        }
        let word = &rest[..=rest.len() - name.len() + len];
        return Ok((Tok::Word(word), word.len()));
    }
    let word = &rest[..rest.find(|c| !part(c)).unwrap_or(rest.len())];
    if word.is_empty() {
        return Err(AsmReason::Character(first));
    }
    if !first.is_ascii_digit() {
        return Ok((Tok::Word(word), word.len()));
    }
    let number = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    Ok((Tok::Number(number.map_err(|_| AsmReason::Number)?), word.len()))
}
