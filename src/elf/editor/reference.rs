//! [`Reference`]: what an instruction refers to, for a loader to fill in.

use alloc::string::String;

/// A symbol of an object: one of the file, or one that an [`ObjectEditor`](super::ObjectEditor) added.
///
/// Its number is the index in the symbol table of the file; added symbols have the numbers that follow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SymbolId(pub(crate) usize);

impl SymbolId {
    /// The symbol with this index in the symbol table.
    #[must_use]
    pub const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The index in the symbol table.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0
    }
}

/// What an instruction refers to. A loader fills it in: the object carries a relocation, or a CO-RE record.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Reference {
    /// An `ld_imm64` of the address of a symbol and `offset` bytes more: a variable, a map (without an offset), or a
    /// function whose address is taken. It becomes a relocation of type [`R_BPF_64_64`](crate::elf::R_BPF_64_64).
    Address {
        /// The variable, map or function.
        symbol: SymbolId,
        /// How many bytes are added.
        offset: i32,
    },
    /// A call of a function of the object, or of a kernel function by an undefined symbol. It becomes a
    /// relocation of type [`R_BPF_64_32`](crate::elf::R_BPF_64_32).
    Call {
        /// The function.
        symbol: SymbolId,
    },
    /// A value that the loader takes from the types of the running kernel: an offset, a size, whether something
    /// exists. It becomes a CO-RE record.
    Core {
        /// The type in the BTF of the object.
        type_id: u32,
        /// Which part of it, as numbers of members and elements: `0:2:1`, say.
        access: String,
        /// What about it: `enum bpf_core_relo_kind`.
        kind: u32,
    },
}

impl Reference {
    /// An `ld_imm64` of the address of `symbol`, and `offset` bytes more.
    #[must_use]
    pub const fn address(symbol: SymbolId, offset: i32) -> Self {
        Self::Address { symbol, offset }
    }

    /// A call of `symbol`.
    #[must_use]
    pub const fn call(symbol: SymbolId) -> Self {
        Self::Call { symbol }
    }
}
