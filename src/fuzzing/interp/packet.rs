//! Packet access of old (RFC 9669, section 5.5; what it does is in the kernel's `bpf_gen_ld_abs`).

use super::fault::Reason;
use super::memory::{CONTEXT, PACKET, len_of};
use super::run::{Flow, Run};
use crate::bpf::Insn;
use crate::bpf::opcode::IND;

impl Run<'_> {
    /// Loads from the packet into `r0`; past its end, leaves the function with 0.
    pub(super) fn load_packet(&mut self, insn: Insn) -> Result<Flow, Reason> {
        let base = if insn.mode() == IND { self.read(insn.src())? } else { 0 };
        let offset = base.wrapping_add(i64::from(insn.imm).cast_unsigned());
        let value = self.packet_value(self.read(6)?, offset, len_of(insn.size()))?;
        self.scratch_caller_saved();
        self.write(0, value.unwrap_or(0))?;
        if value.is_some() { Ok(Flow::Next) } else { self.exit() }
    }

    /// The number in network byte order that is `offset` bytes into the packet.
    pub(super) fn packet_value(&self, context: u64, offset: u64, len: usize) -> Result<Option<u64>, Reason> {
        if context != CONTEXT {
            return Err(Reason::Context(context));
        }
        // It is of 32 bits, and a negative one is beyond the packet too.
        let offset = offset & u64::from(u32::MAX);
        let end = offset + len as u64;
        // The packet may have been written since.
        let bytes = (offset..end).map(|at| self.memory.load(PACKET + at, 1));
        let is_inside = end <= self.machine.packet.len() as u64;
        Ok(is_inside.then(|| bytes.flatten().fold(0, |value, byte| value << 8 | byte)))
    }
}
