//! Atomic operations (RFC 9669, section 5.3), and the acquiring and releasing ones of Linux 6.15.

use super::fault::Reason;
use super::memory::len_of;
use super::run::Run;
use crate::bpf::Insn;
use crate::bpf::opcode::{ADD, AND, CMPXCHG, FETCH, LOAD_ACQ, OR, STORE_REL, XCHG, XOR};

impl Run<'_> {
    pub(super) fn atomic(&mut self, insn: Insn) -> Result<(), Reason> {
        let len = len_of(insn.size());
        if insn.imm == LOAD_ACQ {
            let value = self.memory.load(self.address(insn.src(), insn.off)?, len)?;
            return self.write_sized(insn.dst(), value, len);
        }
        let address = self.address(insn.dst(), insn.off)?;
        let operand = cut(self.read(insn.src())?, len);
        if insn.imm == STORE_REL {
            return self.memory.store(address, len, operand);
        }
        let old = self.memory.load(address, len)?;
        let new = match insn.imm {
            XCHG => operand,
            CMPXCHG if old == cut(self.read(0)?, len) => operand,
            CMPXCHG => old,
            other => match u8::try_from(other & !FETCH) {
                Ok(ADD) => old.wrapping_add(operand),
                Ok(OR) => old | operand,
                Ok(AND) => old & operand,
                Ok(XOR) => old ^ operand,
                _ => return Err(Reason::Unsupported),
            },
        };
        self.memory.store(address, len, new)?;
        match insn.imm {
            CMPXCHG => self.write_sized(0, old, len),
            fetches if fetches & FETCH != 0 => self.write_sized(insn.src(), old, len),
            _ => Ok(()),
        }
    }
}

/// The low `len` bytes of a value.
fn cut(value: u64, len: usize) -> u64 {
    if len < 8 { value & ((1 << (8 * len)) - 1) } else { value }
}
