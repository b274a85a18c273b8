//! Constant blinding: no constant of the program stands in its code.
//!
//! An attacker who chooses the constants of a program chooses bytes of machine code. So each
//! constant is replaced by two random halves, which an exclusive or joins in a register at run time.
//! That goes for arithmetic (but not shifts), conditional jumps, `ld_imm64` and stores; the sequences
//! are those of the kernel's `bpf_jit_blind_insn`. Two ways to find the register:
//!
//! - a *hidden* one that programs cannot name, as the kernel does ([`Options::hidden`]; [`harden`](super::harden) does so
//!   to what all passes of the kernel left). The result is what a verifier has accepted already, never to be verified again;
//! - one that is *free* at the instruction, so that a verifier accepts the result. Where none is, one
//!   is spilled to stack that the subprogram does not use. A move into a register needs no other.
//!
//! What has to stay as it is for a verifier or a loader is left, and counted in the [`Report`]:
//! pinned instructions, and 64-bit comparisons with zero, which make a pointer known not to be null
//! only if they have that form. Maps, kernel variables and functions that an `ld_imm64` names are no
//! constants of the program; with a hidden register they are addresses by now, and are blinded, all
//! but functions.

use alloc::vec::Vec;
use core::ops::AddAssign;

use super::Error;
use super::branch_target;
use super::keys::Keys;
use super::zext::extension;
use crate::bpf::opcode::{
    ADD, ALU, ALU64, AND, DIV, DW, FRAME_POINTER, JEQ, JMP, JMP32, JNE, LD, LD_FUNC, LD_NUMBER, LSH,
    MAY_GOTO, MEM, MOD, MOV, MUL, OR, ST, STX, SUB, X, XOR,
};
use crate::bpf::scratch::{Context, Place, Request, Scratch};
use crate::bpf::{Bpf, Cfg, Effects, Insn, MAX_STACK, Program, is_pinned};
use crate::core::{Branch, Handle, List, Patch, Target};

/// Mode of a load or store in an arena, behind the verifier: the kernel's `PROBE_MEM32`.
const ARENA: u8 = 0xa0;

/// What [`run`] is to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where the random halves start: the same seed gives the same program.
    pub seed: u64,
    /// The register to join halves in, one that no program may name: 11 in kernels up to 6.18
    /// ([`AX`](crate::bpf::opcode::AX)), 12 in some later ones. `None`: find one that is free.
    pub hidden: Option<u8>,
    /// The bytes of stack that all frames of the program may have together, spilled registers
    /// included: at most 512. Where code outside of the program is in the same chains of calls, what
    /// it uses has to be taken off; 0 forbids spills.
    pub stack: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, hidden: None, stack: MAX_STACK }
    }
}

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Instructions whose constants are hidden now.
    pub blinded: u32,
    /// How many of these had to spill a register.
    pub spilled: u32,
    /// Left, as a loader rewrites them.
    pub pinned: u32,
    /// Left, as they may tell a verifier that a pointer is not null.
    pub null_checks: u32,
    /// Jumps left, as no register is free. A spilled one would have to be restored on both ways.
    pub jumps_without_register: u32,
    /// Left, as no register is free, and none could be spilled.
    pub without_register: u32,
    /// Left, as they were inserted or replaced by an earlier pass and it is not known what is free there.
    pub edited: u32,
}

impl AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        let Self { blinded, spilled, pinned, null_checks, jumps_without_register, without_register, edited } =
            other;
        self.blinded += blinded;
        self.spilled += spilled;
        self.pinned += pinned;
        self.null_checks += null_checks;
        self.jumps_without_register += jumps_without_register;
        self.without_register += without_register;
        self.edited += edited;
    }
}

/// Blinds the constants of a program.
///
/// With a hidden register the whole list is blinded, code that earlier passes inserted included.
/// Without one, only instructions of `program` that still stand as they were. Earlier passes may have
/// deleted code that control does not reach and folded branches ([`dce`](super::dce)); what they
/// inserted must not pass a value to later code in a register that is not live in `program`.
///
/// O(slots of the list).
///
/// # Errors
///
/// [`Error::BadHidden`]; [`Error::Cfg`], if there is no hidden register; [`Error::Edit`] if the
/// allocator refuses, or a branch leads out of the program.
pub fn run<T, A: Copy + Default>(
    program: &Program<T>,
    list: &mut List<'_, Bpf, A>,
    options: &Options,
) -> Result<Report, Error> {
    if let Some(reg) = options.hidden {
        check_hidden(reg)?;
        return edit(list, Keys(options.seed), false, |at, insn| match choose_hidden(insn, reg) {
            Choice::Zero | Choice::Join(_) if is_pinned(program, at.index()) => Choice::Pinned,
            choice => choice,
        });
    }
    let cfg = Cfg::new(program)?;
    // The program may be for another host than Linux, or a part of an object, entered anywhere.
    let mut scratch = Scratch::new(program, &cfg, Context::unknown(program, &cfg, options.stack));
    edit(list, Keys(options.seed), false, |at, insn| choose_free(program, &mut scratch, at.index(), insn))
}

pub(super) fn check_hidden(reg: u8) -> Result<(), Error> {
    if reg <= FRAME_POINTER || reg > 15 { Err(Error::BadHidden { reg }) } else { Ok(()) }
}

/// Does with each instruction of a list what `choose` says.
pub(super) fn edit<A: Copy + Default>(
    list: &mut List<'_, Bpf, A>,
    mut keys: Keys,
    zext: bool,
    mut choose: impl FnMut(Handle, &[Insn]) -> Choice,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut units = Vec::new();
    let mut cursor = list.cursor_mut();
    while let Some(at) = cursor.current() {
        let insn = cursor.insn().unwrap_or_default();
        let jumps = insn[0].is_jump();
        let choice = choose(at, insn);
        units.clear();
        write(&mut units, insn, choice, zext, &mut keys);
        report.count(choice);
        if jumps && !units.is_empty() {
            // The one branch is what the jump becomes, behind the halves.
            let branches = [Branch::new(2, Target::Handle(branch_target(cursor.list(), at)?))];
            cursor.replace_current(Patch::new(&units).branches(&branches))?;
        } else if !units.is_empty() {
            cursor.replace_current(Patch::new(&units))?;
        }
        cursor.move_past();
    }
    Ok(report)
}

/// What to do with an instruction.
#[derive(Clone, Copy)]
pub(super) enum Choice {
    /// It has no constant.
    Nothing,
    /// It moves zero, which the exclusive or of its register with itself gives.
    Zero,
    /// Join the halves in this register.
    Join(u8),
    /// The same, and keep the value of the register at this offset from the frame pointer meanwhile.
    Spill(u8, i16),
    Pinned,
    NullCheck,
    JumpWithoutRegister,
    WithoutRegister,
    Edited,
}

impl Report {
    fn count(&mut self, choice: Choice) {
        self.spilled += u32::from(matches!(choice, Choice::Spill(..)));
        *match choice {
            Choice::Nothing => return,
            Choice::Zero | Choice::Join(_) | Choice::Spill(..) => &mut self.blinded,
            Choice::Pinned => &mut self.pinned,
            Choice::NullCheck => &mut self.null_checks,
            Choice::JumpWithoutRegister => &mut self.jumps_without_register,
            Choice::WithoutRegister => &mut self.without_register,
            Choice::Edited => &mut self.edited,
        } += 1;
    }
}

/// What to do where no program can name `reg`.
pub(super) fn choose_hidden(insn: &[Insn], reg: u8) -> Choice {
    let Some(&first) = insn.first().filter(|first| has_constant(**first)) else { return Choice::Nothing };
    let names_it = first.dst() == reg || first.src() == reg;
    if names_it || first.is_wide() && first.src() == LD_FUNC {
        Choice::Nothing
    } else if is_move(first) && first.imm == 0 {
        Choice::Zero
    } else {
        Choice::Join(reg)
    }
}

/// What to do where a verifier has to accept the result.
fn choose_free<T>(program: &Program<T>, scratch: &mut Scratch<'_, T>, at: u32, insn: &[Insn]) -> Choice {
    let Some(&first) = insn.first().filter(|first| has_constant(**first)) else { return Choice::Nothing };
    if first.is_wide() && first.src() != LD_NUMBER {
        Choice::Nothing
    } else if is_pinned(program, at) {
        Choice::Pinned
    } else if may_check_null(first) {
        Choice::NullCheck
    } else if !stands(program, at, insn) {
        Choice::Edited
    } else if is_move(first) {
        Choice::Join(first.dst())
    } else {
        let Effects { reads, writes, .. } = Effects::of(first);
        let only_dead = first.is_jump();
        let request = Request { registers: 1, avoid: reads.union(writes), only_dead, ..Request::default() };
        match scratch.claim(Place::Before(at), &request) {
            Ok(claim) => match (&claim.registers[..], &claim.before[..]) {
                (&[reg], []) => Choice::Join(reg),
                (&[reg], [spill]) => Choice::Spill(reg, spill.off),
                _ => Choice::WithoutRegister,
            },
            Err(_) if only_dead => Choice::JumpWithoutRegister,
            Err(_) => Choice::WithoutRegister,
        }
    }
}

const fn is_move(insn: Insn) -> bool {
    insn.is_alu() && insn.op() == MOV
}

/// Whether an instruction has a constant that can be blinded: arithmetic with an immediate, shifts
/// and negations excepted; a conditional jump on an immediate; an `ld_imm64` of any kind; a store of
/// an immediate.
const fn has_constant(insn: Insn) -> bool {
    match insn.class() {
        ALU | ALU64 => {
            !insn.is_reg() && matches!(insn.op(), ADD | SUB | MUL | DIV | OR | AND | MOD | XOR | MOV)
        }
        JMP | JMP32 => insn.is_cond() && !insn.is_reg() && insn.code != MAY_GOTO,
        LD => insn.is_wide(),
        ST => matches!(insn.mode(), MEM | ARENA),
        _ => false,
    }
}

/// Whether this comparison tells a verifier that a pointer is not null, if it compares one.
const fn may_check_null(insn: Insn) -> bool {
    insn.class() == JMP && matches!(insn.op(), JEQ | JNE) && insn.imm == 0
}

/// Whether the instruction of the program at `at` is this one, as it was.
fn stands<T>(program: &Program<T>, at: u32, insn: &[Insn]) -> bool {
    program.insns.get(at as usize..).is_some_and(|rest| rest.starts_with(insn))
}

/// Writes what replaces an instruction: nothing, if it is left.
fn write(units: &mut Vec<Insn>, insn: &[Insn], choice: Choice, zext: bool, keys: &mut Keys) {
    match choice {
        Choice::Zero => units.push(Insn::alu64_reg(XOR, insn[0].dst(), insn[0].dst())),
        Choice::Join(reg) => write_joined(units, insn, reg, zext, keys),
        Choice::Spill(reg, off) => {
            units.push(Insn::stx(DW, FRAME_POINTER, reg, off));
            write_joined(units, insn, reg, zext, keys);
            units.push(Insn::ldx(DW, reg, FRAME_POINTER, off));
        }
        _ => {}
    }
}

/// Writes an instruction whose constant is joined in `reg`, which is its own destination only if it
/// is a move.
fn write_joined(units: &mut Vec<Insn>, insn: &[Insn], reg: u8, zext: bool, keys: &mut Keys) {
    let (first, dst) = (insn[0], insn[0].dst());
    if let [low, high] = *insn {
        units.extend(halves(ALU64, reg, high.imm, keys));
        units.extend([Insn::alu64_imm(LSH, reg, 32), Insn::mov64_reg(dst, reg)]);
        units.extend(halves(ALU, reg, low.imm, keys));
        units.extend(zext.then_some(extension(reg)));
        units.push(Insn::alu64_reg(OR, dst, reg));
        return;
    }
    let narrow = matches!(first.class(), ALU | JMP32);
    units.extend(halves(if narrow { ALU } else { ALU64 }, reg, first.imm, keys));
    if first.class() == ST {
        units.push(Insn::new(first.code - ST + STX, dst, reg, first.off, 0));
    } else if reg != dst {
        units.push(Insn::new(first.code | X, dst, reg, first.off, 0));
    }
}

/// The two halves of `value`, joined in `reg` by operations of class `class`.
fn halves(class: u8, reg: u8, value: i32, keys: &mut Keys) -> [Insn; 2] {
    let key = keys.next();
    [Insn::new(class | MOV, reg, 0, 0, value ^ key), Insn::new(class | XOR, reg, 0, 0, key)]
}
