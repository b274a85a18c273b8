//! Instructions as text.
//!
//! The text is what `llvm-objdump` prints (LLVM 17 and later, with 32-bit registers), wherever that tells all there
//! is to tell. It differs where two encodings would read the same:
//!
//! | encoding | text here | `llvm-objdump` |
//! | --- | --- | --- |
//! | call of a subprogram | `call pc+0x7` | `call 0x7`, as for helper 7 |
//! | call of a kernel function | `call kfunc 0x7` | `call 0x7` |
//! | … in a module's BTF | `call kfunc 0x7 off 0x3` | `call 0x7` |
//! | packet load at `src + imm` | `r0 = *(u8 *)skb[r4 + 0x8]` | `r0 = *(u8 *)skb[r4]` |
//! | map, by file descriptor | `r1 = map[fd:0x7] ll` | `ld_pseudo r1, 0x1, 0x7` |
//! | … an address in its value | `r1 = map[fd:0x7][0x10] ll` | `ld_pseudo r1, 0x2, 0x7` |
//! | map, by index | `r1 = map[idx:0x7] ll` | `ld_pseudo r1, 0x5, 0x7` |
//! | … an address in its value | `r1 = map[idx:0x7][0x10] ll` | `ld_pseudo r1, 0x6, 0x7` |
//! | kernel variable | `r1 = btf[id:0x7] ll` | `ld_pseudo r1, 0x3, 0x7` |
//! | … in a module's BTF | `r1 = btf[id:0x7][0x3] ll` | `ld_pseudo r1, 0x3, 0x7` |
//! | subprogram | `r1 = subprog[+0x7] ll` | `ld_pseudo r1, 0x4, 0x7` |
//! | not valid | `.insn 0xff, 0x1, 0x2, -0x3, 0x4` | `<unknown>` |
//!
//! The second bracket is the immediate of the second slot. `.insn` has the fields code, destination,
//! source, `off` and `imm`. The name that `llvm-objdump` adds to a jump, `<.text+0x20>`, is left out.
//! [`asm`](super::asm) reads all of it back.

use core::fmt::{self, Display, Formatter};

use super::opcode::{
    ABS, ADDR_SPACE_CAST, ALU, ALU64, ATOMIC, CALL_KFUNC, CALL_LOCAL, CMPXCHG, DW, END, FETCH, GOTO, GOTOL,
    GOTOX, LD, LD_BTF_ID, LD_FUNC, LD_MAP_FD, LD_MAP_IDX, LD_MAP_IDX_VALUE, LD_MAP_VALUE, LD_NUMBER, LDX,
    LOAD_ACQ, MAY_GOTO, MEM, MEMSX, MOV, NEG, ST, STORE_REL, STX, XCHG,
};
use super::syntax::{
    ASSIGN, COMPARE, COMPARE_EXCHANGE, EXCHANGE, EXTENDED, FETCHED, HIGHEST, LOCK, NARROW, SWAP, UNSIGNED,
    text,
};
use super::{Insn, check_insn};

/// The first instruction of `insns` as text, numbers for operands. Empty if `insns` is.
#[must_use]
pub fn dis(insns: &[Insn]) -> Dis<'_> {
    dis_with(insns, &Numbers)
}

/// The first instruction of `insns` as text, with operands that `names` may write its own way.
pub fn dis_with<'a, N: Names + ?Sized>(insns: &'a [Insn], names: &'a N) -> Dis<'a, N> {
    let valid = check_insn(insns, 0, HIGHEST);
    let slots = *valid.as_ref().unwrap_or(&insns.len().min(1));
    Dis { insns: &insns[..slots], valid: valid.is_ok(), names }
}

/// All instructions of `insns` as text, a line each; [`asm::parse`](super::asm::parse) gives the same slots.
///
/// ```
/// use relinear::bpf::{Insn, dis};
///
/// let text = dis::dis_all(&[Insn::mov64_imm(0, 7), Insn::exit()]).to_string();
/// assert_eq!(text, "r0 = 0x7\nexit\n");
/// ```
#[must_use]
pub fn dis_all(insns: &[Insn]) -> DisAll<'_> {
    DisAll { insns }
}

/// Instructions that display as lines of text.
#[derive(Clone, Copy, Debug)]
pub struct DisAll<'a> {
    insns: &'a [Insn],
}

impl Display for DisAll<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.insns;
        while !rest.is_empty() {
            let line = dis(rest);
            writeln!(f, "{line}")?;
            rest = &rest[line.slots()..];
        }
        Ok(())
    }
}

/// One name for each operand that is a number in the encoding but stands for something else.
///
/// A method writes the name and returns `true`, or writes nothing and returns `false` to have the number.
/// What is written takes the place of what the comment shows in angle brackets.
pub trait Names {
    /// The target of a jump, a call of a subprogram or a subprogram's address, `displacement` slots
    /// from the next slot: `goto <+0x3>`, `call <pc+0x7>`, `r1 = subprog[<+0x7>] ll`.
    ///
    /// # Errors
    ///
    /// If writing fails.
    fn target(&self, _displacement: i64, _f: &mut Formatter<'_>) -> Result<bool, fmt::Error> {
        Ok(false)
    }

    /// What `insn` calls, a helper or a kernel function: `call <0x7>`, `call <kfunc 0x7>`.
    ///
    /// # Errors
    ///
    /// If writing fails.
    fn callee(&self, _insn: Insn, _f: &mut Formatter<'_>) -> Result<bool, fmt::Error> {
        Ok(false)
    }

    /// What `insn`, an `ld_imm64` of any kind but [`LD_FUNC`], loads: `r1 = <map[fd:0x7]> ll`.
    ///
    /// # Errors
    ///
    /// If writing fails.
    fn imm64(&self, _insn: [Insn; 2], _f: &mut Formatter<'_>) -> Result<bool, fmt::Error> {
        Ok(false)
    }
}

/// No names: every operand is a number, so that [`asm::parse`](super::asm::parse) gives the same slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Numbers;

impl Names for Numbers {}

/// An instruction that displays as text.
#[derive(Debug)]
pub struct Dis<'a, N: ?Sized = Numbers> {
    insns: &'a [Insn],
    valid: bool,
    names: &'a N,
}

impl<N: ?Sized> Dis<'_, N> {
    /// How many slots the text stands for: 0 at the end, 2 for a valid `ld_imm64`, otherwise 1.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.insns.len()
    }
}

impl<N: Names + ?Sized> Display for Dis<'_, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(&insn) = self.insns.first() else { return Ok(()) };
        if !self.valid {
            return raw(insn, f);
        }
        match insn.class() {
            LD => match self.insns.get(1) {
                Some(&second) => wide(insn, second, self.names, f),
                None => packet(insn, f),
            },
            LDX => load(insn, f),
            ST | STX => store(insn, f),
            ALU | ALU64 => alu(insn, f),
            _ => jump(insn, self.names, f),
        }
    }
}

fn raw(insn: Insn, f: &mut Formatter<'_>) -> fmt::Result {
    let Insn { code, off, imm, .. } = insn;
    write!(f, ".insn {code:#x}, {:#x}, {:#x}, {}, {}", insn.dst(), insn.src(), Hex(off), Hex(imm))
}

/// A number with its sign before the `0x`.
struct Hex<T>(T);

impl<T: Into<i64> + Copy> Display for Hex<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let value: i64 = self.0.into();
        write!(f, "{}{:#x}", if value < 0 { "-" } else { "" }, value.unsigned_abs())
    }
}

/// A number that always has a sign.
struct Signed(i64);

impl Display for Signed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:#x}", if self.0 < 0 { '-' } else { '+' }, self.0.unsigned_abs())
    }
}

/// A register, with an offset: `r1 + 0x8`.
struct Address(u8, i64);

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let sign = if self.1 < 0 { '-' } else { '+' };
        write!(f, "r{} {sign} {:#x}", self.0, self.1.unsigned_abs())
    }
}

/// The letter of the registers in an operation on memory of this size.
fn letter(size: u8) -> char {
    if size == DW { 'r' } else { 'w' }
}

/// The entry of a table for a field of a checked instruction.
fn word<T: PartialEq>(table: &[(T, &'static str)], key: &T) -> &'static str {
    text(table, key).unwrap_or("?")
}

fn wide<N: Names + ?Sized>(insn: Insn, second: Insn, names: &N, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "r{} = ", insn.dst())?;
    let kind = insn.src();
    if kind == LD_FUNC {
        f.write_str("subprog[")?;
        target(insn.imm.into(), "", names, f)?;
        f.write_str("]")?;
    } else if names.imm64([insn, second], f)? {
        return f.write_str(" ll");
    } else {
        match kind {
            LD_NUMBER => {
                let low = i64::from(insn.imm) & 0xffff_ffff;
                write!(f, "{}", Hex(i64::from(second.imm) << 32 | low))?;
            }
            LD_BTF_ID => write!(f, "btf[id:{}]", Hex(insn.imm))?,
            LD_MAP_FD | LD_MAP_VALUE => write!(f, "map[fd:{}]", Hex(insn.imm))?,
            _ => write!(f, "map[idx:{}]", Hex(insn.imm))?,
        }
    }
    let has_second = match kind {
        LD_NUMBER | LD_MAP_FD | LD_MAP_IDX => false,
        LD_MAP_VALUE | LD_MAP_IDX_VALUE => true,
        _ => second.imm != 0,
    };
    if has_second {
        write!(f, "[{}]", Hex(second.imm))?;
    }
    f.write_str(" ll")
}

fn packet(insn: Insn, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "r0 = *({} *)skb[", word(&UNSIGNED, &insn.size()))?;
    match (insn.mode(), insn.imm) {
        (ABS, imm) => write!(f, "{}]", Hex(imm)),
        (_, 0) => write!(f, "r{}]", insn.src()),
        (_, imm) => write!(f, "{}]", Address(insn.src(), imm.into())),
    }
}

fn load(insn: Insn, f: &mut Formatter<'_>) -> fmt::Result {
    let (letter, ty) = match insn.mode() {
        MEMSX => ('r', word(&EXTENDED, &insn.size())),
        _ => (letter(insn.size()), word(&UNSIGNED, &insn.size())),
    };
    write!(f, "{letter}{} = *({ty} *)({})", insn.dst(), Address(insn.src(), insn.off.into()))
}

fn store(insn: Insn, f: &mut Formatter<'_>) -> fmt::Result {
    let (dst, src, letter) = (Address(insn.dst(), insn.off.into()), insn.src(), letter(insn.size()));
    let ty = word(&UNSIGNED, &insn.size());
    if insn.class() == ST {
        return write!(f, "*({ty} *)({dst}) = {}", Hex(insn.imm));
    }
    if insn.mode() == MEM {
        return write!(f, "*({ty} *)({dst}) = {letter}{src}");
    }
    debug_assert_eq!(insn.mode(), ATOMIC);
    match insn.imm {
        LOAD_ACQ => {
            let src = Address(src, insn.off.into());
            write!(f, "{letter}{} = load_acquire(({ty} *)({src}))", insn.dst())
        }
        STORE_REL => write!(f, "store_release(({ty} *)({dst}), {letter}{src})"),
        XCHG => {
            write!(f, "{letter}{src} = {}({dst}, {letter}{src})", word(&EXCHANGE, &insn.size()))
        }
        CMPXCHG => {
            let name = word(&COMPARE_EXCHANGE, &insn.size());
            write!(f, "{letter}0 = {name}({dst}, {letter}0, {letter}{src})")
        }
        imm if imm & FETCH != 0 => {
            let name = word(&FETCHED, &(imm & !FETCH));
            write!(f, "{letter}{src} = {name}(({ty} *)({dst}), {letter}{src})")
        }
        imm => write!(f, "lock *({ty} *)({dst}) {} {letter}{src}", word(&LOCK, &imm)),
    }
}

fn alu(insn: Insn, f: &mut Formatter<'_>) -> fmt::Result {
    let letter = if insn.class() == ALU64 { 'r' } else { 'w' };
    let (dst, src) = (insn.dst(), insn.src());
    match insn.op() {
        NEG => write!(f, "{letter}{dst} = -{letter}{dst}"),
        END => write!(f, "r{dst} = {} r{dst}", word(&SWAP, &(insn.code, insn.imm))),
        MOV if insn.off == ADDR_SPACE_CAST => {
            let (to, from) = (insn.imm >> 16, insn.imm & 0xffff);
            write!(f, "r{dst} = addr_space_cast(r{src}, {to:#x}, {from:#x})")
        }
        MOV if insn.off != 0 => {
            write!(f, "{letter}{dst} = ({}){letter}{src}", word(&NARROW, &insn.off))
        }
        op => {
            write!(f, "{letter}{dst} {} ", word(&ASSIGN, &(op, insn.off)))?;
            operand(insn, letter, f)
        }
    }
}

/// The second operand of arithmetic or of a comparison.
fn operand(insn: Insn, letter: char, f: &mut Formatter<'_>) -> fmt::Result {
    if insn.is_reg() { write!(f, "{letter}{}", insn.src()) } else { write!(f, "{}", Hex(insn.imm)) }
}

/// The name of a target, or `prefix` and its displacement.
fn target<N: Names + ?Sized>(to: i64, prefix: &str, names: &N, f: &mut Formatter<'_>) -> fmt::Result {
    if names.target(to, f)? { Ok(()) } else { write!(f, "{prefix}{}", Signed(to)) }
}

fn jump<N: Names + ?Sized>(insn: Insn, names: &N, f: &mut Formatter<'_>) -> fmt::Result {
    if insn.is_exit() {
        return f.write_str("exit");
    }
    if insn.is_call() {
        return call(insn, names, f);
    }
    match insn.code {
        GOTO => f.write_str("goto ")?,
        MAY_GOTO => f.write_str("may_goto ")?,
        GOTOX => return write!(f, "gotox r{}", insn.dst()),
        GOTOL => {
            f.write_str("gotol ")?;
            return target(insn.imm.into(), "", names, f);
        }
        _ => {
            let letter = if insn.class() == super::opcode::JMP { 'r' } else { 'w' };
            write!(f, "if {letter}{} {} ", insn.dst(), word(&COMPARE, &insn.op()))?;
            operand(insn, letter, f)?;
            f.write_str(" goto ")?;
        }
    }
    target(insn.off.into(), "", names, f)
}

fn call<N: Names + ?Sized>(insn: Insn, names: &N, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str("call ")?;
    if insn.src() == CALL_LOCAL {
        return target(insn.imm.into(), "pc", names, f);
    }
    if names.callee(insn, f)? {
        return Ok(());
    }
    if insn.src() == CALL_KFUNC {
        f.write_str("kfunc ")?;
    }
    write!(f, "{}", Hex(insn.imm))?;
    if insn.off == 0 { Ok(()) } else { write!(f, " off {}", Hex(insn.off)) }
}
