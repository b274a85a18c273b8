//! Naive models, and the checks that hold this crate against them.
//!
//! [`check`] holds lists against a model, [`check_program`] what passes make of a program against the program
//! itself, by a [reference interpreter](interp).
//!
//! The fuzz targets and `cargo test` run the same checks, which panic where the crate and the model
//! disagree. Nothing here is of use to a program that edits programs.

#[cfg(test)]
mod by_hand;
mod case;
mod edits;
mod generate;
pub mod interp;
mod mirror;
mod model;
mod program;
mod raw;
mod toy;

pub use case::TestCase;
pub use edits::check;
pub use generate::Generated;
pub use program::{ProgramCase, check_program};
pub use toy::Toy;
