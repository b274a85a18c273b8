//! The syntax of what begins with a register.

use super::cursor::{Cursor, Number, Reg};
use super::error::{AsmReason, Fault};
use super::grammar::{Parsed, long, operand};
use super::lex::Tok;
use super::memory;
use crate::bpf::Insn;
use crate::bpf::opcode::{
    ADDR_SPACE_CAST, ALU, ALU64, K, LD_BTF_ID, LD_FUNC, LD_MAP_FD, LD_MAP_IDX, LD_MAP_IDX_VALUE,
    LD_MAP_VALUE, LD_NUMBER, MOV, NEG, X,
};
use crate::bpf::syntax::{ASSIGN, COMPARE_EXCHANGE, EXCHANGE, FETCHED, NARROW, SWAP, key};

pub(super) fn assign<'a>(cursor: &mut Cursor<'_, 'a>) -> Result<Parsed<'a>, Fault> {
    let dst = cursor.reg()?;
    let (op, off) = cursor.choice(&ASSIGN, "= or an operation and =")?;
    let class = if dst.wide { ALU64 } else { ALU };
    if op != MOV {
        return Ok(operand(cursor, class | op, dst)?.with_off(off).into());
    }
    match (cursor.peek(), cursor.peek_second()) {
        (Tok::Number(_), _) | (Tok::Op("+" | "-"), Tok::Number(_)) => number(cursor, class, dst),
        (Tok::Op("-"), _) => negate(cursor, class, dst).map(Parsed::from),
        (Tok::Op("("), _) => extend(cursor, class, dst).map(Parsed::from),
        (Tok::Op("*"), _) => memory::load(cursor, dst).map(Parsed::from),
        (Tok::Op("&"), _) => address(cursor, dst),
        (Tok::Word("map"), _) => map(cursor, dst).map(Parsed::from),
        (Tok::Word("btf"), _) => btf(cursor, dst).map(Parsed::from),
        (Tok::Word("subprog"), _) => subprog(cursor, dst),
        (Tok::Word(word), _) if !cursor.is_reg() => function(cursor, word, dst).map(Parsed::from),
        _ => operand(cursor, class | MOV, dst).map(Parsed::from),
    }
}

/// `5` and `5 ll`.
fn number<'a>(cursor: &mut Cursor<'_, 'a>, class: u8, dst: Reg) -> Result<Parsed<'a>, Fault> {
    let number = cursor.number()?;
    if cursor.eat(Tok::Word("ll")) {
        dst.must_be_wide(true)?;
        return Ok(Insn::ld_imm64(dst.number, bits(&number)?).into());
    }
    Ok(Insn::new(class | MOV | K, dst.number, 0, 0, number.fitted()?).into())
}

/// `&name ll` and `&name + 8 ll`: the offset stands in the immediate, and the loader adds the address.
fn address<'a>(cursor: &mut Cursor<'_, 'a>, dst: Reg) -> Result<Parsed<'a>, Fault> {
    cursor.ops(["&"])?;
    dst.must_be_wide(true)?;
    let at = cursor.at();
    let Tok::Word(name) = cursor.peek() else { return cursor.expected("the name of a symbol") };
    cursor.advance();
    let offset = if cursor.is_sign() { cursor.field()? } else { 0 };
    cursor.keyword("ll")?;
    let wide = Insn::ld_imm64_kind(dst.number, LD_NUMBER, offset, 0);
    Ok(Parsed { label: Some((name, at)), ..wide.into() })
}

/// The 64 bits of a number with or without a sign.
fn bits(number: &Number) -> Result<u64, Fault> {
    let &Number { value, at } = number;
    match i64::try_from(value) {
        Ok(signed) => Ok(signed.cast_unsigned()),
        Err(_) => u64::try_from(value).map_err(|_| Fault {
            at,
            reason: AsmReason::Range { value, min: i64::MIN.into(), max: u64::MAX.into() },
        }),
    }
}

/// `-r1`.
fn negate(cursor: &mut Cursor<'_, '_>, class: u8, dst: Reg) -> Result<Insn, Fault> {
    cursor.ops(["-"])?;
    cursor.same(dst)?;
    Ok(Insn::new(class | NEG | K, dst.number, 0, 0, 0))
}

/// `(s8)r2`.
fn extend(cursor: &mut Cursor<'_, '_>, class: u8, dst: Reg) -> Result<Insn, Fault> {
    cursor.ops(["("])?;
    let narrower = if dst.wide { &NARROW[..] } else { &NARROW[..2] };
    let bits = cursor.choice(narrower, "s8, s16 or, in a 64-bit register, s32")?;
    cursor.ops([")"])?;
    Ok(Insn::new(class | MOV | X, dst.number, cursor.reg_of(dst.wide)?, bits, 0))
}

/// `map[fd:3] ll`, `map[idx:3] ll` and, for an address in the value, `map[fd:3][8] ll`.
fn map(cursor: &mut Cursor<'_, '_>, dst: Reg) -> Result<[Insn; 2], Fault> {
    const BY: [((u8, u8), &str); 2] =
        [((LD_MAP_FD, LD_MAP_VALUE), "fd"), ((LD_MAP_IDX, LD_MAP_IDX_VALUE), "idx")];
    cursor.keyword("map")?;
    cursor.ops(["["])?;
    let (whole, value) = cursor.choice(&BY, "fd or idx")?;
    cursor.ops([":"])?;
    let low = cursor.field()?;
    cursor.ops(["]"])?;
    let high = second(cursor, dst)?;
    let kind = if high.is_some() { value } else { whole };
    Ok(Insn::ld_imm64_kind(dst.number, kind, low, high.unwrap_or(0)))
}

/// `btf[id:3] ll` and, in the BTF of a module, `btf[id:3][8] ll`.
fn btf(cursor: &mut Cursor<'_, '_>, dst: Reg) -> Result<[Insn; 2], Fault> {
    cursor.keyword("btf")?;
    cursor.ops(["["])?;
    cursor.keyword("id")?;
    cursor.ops([":"])?;
    let low = cursor.field()?;
    cursor.ops(["]"])?;
    let high = second(cursor, dst)?.unwrap_or(0);
    Ok(Insn::ld_imm64_kind(dst.number, LD_BTF_ID, low, high))
}

/// `subprog[+3] ll` and `subprog[name] ll`.
fn subprog<'a>(cursor: &mut Cursor<'_, 'a>, dst: Reg) -> Result<Parsed<'a>, Fault> {
    cursor.keyword("subprog")?;
    cursor.ops(["["])?;
    let to = long(cursor, Insn::default())?;
    cursor.ops(["]"])?;
    let high = second(cursor, dst)?.unwrap_or(0);
    let wide = Insn::ld_imm64_kind(dst.number, LD_FUNC, to.insn.imm, high);
    Ok(Parsed { label: to.label, ..wide.into() })
}

/// The immediate of the second slot, if it is there, and the end of a load of 64 bits.
fn second(cursor: &mut Cursor<'_, '_>, dst: Reg) -> Result<Option<i32>, Fault> {
    dst.must_be_wide(true)?;
    let mut imm = None;
    if cursor.eat(Tok::Op("[")) {
        imm = Some(cursor.field()?);
        cursor.ops(["]"])?;
    }
    cursor.keyword("ll")?;
    Ok(imm)
}

/// What is spelt like a function, and byte swaps.
fn function(cursor: &mut Cursor<'_, '_>, word: &str, dst: Reg) -> Result<Insn, Fault> {
    if key(&SWAP, word).is_some() {
        swap(cursor, dst)
    } else if key(&FETCHED, word).is_some() {
        memory::fetch(cursor, dst)
    } else if key(&EXCHANGE, word).is_some() {
        memory::exchange(cursor, dst)
    } else if key(&COMPARE_EXCHANGE, word).is_some() {
        memory::compare_exchange(cursor, dst)
    } else if word == "load_acquire" {
        memory::load_acquire(cursor, dst)
    } else if word == "addr_space_cast" {
        address_space_cast(cursor, dst)
    } else {
        cursor.expected("an operand")
    }
}

/// `be16 r1`.
fn swap(cursor: &mut Cursor<'_, '_>, dst: Reg) -> Result<Insn, Fault> {
    let (code, bits) = cursor.choice(&SWAP, "a byte swap")?;
    dst.must_be_wide(true)?;
    cursor.same(dst)?;
    Ok(Insn::new(code, dst.number, 0, 0, bits))
}

/// `addr_space_cast(r2, 0, 1)`.
fn address_space_cast(cursor: &mut Cursor<'_, '_>, dst: Reg) -> Result<Insn, Fault> {
    cursor.keyword("addr_space_cast")?;
    dst.must_be_wide(true)?;
    cursor.ops(["("])?;
    let src = cursor.reg_of(true)?;
    cursor.ops([","])?;
    let to = cursor.number()?;
    cursor.ops([","])?;
    let imm = match (to.value, cursor.number()?.value) {
        (0, 1) => 1,
        (1, 0) => 1 << 16,
        _ => return Err(Fault::expected(to.at, "the address spaces 0, 1 or 1, 0")),
    };
    cursor.ops([")"])?;
    Ok(Insn::new(ALU64 | MOV | X, dst.number, src, ADDR_SPACE_CAST, imm))
}
