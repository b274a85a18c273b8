//! Branches on what the verifier knows, or cannot know.

use relinear::bpf::Insn;
use relinear::bpf::opcode::{AND, JEQ, JGE, JGT, JLE, JLT, JMP, JMP32, JNE, JSET, JSGE, JSGT, JSLE, JSLT, X};

use super::scope::Scope;
use super::{To, Way};

/// A conditional jump whose operands have their values.
#[derive(Clone, Copy)]
pub(super) struct Condition(Insn);

const OPS: [u8; 11] = [JEQ, JNE, JGT, JGE, JLT, JLE, JSGT, JSGE, JSLT, JSLE, JSET];

impl Condition {
    /// Writes what gives the operands their values.
    pub(super) fn random(scope: &mut Scope<'_>, way: Way) -> Self {
        match way {
            Way::Both => unknown(scope),
            Way::Taken => known(scope, true),
            Way::NotTaken => known(scope, false),
        }
    }
}

impl Scope<'_> {
    pub(super) fn branch(&mut self, condition: Condition, to: To) {
        self.jump(condition.0, to);
    }
}

/// A number that nobody has looked at yet is compared with one from the middle of the range.
fn unknown(scope: &mut Scope<'_>) -> Condition {
    scope.push_call(Insn::call(7), 0);
    let reg = if scope.rng.one_in(2) {
        let reg = scope.scratch();
        scope.push(Insn::mov64_reg(reg, 0));
        reg
    } else {
        0
    };
    let op = OPS[scope.rng.below(OPS.len())];
    let class = class(scope);
    let sign = if scope.rng.one_in(2) { -1 } else { 1 };
    let middle = sign * i32::try_from(2 + scope.rng.below(1 << 20)).expect("a small number");
    if scope.rng.one_in(3) {
        let other = (reg + 1) % 6;
        scope.push(Insn::mov64_imm(other, middle));
        return Condition(Insn::new(class | op | X, reg, other, 0, 0));
    }
    Condition(Insn::new(class | op, reg, 0, 0, middle))
}

/// Comparing with a constant, or with a number from a range.
fn known(scope: &mut Scope<'_>, taken: bool) -> Condition {
    let class = class(scope);
    if scope.rng.one_in(5) {
        let reg = scope.variable();
        scope.push(Insn::alu64_imm(AND, reg, 0xff));
        let op = if taken { [JLT, JLE, JNE, JSLT] } else { [JGT, JGE, JEQ, JSGT] }[scope.rng.below(4)];
        let beyond = i32::try_from(256 + scope.rng.below(1000)).expect("a small number");
        return Condition(Insn::new(class | op, reg, 0, 0, beyond));
    }
    let (reg, left) = if scope.rng.one_in(2) {
        (8, scope.constant)
    } else {
        let (reg, value) = (scope.scratch(), scope.rng.constant());
        scope.push(Insn::mov64_imm(reg, value));
        (reg, value)
    };
    loop {
        let op = OPS[scope.rng.below(OPS.len())];
        let right = if scope.rng.one_in(3) { left } else { scope.rng.constant() };
        if holds(class, op, left, right) != taken {
            continue;
        }
        if scope.rng.one_in(4) {
            let other = (reg + 1) % 6;
            scope.push(Insn::mov64_imm(other, right));
            return Condition(Insn::new(class | op | X, reg, other, 0, 0));
        }
        return Condition(Insn::new(class | op, reg, 0, 0, right));
    }
}

fn class(scope: &mut Scope<'_>) -> u8 {
    if scope.config.narrow && scope.rng.one_in(2) { JMP32 } else { JMP }
}

/// Whether a comparison of two immediates holds. Both are sign-extended, so that those without a sign
/// compare alike in 32 and 64 bits, and those with one do anyway.
fn holds(class: u8, op: u8, left: i32, right: i32) -> bool {
    let unsigned = |value: i32| {
        if class == JMP32 { u64::from(value.cast_unsigned()) } else { i64::from(value).cast_unsigned() }
    };
    let (a, b) = (unsigned(left), unsigned(right));
    match op {
        JEQ => left == right,
        JNE => left != right,
        JGT => a > b,
        JGE => a >= b,
        JLT => a < b,
        JLE => a <= b,
        JSGT => left > right,
        JSGE => left >= right,
        JSLT => left < right,
        JSLE => left <= right,
        _ => a & b != 0,
    }
}
