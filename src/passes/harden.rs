//! Constant blinding as the kernel does it last of all (`bpf_jit_blind_constants`): with a hidden register, whoever wrote
//! the instruction.

use super::Error;
use super::blind::{Report, check_hidden, choose_hidden, edit};
use super::keys::Keys;
use crate::bpf::Bpf;
use crate::bpf::opcode::AX;
use crate::core::List;

/// What [`run`] is to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where the random halves start: the same seed gives the same program.
    pub seed: u64,
    /// The register to join halves in, one that no program may name: [`AX`] in kernels up to 6.18.
    pub ax: u8,
    /// Moves that extend were inserted for the JIT compiler ([`zext`](super::zext)), so one is needed
    /// between the halves of an `ld_imm64`.
    pub zext: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, ax: AX, zext: false }
    }
}

/// Blinds what stands in the list, after all other passes of the kernel.
///
/// The kernel blinds a copy of the program without facts. Here they stay with the first instruction of
/// what replaces theirs.
///
/// O(slots of the list).
///
/// # Errors
///
/// [`Error::BadHidden`]; [`Error::Edit`] if the allocator refuses, or a branch leads out of the program.
/// A backward jump that does not reach over what is inserted is found at linearization.
pub fn run<A: Copy + Default>(list: &mut List<'_, Bpf, A>, options: &Options) -> Result<Report, Error> {
    let Options { seed, ax, zext } = *options;
    check_hidden(ax)?;
    edit(list, Keys(seed), zext, |_, insn| choose_hidden(insn, ax))
}
