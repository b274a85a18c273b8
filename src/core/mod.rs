//! The list core: it knows how to move instructions, and no instruction set.

mod handle;
mod isa;

pub use handle::Handle;
pub use isa::Isa;
