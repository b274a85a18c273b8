//! A program as a verifier leaves it, for the passes that do as the kernel does.

use relinear::bpf::opcode::{ALU64, DIV, W, X};
use relinear::bpf::{Aux, Bpf, Insn, Program};
use relinear::{Arena, List};

use crate::generate;

/// A list with facts.
pub type Verified<'a> = List<'a, Bpf, Aux>;

/// Loads from the context, which is the first argument.
pub const CONTEXT_LOAD: Insn = Insn::ldx(W, 4, 1, 0);

/// One instruction in ten is dead, one in five defines 32 bits whose extension counts, one in twenty divides and one in
/// twenty loads from the context, as far as such stand where others did. One in thirty is a `goto +0`.
#[must_use]
pub fn program(n: u32) -> Program {
    let mut program = generate::program(n);
    let mut wide = false;
    for (at, insn) in program.insns.iter_mut().enumerate() {
        let inner = core::mem::replace(&mut wide, insn.is_wide());
        if inner || insn.is_wide() || insn.is_jump() || insn.is_call() || insn.is_exit() {
            continue;
        }
        match at % 60 {
            0 | 20 | 40 => *insn = Insn::new(ALU64 | DIV | X, 2, 3, 0, 0),
            10 | 30 | 50 => *insn = CONTEXT_LOAD,
            5 | 35 => *insn = Insn::ja(0),
            _ => {}
        }
    }
    program.aux = (0..program.insns.len())
        .map(|at| Aux { seen: at % 10 != 7, zext_dst: at % 5 == 3, user: () })
        .collect();
    program
}

/// A list over such a program, in an arena that has seen the pass before. It lives as long as the process.
///
/// # Panics
///
/// If `relinear` refuses the program.
#[must_use]
pub fn warm(n: u32, pass: impl Fn(&mut Verified<'_>)) -> Verified<'static> {
    let program: &'static Program = Box::leak(Box::new(program(n)));
    let mut arena = Arena::new();
    for _ in 0..2 {
        pass(&mut List::with_aux(&arena, &program.insns, &program.aux).expect("the program is valid"));
        arena.reset();
    }
    List::with_aux(Box::leak(Box::new(arena)), &program.insns, &program.aux).expect("the program is valid")
}
