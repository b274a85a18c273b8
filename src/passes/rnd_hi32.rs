//! Random high halves: whoever relies on the high half of a register that a 32-bit operation left
//! undefined, finds out.
//!
//! The kernel does so to test its own analysis of zero extension (`BPF_F_TEST_RND_HI32`, in
//! `opt_subreg_zext_lo32_rnd_hi32`): behind each 32-bit operation whose high half is not read
//! ([`Aux::zext_dst`] is clear) it sets the high half to a random number. It works for any analysis of
//! that kind.

use super::Error;
use super::kernel::patch;
use super::keys::Keys;
use crate::bpf::opcode::{AX, LDX, LSH, OR};
use crate::bpf::{Aux, Bpf, Insn};
use crate::core::{List, Patch};

/// What [`run`] is to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where the random numbers start: the same seed gives the same program.
    pub seed: u64,
    /// The register that programs cannot name: [`AX`] in kernels up to 6.18.
    pub ax: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, ax: AX }
    }
}

/// What [`run`] did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Report {
    /// Operations whose high half is random now.
    pub randomized: u32,
}

/// Sets high halves.
///
/// `loads_context` says of a load, by its facts, whether it reads the context of the program: those are
/// left.
///
/// O(slots of the list).
///
/// # Errors
///
/// [`Error::Edit`] if the allocator refuses.
pub fn run<T: Copy + Default>(
    list: &mut List<'_, Bpf, Aux<T>>,
    options: &Options,
    mut loads_context: impl FnMut(&Aux<T>) -> bool,
) -> Result<Report, Error> {
    let mut report = Report::default();
    let mut keys = Keys(options.seed);
    let mut cursor = list.cursor_mut();
    while let Some(at) = cursor.current() {
        let list = cursor.list();
        let insn = list.insn(at).map(|insn| insn[0]).unwrap_or_default();
        let left = list.aux(at).is_none_or(|aux| aux.zext_dst || insn.class() == LDX && loads_context(aux));
        if !left && let Some(reg) = insn.defined_half() {
            let ax = options.ax;
            let high = [
                insn,
                Insn::mov64_imm(ax, keys.next()),
                Insn::alu64_imm(LSH, ax, 32),
                Insn::alu64_reg(OR, reg, ax),
            ];
            patch(cursor.list_mut(), at, Patch::new(&high))?;
            report.randomized += 1;
        }
        cursor.move_past();
    }
    Ok(report)
}
