//! What blocks are made of: straight pieces of code, one of each kind.

use relinear::bpf::Insn;
use relinear::bpf::opcode::{
    ABS, ADD, ALU, ALU64, AND, ARSH, ATOMIC, B, CALL_KFUNC, CMPXCHG, DIV, DW, END, FETCH, H, IND, LD,
    LD_FUNC, LD_MAP_FD, LDX, LOAD_ACQ, LSH, MEM, MEMSX, MOD, MOV, MUL, NEG, OR, RSH, SIGNED, STORE_REL, STX,
    SUB, W, X, XCHG, XOR,
};

use super::scope::Scope;
use super::{Config, Hook, Role, Statement};

impl Scope<'_> {
    /// One statement of any kind that is asked for.
    pub(super) fn statement(&mut self) {
        let Config { wide, maps, narrow, div, atomics, ld_abs, more, .. } = *self.config;
        if !more.is_empty() && self.rng.one_in(2) {
            more[self.rng.below(more.len())](self);
            return;
        }
        let kinds: [(bool, usize, Statement); 10] = [
            (true, 4, arithmetic),
            (true, 1, memory),
            (true, 1, unknown),
            (wide, 2, wide_constant),
            (maps, 1, map),
            (narrow, 3, narrow_arithmetic),
            (narrow, 2, narrow_memory),
            (div, 6, division),
            (atomics, 3, atomic),
            (ld_abs, 4, packet_load),
        ];
        let total: usize = kinds.iter().filter(|kind| kind.0).map(|kind| kind.1).sum();
        let mut number = self.rng.below(total);
        for (_, weight, write) in kinds.into_iter().filter(|kind| kind.0) {
            if number < weight {
                write(self);
                return;
            }
            number -= weight;
        }
    }

    /// Returns a number, if this is not for a callback, which may return 0 or 1 only.
    pub(super) fn exit(&mut self) {
        if self.role != Role::Callback && self.rng.one_in(2) {
            let reg = self.number();
            self.push(Insn::mov64_reg(0, reg));
        } else {
            let value = i32::try_from(self.rng.below(2)).expect("a bit");
            self.push(Insn::mov64_imm(0, value));
        }
        self.push(Insn::exit());
    }

    /// A call of `bpf_throw` at times, which does not return. What follows is dead, and may be the end of the program.
    pub(super) fn throw(&mut self) {
        let Some(number) = self.config.throw else { return };
        if self.role != Role::Callback && self.rng.one_in(2) {
            self.push(Insn::mov64_reg(1, 7));
            self.push_call(Insn::call(number).with_src(CALL_KFUNC), 1);
            self.die();
        }
    }

    /// A call of a function, by us or by a helper.
    pub(super) fn call(&mut self, callee: usize, role: Role) {
        if role == Role::Callback {
            self.call_helper_with(callee);
            return;
        }
        self.push(Insn::mov64_reg(1, 7));
        let context = self.context().filter(|_| role == Role::Local);
        self.push(Insn::mov64_reg(2, context.unwrap_or(7)));
        self.push_to(vec![Insn::call_local(0)], callee);
    }

    /// `bpf_loop(2, callee, 0, flags)` or `bpf_for_each_map_elem(map, callee, 0, flags)`, where flags are not known.
    fn call_helper_with(&mut self, callee: usize) {
        let is_loop = self.rng.one_in(2);
        if is_loop {
            self.push(Insn::mov64_imm(1, 2));
        } else {
            self.push_wide(Insn::ld_imm64_kind(1, LD_MAP_FD, 0, 0));
        }
        self.push_to(Insn::ld_imm64_kind(2, LD_FUNC, 0, 0).to_vec(), callee);
        self.push(Insn::mov64_imm(3, 0));
        self.push(Insn::mov64_reg(4, 7));
        self.push_call(Insn::call(if is_loop { 181 } else { 164 }), 4);
    }
}

const OPS: [u8; 10] = [ADD, SUB, MUL, OR, AND, XOR, LSH, RSH, ARSH, MOV];

fn arithmetic(scope: &mut Scope<'_>) {
    operation(scope, ALU64, 64);
}

fn operation(scope: &mut Scope<'_>, class: u8, bits: usize) {
    let op = OPS[scope.rng.below(OPS.len())];
    let source = scope.number();
    let dst = if op == MOV { scope.scratch() } else { scope.variable() };
    if scope.rng.one_in(2) {
        scope.push(Insn::new(class | op | X, dst, source, 0, 0));
    } else {
        let imm = match op {
            LSH | RSH | ARSH => i32::try_from(scope.rng.below(bits)).expect("a small number"),
            _ => scope.rng.constant(),
        };
        scope.push(Insn::new(class | op, dst, 0, 0, imm));
    }
    if scope.rng.one_in(8) {
        scope.push(Insn::new(class | NEG, dst, 0, 0, 0));
    }
}

fn narrow_arithmetic(scope: &mut Scope<'_>) {
    let dst = scope.variable();
    match scope.rng.below(6) {
        0 => {
            let (off, source) = ([8, 16][scope.rng.below(2)], scope.number());
            scope.push(Insn::new(ALU | MOV | X, dst, source, off, 0));
        }
        1 => {
            let (off, source) = ([8, 16, 32][scope.rng.below(3)], scope.number());
            scope.push(Insn::new(ALU64 | MOV | X, dst, source, off, 0));
        }
        2 => {
            // To little or big endian, or swapped for certain.
            let code = [ALU | END, ALU | END | X, ALU64 | END][scope.rng.below(3)];
            let bits = [16, 32, 64][scope.rng.below(3)];
            scope.push(Insn::new(code, dst, 0, 0, bits));
        }
        _ => operation(scope, ALU, 32),
    }
}

fn memory(scope: &mut Scope<'_>) {
    let (off, reg) = (scope.stack(), scope.number());
    if scope.rng.one_in(2) {
        scope.push(Insn::stx(DW, 10, reg, off));
    } else {
        let value = scope.rng.constant();
        scope.push(Insn::st(DW, 10, off, value));
    }
    let dst = scope.scratch();
    scope.push(Insn::ldx(DW, dst, 10, off));
}

fn narrow_memory(scope: &mut Scope<'_>) {
    let (off, reg, size) = (scope.stack(), scope.number(), [B, H, W][scope.rng.below(3)]);
    if scope.rng.one_in(2) {
        scope.push(Insn::stx(size, 10, reg, off));
    } else {
        let value = scope.rng.constant();
        scope.push(Insn::st(size, 10, off, value));
    }
    let dst = scope.scratch();
    let mode = if scope.rng.one_in(3) { MEMSX } else { MEM };
    scope.push(Insn::new(LDX | mode | size, dst, 10, off, 0));
}

fn unknown(scope: &mut Scope<'_>) {
    scope.push_call(Insn::call(7), 0);
}

fn wide_constant(scope: &mut Scope<'_>) {
    let (dst, value) = (scope.scratch(), scope.rng.next());
    scope.push_wide(Insn::ld_imm64(dst, value));
}

fn map(scope: &mut Scope<'_>) {
    let dst = scope.scratch();
    scope.push_wide(Insn::ld_imm64_kind(dst, LD_MAP_FD, 0, 0));
    scope.forget(dst);
}

fn division(scope: &mut Scope<'_>) {
    let dst = scope.variable();
    let class = if scope.rng.one_in(2) { ALU } else { ALU64 };
    let op = if scope.rng.one_in(2) { DIV } else { MOD };
    let off = if scope.rng.one_in(2) { SIGNED } else { 0 };
    if scope.rng.one_in(3) {
        let imm = match scope.rng.constant() {
            0 => -1,
            imm => imm,
        };
        let imm = if scope.rng.one_in(4) { -1 } else { imm };
        scope.push(Insn::new(class | op, dst, 0, off, imm));
    } else {
        let source = scope.number();
        scope.push(Insn::new(class | op | X, dst, source, off, 0));
    }
}

fn atomic(scope: &mut Scope<'_>) {
    let (off, source) = (scope.stack(), scope.variable());
    let size = if scope.rng.one_in(2) { W } else { DW };
    scope.push(Insn::st(DW, 10, off, 3));
    match scope.rng.below(6) {
        0 => {
            let dst = scope.scratch();
            let size = [B, H, W, DW][scope.rng.below(4)];
            scope.push(Insn::new(STX | ATOMIC | size, dst, 10, off, LOAD_ACQ));
        }
        1 => {
            let size = [B, H, W, DW][scope.rng.below(4)];
            scope.push(Insn::new(STX | ATOMIC | size, 10, source, off, STORE_REL));
        }
        2 | 3 => {
            if source != 0 {
                scope.push(Insn::mov64_reg(0, 7));
            }
            scope.push(Insn::new(STX | ATOMIC | size, 10, source, off, CMPXCHG));
        }
        4 => scope.push(Insn::new(STX | ATOMIC | size, 10, source, off, XCHG)),
        _ => {
            let op = i32::from([ADD, OR, AND, XOR][scope.rng.below(4)]);
            let fetch = if scope.rng.one_in(2) { FETCH } else { 0 };
            scope.push(Insn::new(STX | ATOMIC | size, 10, source, off, op | fetch));
        }
    }
}

/// In the first function only. A packet load may leave its function, and where that function was called,
/// the verifier of Linux 6.18 loses count of its frames: to track precision back through such a load
/// makes it write beyond its arrays, which brings the kernel down.
fn packet_load(scope: &mut Scope<'_>) {
    if scope.config.hook != Hook::TrafficControl || scope.role != Role::Main {
        return;
    }
    let size = [B, H, W][scope.rng.below(3)];
    let imm = i32::try_from(scope.rng.below(64)).expect("a small number");
    if scope.rng.one_in(2) {
        scope.push(Insn::new(LD | ABS | size, 0, 0, 0, imm));
    } else {
        let source = scope.number();
        scope.push(Insn::new(LD | IND | size, 0, source, 0, imm));
    }
}
