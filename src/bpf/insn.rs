//! [`Insn`]: one 8-byte eBPF slot.

/// One slot of an eBPF program: 8 bytes, the kernel's `struct bpf_insn`.
///
/// An instruction is one slot, except `ld_imm64`, which is two. The register byte always keeps
/// the destination in its low nibble, whatever the byte order of the object it came from.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Insn {
    /// The operation: class, and size and mode or operation and source.
    pub code: u8,
    regs: u8,
    /// Branch displacement in slots, memory offset in bytes, or a variant of the operation.
    pub off: i16,
    /// Immediate operand.
    pub imm: i32,
}

const _: () = assert!(size_of::<Insn>() == 8 && align_of::<Insn>() == 4);

impl Insn {
    /// A slot from its fields. Register numbers are taken modulo 16.
    #[inline]
    #[must_use]
    pub const fn new(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> Self {
        Self { code, regs: (dst & 15) | (src & 15) << 4, off, imm }
    }

    /// The destination register.
    #[inline]
    #[must_use]
    pub const fn dst(self) -> u8 {
        self.regs & 15
    }

    /// The source register, or the kind of a call or of an `ld_imm64`.
    #[inline]
    #[must_use]
    pub const fn src(self) -> u8 {
        self.regs >> 4
    }

    /// The same slot with another source register.
    #[inline]
    #[must_use]
    pub const fn with_src(self, src: u8) -> Self {
        Self { regs: self.dst() | (src & 15) << 4, ..self }
    }

    /// The same slot with another destination register.
    #[inline]
    #[must_use]
    pub const fn with_dst(self, dst: u8) -> Self {
        Self { regs: (dst & 15) | self.src() << 4, ..self }
    }
}
