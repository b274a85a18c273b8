//! Zero extension: what a 32-bit operation leaves in the high half of its register is made zero.
//!
//! Most machines clear the high half by themselves. For a JIT compiler of one that does not, the kernel
//! inserts a move of the low half behind those operations whose high half is read later
//! ([`Aux::zext_dst`]); for all of them behind a 32-bit compare-and-exchange, which may leave `r0` alone.
//! This is the kernel's `opt_subreg_zext_lo32_rnd_hi32`, as far as it inserts moves.

use super::Error;
use super::kernel::patch;
use crate::bpf::opcode::{ATOMIC, CMPXCHG, STX, W};
use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{List, Patch};

/// What [`run`] is to know.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Options {
    /// The machine leaves the high half as it was, as powerpc, riscv, s390, mips, sparc, arm and 32-bit
    /// x86 do. Otherwise no more than compare-and-exchange needs a move.
    pub explicit: bool,
}

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Moves that were inserted.
    pub moves: u32,
}

/// The immediate by which a JIT compiler knows a move that extends.
const MARK: i32 = 1;

/// The move that extends the low half of a register.
#[must_use]
pub const fn extension(reg: u8) -> Insn {
    Insn::mov32_reg(reg, reg).with_imm(MARK)
}

/// Inserts the moves.
///
/// O(slots of the list).
///
/// # Errors
///
/// [`Error::Edit`] if the allocator refuses.
pub fn run<T: Copy + Default>(list: &mut List<'_, Bpf, Aux<T>>, options: &Options) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut cursor = list.cursor_mut();
    while let Some(at) = cursor.current() {
        let list = cursor.list();
        let insn = list.insn(at).map(|insn| insn[0]).unwrap_or_default();
        let wanted = list.aux(at).is_some_and(|aux| aux.zext_dst) && (options.explicit || is_cmpxchg32(insn));
        if wanted && let Some(reg) = insn.defined_reg() {
            patch(cursor.list_mut(), at, Patch::new(&[insn, extension(reg)]))?;
            report.moves += 1;
        }
        cursor.move_past();
    }
    Ok(report)
}

const fn is_cmpxchg32(insn: Insn) -> bool {
    insn.class() == STX && insn.mode() == ATOMIC && insn.size() == W && insn.imm == CMPXCHG
}
