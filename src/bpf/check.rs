//! [`check_insn`]: is this a valid encoding of one instruction, through ISA v4?

use core::fmt;

use super::Insn;
use super::opcode::{
    ABS, ADD, ADDR_SPACE_CAST, ALU, ALU64, AND, ARSH, ATOMIC, B, CALL, CALL_KFUNC, CMPXCHG, DIV, DW, END,
    EXIT, FETCH, GOTOL, H, IND, JA, JCOND, JMP, JSLE, LD, LD_IMM64, LD_MAP_FD, LD_MAP_IDX, LD_MAP_IDX_VALUE,
    LDX, LOAD_ACQ, MEM, MEMSX, MOD, MOV, NEG, OR, SIGNED, ST, STACK_ARGUMENTS, STORE_REL, STX, W, XCHG, XOR,
};

/// How many slots the instruction at slot `at` has, if it is valid. O(1).
///
/// Valid is what RFC 9669 defines, with `may_goto`, `gotox`, address space casts, and acquiring and
/// releasing atomics, which Linux added later. Fields that an instruction does not use must be 0.
/// No register above `highest` may be named: [`FRAME_POINTER`](super::opcode::FRAME_POINTER) for
/// programs, [`AX`](super::opcode::AX) for what the kernel's patches make of them. This looks at the
/// encoding of one instruction alone: not at where it jumps to, nor at what Linux's verifier refuses for
/// its meaning, such as a division by the immediate 0.
///
/// # Errors
///
/// If no instruction starts at `at`, or a field of it holds what it must not.
pub fn check_insn(insns: &[Insn], at: usize, highest: u8) -> Result<usize, InsnError> {
    check(insns.get(at..).unwrap_or_default(), highest).map_err(|reason| InsnError { at, reason })
}

fn check(insns: &[Insn], highest: u8) -> Result<usize, InsnReason> {
    let insn = *insns.first().ok_or(InsnReason::End)?;
    let rule = rule(insn).ok_or(InsnReason::Code(insn.code))?;
    if highest < STACK_ARGUMENTS && insn.is_stack_argument() {
        return Err(InsnReason::StackArgument);
    }
    if !allows(rule.dst, insn.dst(), highest) {
        return Err(InsnReason::Dst(insn.dst()));
    }
    if !allows(rule.src, insn.src(), highest) {
        return Err(InsnReason::Src(insn.src()));
    }
    if !rule.off.is_none_or(|allowed| allowed.contains(&insn.off)) {
        return Err(InsnReason::Off(insn.off));
    }
    if !rule.imm.is_none_or(|allowed| allowed.contains(&insn.imm)) {
        return Err(InsnReason::Imm(insn.imm));
    }
    if !insn.is_wide() {
        return Ok(1);
    }
    let second = *insns.get(1).ok_or(InsnReason::Cut)?;
    let has_second_imm = !matches!(insn.src(), LD_MAP_FD | LD_MAP_IDX);
    if second.with_imm(0) != Insn::default() || (second.imm != 0 && !has_second_imm) {
        return Err(InsnReason::SecondSlot);
    }
    Ok(2)
}

/// What the four fields of an instruction may hold.
struct Rule {
    dst: Reg,
    src: Reg,
    /// `None`: anything.
    off: Option<&'static [i16]>,
    /// `None`: anything.
    imm: Option<&'static [i32]>,
}

#[derive(Clone, Copy)]
enum Reg {
    Any,
    /// Not a register: a kind, up to this one.
    UpTo(u8),
}

const NO_REG: Reg = Reg::UpTo(0);
const NO_OFF: Option<&[i16]> = Some(&[0]);
const NO_IMM: Option<&[i32]> = Some(&[0]);

fn allows(rule: Reg, value: u8, highest: u8) -> bool {
    match rule {
        Reg::Any => value <= highest,
        Reg::UpTo(last) => value <= last,
    }
}

/// The rule of the code of `insn`, where other fields choose between variants also of those.
fn rule(insn: Insn) -> Option<Rule> {
    match insn.class() {
        LD => load_special(insn),
        LDX => {
            let valid = matches!((insn.mode(), insn.size()), (MEM, _) | (MEMSX, B | H | W));
            valid.then_some(Rule { dst: Reg::Any, src: Reg::Any, off: None, imm: NO_IMM })
        }
        ST => (insn.mode() == MEM).then_some(Rule { dst: Reg::Any, src: NO_REG, off: None, imm: None }),
        STX => store(insn),
        ALU | ALU64 => alu(insn),
        _ => jump(insn),
    }
}

fn load_special(insn: Insn) -> Option<Rule> {
    if insn.code == LD_IMM64 {
        let kinds = Reg::UpTo(LD_MAP_IDX_VALUE);
        return Some(Rule { dst: Reg::Any, src: kinds, off: NO_OFF, imm: None });
    }
    let src = match (insn.mode(), insn.size()) {
        (ABS, B | H | W) => NO_REG,
        (IND, B | H | W) => Reg::Any,
        _ => return None,
    };
    Some(Rule { dst: NO_REG, src, off: NO_OFF, imm: None })
}

fn store(insn: Insn) -> Option<Rule> {
    const ORDERED: &[i32] = &[LOAD_ACQ, STORE_REL];
    const ATOMICS: &[i32] = &[
        ADD as i32,
        OR as i32,
        AND as i32,
        XOR as i32,
        ADD as i32 | FETCH,
        OR as i32 | FETCH,
        AND as i32 | FETCH,
        XOR as i32 | FETCH,
        XCHG,
        CMPXCHG,
        LOAD_ACQ,
        STORE_REL,
    ];
    let imm = match (insn.mode(), insn.size()) {
        (MEM, _) => NO_IMM,
        (ATOMIC, W | DW) => Some(ATOMICS),
        (ATOMIC, _) => Some(ORDERED),
        _ => return None,
    };
    Some(Rule { dst: Reg::Any, src: Reg::Any, off: None, imm })
}

fn alu(insn: Insn) -> Option<Rule> {
    let wide = insn.class() == ALU64;
    let (src, imm) = if insn.is_reg() { (Reg::Any, NO_IMM) } else { (NO_REG, None) };
    let plain = Rule { dst: Reg::Any, src, off: NO_OFF, imm };
    match insn.op() {
        DIV | MOD => Some(Rule { off: Some(&[0, SIGNED]), ..plain }),
        NEG => (!insn.is_reg()).then_some(Rule { imm: NO_IMM, ..plain }),
        // To the little or the big end, or, in the 64-bit class, a swap.
        END => {
            let widths: Option<&[i32]> = Some(&[16, 32, 64]);
            (!wide || !insn.is_reg()).then_some(Rule { src: NO_REG, imm: widths, ..plain })
        }
        MOV if insn.is_reg() && wide && insn.off == ADDR_SPACE_CAST => {
            Some(Rule { off: None, imm: Some(&[1, 1 << 16]), ..plain })
        }
        MOV if insn.is_reg() => {
            Some(Rule { off: Some(if wide { &[0, 8, 16, 32] } else { &[0, 8, 16] }), ..plain })
        }
        op => (op <= ARSH).then_some(plain),
    }
}

fn jump(insn: Insn) -> Option<Rule> {
    let none = Rule { dst: NO_REG, src: NO_REG, off: NO_OFF, imm: NO_IMM };
    if insn.code == GOTOL {
        return Some(Rule { imm: None, ..none });
    }
    let wide = insn.class() == JMP;
    match insn.op() {
        JA if wide && insn.is_reg() => Some(Rule { dst: Reg::Any, ..none }),
        JA | JCOND => (wide && !insn.is_reg()).then_some(Rule { off: None, ..none }),
        CALL => {
            let off = if insn.src() == CALL_KFUNC { None } else { NO_OFF };
            (wide && !insn.is_reg()).then_some(Rule { src: Reg::UpTo(CALL_KFUNC), off, imm: None, ..none })
        }
        EXIT => (wide && !insn.is_reg()).then_some(none),
        op => {
            let (src, imm) = if insn.is_reg() { (Reg::Any, NO_IMM) } else { (NO_REG, None) };
            (op <= JSLE).then_some(Rule { dst: Reg::Any, src, off: None, imm })
        }
    }
}

/// An encoding that is not valid: where, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct InsnError {
    /// The slot at which the instruction would start.
    pub at: usize,
    /// What is wrong with it.
    pub reason: InsnReason,
}

/// Why an encoding is not valid. The values are what the field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum InsnReason {
    /// There is no slot.
    End,
    /// The second slot of an `ld_imm64` is missing.
    Cut,
    /// No instruction has this code.
    Code(u8),
    /// The destination is too high a register, or must be 0.
    Dst(u8),
    /// The source is too high a register, an unknown kind, or must be 0.
    Src(u8),
    /// Not an `off` that this instruction can have.
    Off(i16),
    /// Not an `imm` that this instruction can have.
    Imm(i32),
    /// The second slot of an `ld_imm64` has more than the immediate that its kind allows.
    SecondSlot,
    /// It loads or stores an argument on the stack, by
    /// [`r11`](super::opcode::STACK_ARGUMENTS): nothing here knows the rules of such functions yet.
    StackArgument,
}

impl fmt::Display for InsnReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("the program ends before it"),
            Self::Cut => f.write_str("the second slot of a 64-bit load is missing"),
            Self::Code(code) => write!(f, "no instruction has the code {code:#04x}"),
            Self::Dst(dst) => write!(f, "the destination field cannot be {dst}"),
            Self::Src(src) => write!(f, "the source field cannot be {src}"),
            Self::Off(off) => write!(f, "the offset field cannot be {off}"),
            Self::Imm(imm) => write!(f, "the immediate field cannot be {imm}"),
            Self::SecondSlot => f.write_str("the second slot of a 64-bit load sets a reserved field"),
            Self::StackArgument => {
                f.write_str("it passes an argument on the stack, by r11, and functions of more than five arguments cannot be checked or patched yet")
            }
        }
    }
}

impl fmt::Display for InsnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}: {}", self.at, self.reason)
    }
}

impl core::error::Error for InsnError {}
