//! One load or store, by a table.

use alloc::vec::Vec;

use super::narrow;
use super::table::{CTX, HIDDEN, Load, Store, Table, VALUE};
use crate::bpf::Insn;
use crate::bpf::opcode::{ALU64, B, DW, H, JGE, LDX, MEMSX, MOV, ST, STX, W, X};

/// `NO_QUEUE_MAPPING`.
const NO_HALF: i32 = 0xffff;

/// Writes what a load or store becomes; `None` if the table does not have it.
pub(super) fn convert(code: &mut Vec<Insn>, insn: Insn, table: &Table, ax: u8) -> Option<()> {
    let size = bytes(insn.size());
    let field = table.field(insn.off, size)?;
    if insn.class() != LDX {
        return store(code, insn, &field.store, field.offset, (field.len, size), ax);
    }
    match &field.load {
        Load::None => return None,
        Load::Moved(to) => {
            let at = moved(insn, field.offset, *to)?;
            code.push(Insn::ldx(insn.size(), insn.dst(), insn.src(), at));
        }
        Load::Code { width, code: template } => {
            code.extend(template.iter().map(|step| filled(*step, insn.src(), insn.dst(), ax)));
            narrow::narrow(code, insn, field, *width, table.endian());
        }
    }
    if insn.mode() == MEMSX {
        code.push(Insn::new(ALU64 | MOV | X, insn.dst(), insn.dst(), 8 * i16::from(size), 0));
    }
    Some(())
}

fn store(
    code: &mut Vec<Insn>,
    insn: Insn,
    store: &Store,
    start: i16,
    (len, size): (u8, u8),
    ax: u8,
) -> Option<()> {
    let (ctx, value) = (insn.dst(), insn.src());
    match store {
        Store::Moved(to) => code.push(insn.with_off(moved(insn, start, *to)?)),
        // A part of a field is never stored.
        _ if len != size => return None,
        Store::None => return None,
        Store::Code(template) => code.extend(template.iter().map(|step| {
            if step.class() == STX && step.src() == VALUE && insn.class() == ST {
                Insn::st(step.size(), ctx, step.off, insn.imm)
            } else {
                filled(*step, ctx, value, ax)
            }
        })),
        Store::Half(to) if insn.class() == STX => {
            code.extend([Insn::jmp_imm(JGE, value, NO_HALF, 1), Insn::stx(H, ctx, value, *to)]);
        }
        Store::Half(_) if insn.imm >= NO_HALF => code.push(Insn::ja(0)),
        Store::Half(to) => code.push(Insn::st(H, ctx, *to, insn.imm)),
    }
    Some(())
}

/// The place in the kernel's structure of what is at `insn.off`, where the field starts at `from` and at `to`.
fn moved(insn: Insn, from: i16, to: i16) -> Option<i16> {
    i16::try_from(i32::from(to) + i32::from(insn.off) - i32::from(from)).ok()
}

/// A step of a template, with the registers of an instruction.
fn filled(step: Insn, ctx: u8, value: u8, ax: u8) -> Insn {
    let real = |reg| match reg {
        CTX => ctx,
        VALUE => value,
        HIDDEN => ax,
        reg => reg,
    };
    step.with_dst(real(step.dst())).with_src(real(step.src()))
}

/// How many bytes a size is.
const fn bytes(size: u8) -> u8 {
    match size {
        B => 1,
        H => 2,
        W => 4,
        DW => 8,
        _ => 0,
    }
}
