//! What can be added to an object: variables, maps, functions, symbols of the kernel.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::SymbolId;
use crate::core::Handle;

/// Where variables go unless they say otherwise: data of our own, which every loader makes a map of.
pub const DATA_SECTION: &str = ".data.relinear";

/// A variable to add.
#[derive(Clone, Debug)]
pub struct Data<'a> {
    /// Its name.
    pub name: &'a str,
    /// The section it goes to: one of the object, or a new one. A name that begins with `.rodata` makes a section that
    /// cannot be written; `.bss` sections that the object has can only take zeroes.
    pub section: &'a str,
    /// Its initial bytes.
    pub bytes: Vec<u8>,
    /// How it is aligned, in bytes: a power of two.
    pub align: u64,
    /// Whether other objects can name it. A variable that only its own object can name is `static` in C.
    pub global: bool,
    /// Whether BTF describes it, so that skeletons have a member for it, and `bpftool map dump` prints its name.
    /// In a section that BTF describes already, it always does.
    pub described: bool,
}

impl<'a> Data<'a> {
    /// A static variable of `size` zero bytes in [`DATA_SECTION`], aligned to 8 bytes.
    #[must_use]
    pub fn zeroed(name: &'a str, size: usize) -> Self {
        Self::new(name, alloc::vec![0; size])
    }

    /// A static variable of these bytes in [`DATA_SECTION`], aligned to 8 bytes.
    #[must_use]
    pub fn new(name: &'a str, bytes: Vec<u8>) -> Self {
        Self { name, section: DATA_SECTION, bytes, align: 8, global: false, described: false }
    }

    /// The same in another section.
    #[must_use]
    pub fn section(self, section: &'a str) -> Self {
        Self { section, ..self }
    }

    /// The same, visible to other objects.
    #[must_use]
    pub fn global(self) -> Self {
        Self { global: true, ..self }
    }

    /// The same, described by BTF.
    #[must_use]
    pub fn described(self) -> Self {
        Self { described: true, ..self }
    }
}

/// A map to add, as BTF defines maps. A field that is 0 or `None` is left out.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MapDef<'a> {
    /// Its name.
    pub name: &'a str,
    /// `enum bpf_map_type`: 1 a hash, 2 an array.
    pub kind: u32,
    /// The size of a key in bytes.
    pub key_size: u32,
    /// The size of a value in bytes.
    pub value_size: u32,
    /// The type of a key in the BTF of the object, instead of its size.
    pub key_type: Option<u32>,
    /// The type of a value in the BTF of the object, instead of its size.
    pub value_type: Option<u32>,
    /// The most entries.
    pub max_entries: u32,
    /// `BPF_F_...` flags of `BPF_MAP_CREATE`.
    pub map_flags: u32,
    /// The NUMA node.
    pub numa_node: u32,
    /// `enum libbpf_pin_type`: 1 pins it by its name.
    pub pinning: u32,
    /// `map_extra` of `BPF_MAP_CREATE`.
    pub map_extra: u32,
    /// What the maps in a map of maps are like.
    pub inner: Option<Box<MapDef<'a>>>,
}

impl<'a> MapDef<'a> {
    /// A map of type `kind` (`enum bpf_map_type`) with keys and values of these sizes in bytes.
    #[must_use]
    pub fn new(name: &'a str, kind: u32, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self { name, kind, key_size, value_size, max_entries, ..Self::default() }
    }
}

/// A function to add. Its arguments and its result are 64-bit integers.
#[derive(Clone, Debug)]
pub struct FunctionDef<'a> {
    /// Its name.
    pub name: &'a str,
    /// The code section it goes to, at the end: one of the object, or a new one.
    pub section: &'a str,
    /// Whether a verifier checks it by itself; a static function is checked at each call.
    pub global: bool,
    /// How many arguments it has, at most 5.
    pub params: u8,
}

impl<'a> FunctionDef<'a> {
    /// A static function in `.text`, which loaders append to the programs that call it.
    #[must_use]
    pub fn new(name: &'a str, params: u8) -> Self {
        Self { name, section: ".text", global: false, params }
    }
}

/// A function that was added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct AddedFunction {
    /// Its symbol.
    pub symbol: SymbolId,
    /// The number of its code section, as [`ObjectEditor::code`](super::ObjectEditor::code) takes it.
    pub code: usize,
    /// Its first instruction.
    pub first: Handle,
    /// How the patch that it was added by is named.
    pub inserted: crate::core::Inserted,
}

/// A symbol of the kernel's to add.
#[derive(Clone, Debug)]
pub struct Extern<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub kind: ExternKind,
    /// Whether the object may be loaded where the kernel has no such symbol. A variable then has the address 0.
    pub weak: bool,
}

/// What a symbol of the kernel's is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ExternKind {
    /// A kernel function, with so many 64-bit arguments. Its prototype in the BTF of the object is made of them.
    Function {
        /// How many, at most 5.
        params: u8,
    },
    /// A kernel function with a prototype in the BTF of the object.
    Prototype {
        /// The id of a type of kind `FUNC_PROTO`.
        type_id: u32,
    },
    /// A variable of a type in the BTF of the object; of type 0 it is an address only (`extern const void`).
    Variable {
        /// Its type.
        type_id: u32,
    },
}
