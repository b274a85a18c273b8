//! Edit programs in linear time: replace, prepend, append and delete instructions anywhere, then
//! linearize once.
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "bpf")]
pub mod bpf;
pub mod core;
#[cfg(feature = "elf")]
pub mod elf;

pub use crate::core::{
    Arena, Branch, CursorMut, Error, Fact, Handle, Inserted, Isa, Linear, List, Map, Marks, Origin, Patch,
    Target,
};
