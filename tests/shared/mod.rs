//! What test binaries of the core have in common: a program of every kind of instruction, and facts.

use relinear::bpf::Insn;

pub(crate) const MOV: Insn = Insn::mov64_imm(1, 1);
/// `if r1 == 0 goto +0`
pub(crate) const JUMP: Insn = Insn::jmp_imm(0x10, 1, 0, 0);

/// A program of so many units, with branches and a wide instruction, and a fact for each unit: its position.
pub(crate) fn program(units: u32) -> (Vec<Insn>, Vec<u16>) {
    let mut program = vec![MOV; units as usize];
    for at in (0..program.len()).step_by(7) {
        program[at] = JUMP;
    }
    program[2..4].copy_from_slice(&Insn::ld_imm64(1, 7));
    program[units as usize - 1] = Insn::exit();
    let facts = (0..).take(program.len()).collect();
    (program, facts)
}
