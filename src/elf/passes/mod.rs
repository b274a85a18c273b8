//! The passes over whole objects, a file each. [`Passes::standard`](super::Passes::standard) lists them.

mod blind;
mod dce;

pub use blind::Blind;
pub use dce::Dce;
