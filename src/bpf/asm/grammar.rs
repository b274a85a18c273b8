//! The syntax of a line: labels, and what begins with a keyword.

use alloc::vec::Vec;

use super::cursor::{Cursor, Reg, Target};
use super::error::{AsmReason, Fault};
use super::lex::{SEPARATOR, Tok};
use super::{assign, memory};
use crate::bpf::Insn;
use crate::bpf::opcode::{CALL_CODE, CALL_KFUNC, JMP, JMP32, K, X};
use crate::bpf::syntax::COMPARE;

/// A label that the instruction refers to, and the byte of its line.
type Label<'a> = Option<(&'a str, usize)>;

/// One instruction.
pub(super) struct Parsed<'a> {
    pub(super) insn: Insn,
    pub(super) second: Option<Insn>,
    pub(super) label: Label<'a>,
}

impl From<Insn> for Parsed<'_> {
    fn from(insn: Insn) -> Self {
        Self { insn, second: None, label: None }
    }
}

impl From<[Insn; 2]> for Parsed<'_> {
    fn from([insn, second]: [Insn; 2]) -> Self {
        Self { insn, second: Some(second), label: None }
    }
}

/// The definition of a label, if one is next, and the byte it starts at.
pub(super) fn label<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Label<'a>, Fault> {
    let (Tok::Word(name), Tok::Op(":")) = (cursor.peek(), cursor.peek_second()) else { return Ok(None) };
    let at = cursor.at();
    if cursor.is_reg() {
        return cursor.expected("a label that is not the name of a register");
    }
    cursor.advance();
    cursor.advance();
    Ok(Some((name, at)))
}

/// Pushes the slots of one instruction, which goes up to a separator or the end of the line.
pub(super) fn insn<'a>(cursor: &mut Cursor<'_, 'a>, insns: &mut Vec<Insn>) -> Result<Label<'a>, Fault> {
    let parsed = statement(cursor)?;
    if !at_end(cursor) {
        return cursor.expected("the end of the line");
    }
    insns.push(parsed.insn);
    insns.extend(parsed.second);
    Ok(parsed.label)
}

/// Whether no more of an instruction follows.
pub(super) fn at_end(cursor: &Cursor<'_, '_>) -> bool {
    matches!(cursor.peek(), Tok::End | Tok::Op(SEPARATOR))
}

fn statement<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Parsed<'a>, Fault> {
    let at = cursor.at();
    let word = match cursor.peek() {
        Tok::Op("*") => return memory::store(cursor).map(Parsed::from),
        _ if cursor.is_reg() => return assign::assign(cursor),
        Tok::Word(word) => word,
        _ => return cursor.expected("an instruction"),
    };
    cursor.advance();
    match word {
        "exit" => Ok(Insn::exit().into()),
        "goto" => short(cursor, Insn::ja(0)),
        "may_goto" => short(cursor, Insn::may_goto(0)),
        "gotol" => long(cursor, Insn::gotol(0)),
        "gotox" => Ok(Insn::gotox(cursor.reg_of(true)?).into()),
        "if" => branch(cursor),
        "call" => call(cursor),
        "lock" => memory::locked(cursor).map(Parsed::from),
        "store_release" => memory::store_release(cursor).map(Parsed::from),
        ".insn" => raw(cursor).map(Parsed::from),
        _ => Err(Fault::expected(at, "an instruction")),
    }
}

/// `insn` with a displacement of 16 bits.
fn short<'a>(cursor: &mut Cursor<'_, 'a>, insn: Insn) -> Result<Parsed<'a>, Fault> {
    Ok(match cursor.target()? {
        Target::Displacement(value) => insn.with_off(value.fitted()?).into(),
        Target::Label(name, at) => Parsed { insn, second: None, label: Some((name, at)) },
    })
}

/// `insn` with a displacement of 32 bits.
pub(super) fn long<'a>(cursor: &mut Cursor<'_, 'a>, insn: Insn) -> Result<Parsed<'a>, Fault> {
    Ok(match cursor.target()? {
        Target::Displacement(value) => insn.with_imm(value.fitted()?).into(),
        Target::Label(name, at) => Parsed { insn, second: None, label: Some((name, at)) },
    })
}

fn branch<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Parsed<'a>, Fault> {
    let dst = cursor.reg()?;
    let op = cursor.choice(&COMPARE, "a comparison")?;
    let class = if dst.wide { JMP } else { JMP32 };
    let insn = operand(cursor, class | op, dst)?;
    cursor.keyword("goto")?;
    short(cursor, insn)
}

/// The second operand of arithmetic or of a comparison, and with it the instruction.
pub(super) fn operand(cursor: &mut Cursor<'_, '_>, code: u8, dst: Reg) -> Result<Insn, Fault> {
    if cursor.is_reg() {
        let src = cursor.reg_of(dst.wide)?;
        return Ok(Insn::new(code | X, dst.number, src, 0, 0));
    }
    if !cursor.is_number() {
        return cursor.expected("a register or a number");
    }
    Ok(Insn::new(code | K, dst.number, 0, 0, cursor.field()?))
}

fn call<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Parsed<'a>, Fault> {
    if cursor.is_number() {
        return Ok(Insn::call(cursor.field()?).into());
    }
    if cursor.eat(Tok::Word("kfunc")) {
        let imm = cursor.field()?;
        let off = if cursor.eat(Tok::Word("off")) { cursor.field()? } else { 0 };
        return Ok(Insn::new(CALL_CODE, 0, CALL_KFUNC, off, imm).into());
    }
    if cursor.eat(Tok::Word("pc")) && !cursor.is_sign() {
        return cursor.expected("a displacement with its sign");
    }
    long(cursor, Insn::call_local(0))
}

fn raw(cursor: &mut Cursor<'_, '_>) -> Result<Insn, Fault> {
    let code = cursor.field()?;
    cursor.ops([","])?;
    let dst = nibble(cursor)?;
    cursor.ops([","])?;
    let src = nibble(cursor)?;
    cursor.ops([","])?;
    let off = cursor.field()?;
    cursor.ops([","])?;
    Ok(Insn::new(code, dst, src, off, cursor.field()?))
}

fn nibble(cursor: &mut Cursor<'_, '_>) -> Result<u8, Fault> {
    let number = cursor.number()?;
    match u8::try_from(number.value) {
        Ok(nibble) if nibble < 16 => Ok(nibble),
        _ => {
            let reason = AsmReason::Range { value: number.value, min: 0, max: 15 };
            Err(Fault { at: number.at, reason })
        }
    }
}
