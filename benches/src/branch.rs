//! Displacements, the same code for every peer.

use core::slice::{from_mut, from_ref};

use relinear::Isa;
use relinear::bpf::{Bpf, Insn};

/// Whether the slot holds a displacement.
#[inline]
#[must_use]
pub fn is_branch(insn: &Insn) -> bool {
    Bpf.fields(from_ref(insn)) != 0
}

/// Where the branch `insn` at `at` leads.
#[inline]
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "targets are inside the program")]
pub fn target(at: u32, insn: &Insn) -> u32 {
    (i64::from(at) + 1 + Bpf.read(from_ref(insn), 0)) as u32
}

/// Makes the branch `insn` at `at` lead to `to`.
///
/// # Panics
///
/// If that is too far: no work has such a branch, and every peer has to look.
#[inline]
pub fn aim(insn: &mut Insn, at: u32, to: u32) {
    let displacement = i64::from(to) - i64::from(at) - 1;
    assert!(Bpf.range(from_ref(insn), 0).contains(&displacement), "a branch from {at} cannot reach {to}");
    Bpf.write(from_mut(insn), 0, displacement);
}

/// A slot of a patch, with the displacement of the replaced branch if it keeps that.
#[inline]
#[must_use]
pub fn kept(mut insn: Insn, replaced: Insn, keep: bool) -> Insn {
    if keep {
        Bpf.write(from_mut(&mut insn), 0, Bpf.read(from_ref(&replaced), 0));
    }
    insn
}
