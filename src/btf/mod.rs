//! BTF as a set of types to ask, and CO-RE relocations by libbpf's rules.
//!
//! [`Types`] reads the BTF of an object, of a kernel (`/sys/kernel/btf/vmlinux`), or the split BTF of a module, which
//! goes on where that of its kernel ends. [`core`](mod@core) decides what a CO-RE relocation becomes with it.
//!
//! The format is that of the kernel's `Documentation/bpf/btf.rst`. Whether a library could do it: `btf-rs` (2.0)
//! reads all of it, split BTF too, but its licence, the LGPL, is none of this project's, and it has no CO-RE; `btf`
//! (0.5) reads no split BTF; `aya-obj` (0.3) relocates for CO-RE, but only whole objects of its own, without modules,
//! and keeps the answers to itself.

mod compat;
pub mod core;
mod spec;
mod types;

pub use types::{BtfError, Enumerator, Field, Kind, Member, Type, Types, essential_name};
