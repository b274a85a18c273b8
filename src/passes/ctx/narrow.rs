//! Loads of a part of a field.

use alloc::vec::Vec;

use super::table::Field;
use crate::bpf::opcode::{AND, B, H, RSH, W};
use crate::bpf::{Endian, Insn};

/// Takes the part that `insn` loads out of the whole field, which the code has put into its register.
///
/// Code that loads no more bytes from the kernel's structure than the instruction asks for gives all it has, wherever
/// in the field the part is. This is what the kernel does: a load of the high half of `protocol`, of which it
/// has 16 bits, gives the protocol.
pub(super) fn narrow(code: &mut Vec<Insn>, insn: Insn, field: &Field, width: u8, endian: Endian) {
    let (size, mask) = match insn.size() {
        B => (1, 0xff),
        H => (2, 0xffff),
        W => (4, -1),
        _ => return,
    };
    if size >= field.len || size >= width {
        return;
    }
    let within = (insn.off - field.offset) % i16::from(field.len);
    let from = match endian {
        Endian::Little => within,
        Endian::Big => i16::from(field.len) - within - i16::from(size),
    };
    let (dst, shift) = (insn.dst(), 8 * i32::from(from));
    if shift != 0 && field.len <= 4 {
        code.push(Insn::alu32_imm(RSH, dst, shift));
    } else if shift != 0 {
        code.push(Insn::alu64_imm(RSH, dst, shift));
    }
    code.push(Insn::alu32_imm(AND, dst, mask));
}
