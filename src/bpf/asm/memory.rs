//! The syntax of loads, stores and atomics.

use super::cursor::{Cursor, Reg};
use super::error::Fault;
use super::lex::Tok;
use crate::bpf::Insn;
use crate::bpf::opcode::{
    ABS, ATOMIC, CMPXCHG, DW, FETCH, IND, LD, LDX, LOAD_ACQ, MEMSX, STORE_REL, STX, W, XCHG,
};
use crate::bpf::syntax::{COMPARE_EXCHANGE, EXCHANGE, EXTENDED, FETCHED, LOCK, UNSIGNED, key};

/// `*(u32 *)`: a size.
fn pointer(cursor: &mut Cursor<'_, '_>) -> Result<u8, Fault> {
    cursor.ops(["*"])?;
    cast(cursor)
}

/// `(u32 *)`: a size.
fn cast(cursor: &mut Cursor<'_, '_>) -> Result<u8, Fault> {
    cursor.ops(["("])?;
    let size = cursor.choice(&UNSIGNED, "u8, u16, u32 or u64")?;
    cursor.ops(["*", ")"])?;
    Ok(size)
}

/// The size of an atomic, which is 4 or 8 bytes. `at` is where it stands.
fn atomic(size: u8, at: usize) -> Result<u8, Fault> {
    if matches!(size, W | DW) { Ok(size) } else { Err(Fault::expected(at, "u32 or u64")) }
}

/// The register of an access of this size, where both spellings mean the same.
fn value(cursor: &mut Cursor<'_, '_>, size: u8) -> Result<u8, Fault> {
    if size == DW { cursor.reg_of(true) } else { Ok(cursor.reg()?.number) }
}

/// `*(u32 *)(r1 + 8) = r2` and `= 5`.
pub(super) fn store(cursor: &mut Cursor<'_, '_>) -> Result<Insn, Fault> {
    let size = pointer(cursor)?;
    let (dst, off) = cursor.memory()?;
    cursor.ops(["="])?;
    if cursor.is_reg() {
        return Ok(Insn::stx(size, dst, value(cursor, size)?, off));
    }
    if !cursor.is_number() {
        return cursor.expected("a register or a number");
    }
    Ok(Insn::st(size, dst, off, cursor.field()?))
}

/// What comes after `lock`: `*(u64 *)(r1 + 8) += r2`.
pub(super) fn locked(cursor: &mut Cursor<'_, '_>) -> Result<Insn, Fault> {
    let at = cursor.at();
    let size = atomic(pointer(cursor)?, at)?;
    let (dst, off) = cursor.memory()?;
    let op = cursor.choice(&LOCK, "+=, |=, &= or ^=")?;
    Ok(Insn::new(STX | ATOMIC | size, dst, value(cursor, size)?, off, op))
}

/// What comes after `store_release`: `((u64 *)(r1 + 8), r2)`.
pub(super) fn store_release(cursor: &mut Cursor<'_, '_>) -> Result<Insn, Fault> {
    cursor.ops(["("])?;
    let size = cast(cursor)?;
    let (dst, off) = cursor.memory()?;
    cursor.ops([","])?;
    let src = cursor.reg_of(size == DW)?;
    cursor.ops([")"])?;
    Ok(Insn::new(STX | ATOMIC | size, dst, src, off, STORE_REL))
}

/// What comes after `r1 =`: `*(u32 *)(r2 + 8)`, or after `r0 =`: `*(u32 *)skb[8]`.
pub(super) fn load(cursor: &mut Cursor<'_, '_>, dst: Reg) -> Result<Insn, Fault> {
    cursor.ops(["*", "("])?;
    let at = cursor.at();
    if let Tok::Word(word) = cursor.peek()
        && let Some(size) = key(&EXTENDED, word)
    {
        cursor.advance();
        cursor.ops(["*", ")"])?;
        dst.must_be_wide(true)?;
        let (src, off) = cursor.memory()?;
        return Ok(Insn::new(LDX | MEMSX | size, dst.number, src, off, 0));
    }
    let size = cursor.choice(&UNSIGNED, "a size: u8 to u64, or s8 to s32")?;
    cursor.ops(["*", ")"])?;
    if cursor.eat(Tok::Word("skb")) {
        if size == DW {
            return Err(Fault::expected(at, "u8, u16 or u32"));
        }
        dst.must_be_wide(true)?;
        dst.must_be_zero()?;
        return packet(cursor, size);
    }
    if size == DW {
        dst.must_be_wide(true)?;
    }
    let (src, off) = cursor.memory()?;
    Ok(Insn::ldx(size, dst.number, src, off))
}

/// `[8]`, `[r1]` and `[r1 + 8]`.
fn packet(cursor: &mut Cursor<'_, '_>, size: u8) -> Result<Insn, Fault> {
    cursor.ops(["["])?;
    let (mode, src) = if cursor.is_reg() { (IND, cursor.reg_of(true)?) } else { (ABS, 0) };
    let imm = match (mode, cursor.peek()) {
        (IND, Tok::Op("]")) => 0,
        (IND, _) if !cursor.is_sign() => return cursor.expected("+, - or ]"),
        _ => cursor.field()?,
    };
    cursor.ops(["]"])?;
    Ok(Insn::new(LD | mode | size, 0, src, 0, imm))
}

/// `load_acquire((u64 *)(r2 + 8))`.
pub(super) fn load_acquire(cursor: &mut Cursor<'_, '_>, dst: Reg) -> Result<Insn, Fault> {
    cursor.keyword("load_acquire")?;
    cursor.ops(["("])?;
    let size = cast(cursor)?;
    dst.must_be_wide(size == DW)?;
    let (src, off) = cursor.memory()?;
    cursor.ops([")"])?;
    Ok(Insn::new(STX | ATOMIC | size, dst.number, src, off, LOAD_ACQ))
}

/// `atomic_fetch_add((u64 *)(r1 + 8), r2)`. The register that is assigned to is the source.
pub(super) fn fetch(cursor: &mut Cursor<'_, '_>, src: Reg) -> Result<Insn, Fault> {
    let op = cursor.choice(&FETCHED, "an atomic")?;
    cursor.ops(["("])?;
    let at = cursor.at();
    let size = atomic(cast(cursor)?, at)?;
    src.must_be_wide(size == DW)?;
    let (dst, off) = cursor.memory()?;
    cursor.ops([","])?;
    cursor.same(src)?;
    cursor.ops([")"])?;
    Ok(Insn::new(STX | ATOMIC | size, dst, src.number, off, op | FETCH))
}

/// `xchg_64(r1 + 8, r2)`. The register that is assigned to is the source.
pub(super) fn exchange(cursor: &mut Cursor<'_, '_>, src: Reg) -> Result<Insn, Fault> {
    let size = cursor.choice(&EXCHANGE, "an exchange")?;
    src.must_be_wide(size == DW)?;
    cursor.ops(["("])?;
    let (dst, off) = cursor.address()?;
    cursor.ops([","])?;
    cursor.same(src)?;
    cursor.ops([")"])?;
    Ok(Insn::new(STX | ATOMIC | size, dst, src.number, off, XCHG))
}

/// `cmpxchg_64(r1 + 8, r0, r2)`.
pub(super) fn compare_exchange(cursor: &mut Cursor<'_, '_>, zero: Reg) -> Result<Insn, Fault> {
    let size = cursor.choice(&COMPARE_EXCHANGE, "an exchange")?;
    zero.must_be_wide(size == DW)?;
    zero.must_be_zero()?;
    cursor.ops(["("])?;
    let (dst, off) = cursor.address()?;
    cursor.ops([","])?;
    cursor.same(zero)?;
    cursor.ops([","])?;
    let src = cursor.reg_of(zero.wide)?;
    cursor.ops([")"])?;
    Ok(Insn::new(STX | ATOMIC | size, dst, src, off, CMPXCHG))
}
