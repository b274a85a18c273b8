//! The words of the assembly text, in tables that the assembler and the disassembler share.

use super::opcode::{
    ADD, ALU, ALU64, AND, ARSH, B, DIV, DW, END, H, JEQ, JGE, JGT, JLE, JLT, JNE, JSET, JSGE, JSGT, JSLE,
    JSLT, K, LSH, MOD, MOV, MUL, OR, RSH, SIGNED, SUB, W, X, XOR,
};

/// The highest register that text names: newer kernels than those of
/// [`AX`](super::opcode::AX) take `r12` for what it does there.
pub(super) const HIGHEST: u8 = 12;

/// Operation and `off` of `dst op= operand`.
pub(super) const ASSIGN: [((u8, i16), &str); 14] = [
    ((MOV, 0), "="),
    ((ADD, 0), "+="),
    ((SUB, 0), "-="),
    ((MUL, 0), "*="),
    ((DIV, 0), "/="),
    ((DIV, SIGNED), "s/="),
    ((OR, 0), "|="),
    ((AND, 0), "&="),
    ((LSH, 0), "<<="),
    ((RSH, 0), ">>="),
    ((MOD, 0), "%="),
    ((MOD, SIGNED), "s%="),
    ((XOR, 0), "^="),
    ((ARSH, 0), "s>>="),
];

/// Operation of `if dst op operand`.
pub(super) const COMPARE: [(u8, &str); 11] = [
    (JEQ, "=="),
    (JGT, ">"),
    (JGE, ">="),
    (JSET, "&"),
    (JNE, "!="),
    (JSGT, "s>"),
    (JSGE, "s>="),
    (JLT, "<"),
    (JLE, "<="),
    (JSLT, "s<"),
    (JSLE, "s<="),
];

/// Size of what is in memory.
pub(super) const UNSIGNED: [(u8, &str); 4] = [(B, "u8"), (H, "u16"), (W, "u32"), (DW, "u64")];

/// Size of what is in memory and comes sign-extended into a register.
pub(super) const EXTENDED: [(u8, &str); 3] = [(B, "s8"), (H, "s16"), (W, "s32")];

/// `off` of a sign-extending move.
pub(super) const NARROW: [(i16, &str); 3] = [(8, "s8"), (16, "s16"), (32, "s32")];

/// Code and `imm` of a byte swap.
pub(super) const SWAP: [((u8, i32), &str); 9] = [
    ((ALU | END | K, 16), "le16"),
    ((ALU | END | K, 32), "le32"),
    ((ALU | END | K, 64), "le64"),
    ((ALU | END | X, 16), "be16"),
    ((ALU | END | X, 32), "be32"),
    ((ALU | END | X, 64), "be64"),
    ((ALU64 | END | K, 16), "bswap16"),
    ((ALU64 | END | K, 32), "bswap32"),
    ((ALU64 | END | K, 64), "bswap64"),
];

/// `imm` of an atomic without its old value.
pub(super) const LOCK: [(i32, &str); 4] =
    [(ADD as i32, "+="), (OR as i32, "|="), (AND as i32, "&="), (XOR as i32, "^=")];

/// `imm`, without the fetch bit, of an atomic with its old value.
pub(super) const FETCHED: [(i32, &str); 4] = [
    (ADD as i32, "atomic_fetch_add"),
    (OR as i32, "atomic_fetch_or"),
    (AND as i32, "atomic_fetch_and"),
    (XOR as i32, "atomic_fetch_xor"),
];

/// Size of an exchange.
pub(super) const EXCHANGE: [(u8, &str); 2] = [(W, "xchg32_32"), (DW, "xchg_64")];

/// Size of a compare and exchange.
pub(super) const COMPARE_EXCHANGE: [(u8, &str); 2] = [(W, "cmpxchg32_32"), (DW, "cmpxchg_64")];

/// The text that `table` has for `key`.
pub(super) fn text<T: PartialEq>(table: &[(T, &'static str)], key: &T) -> Option<&'static str> {
    table.iter().find(|(candidate, _)| candidate == key).map(|&(_, text)| text)
}

/// What `table` has the text `text` for.
pub(super) fn key<T: Copy>(table: &[(T, &'static str)], text: &str) -> Option<T> {
    table.iter().find(|&&(_, candidate)| candidate == text).map(|&(key, _)| key)
}
