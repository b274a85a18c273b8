//! Naive models, and the checks that hold this crate against them.
//!
//! [`check`] holds lists against a model, [`check_program`] what passes make of a program against the program
//! itself, by a [reference interpreter](interp).
//!
//! The fuzz targets and `cargo test` run the same checks, which panic where the crate and the model
//! disagree. Nothing here is of use to a program that edits programs.

mod asm;
#[cfg(feature = "elf")]
mod btf_ext;
#[cfg(test)]
mod by_hand;
mod case;
#[cfg(feature = "elf")]
mod damage;
mod edits;
#[cfg(feature = "elf")]
mod elf_file;
mod generate;
pub mod interp;
mod mirror;
mod model;
#[cfg(feature = "elf")]
mod object;
mod program;
mod raw;
mod relax;
mod side_tables;
mod toy;
mod values;

pub use asm::check_asm;
#[cfg(feature = "elf")]
pub use btf_ext::{BtfExtCase, check_btf_ext};
pub use case::TestCase;
#[cfg(feature = "elf")]
pub use damage::damage_object;
pub use edits::check;
pub use generate::Generated;
#[cfg(feature = "elf")]
pub use object::{check_object, memory_limit};
pub use program::{ProgramCase, check_program};
pub use relax::{RelaxCase, check_relaxed};
use toy::OneField;
pub use toy::{Toy, Toys};
pub use values::{ValuesCase, check_values};
