//! The list core: it knows how to move instructions, and no instruction set.

mod arena;
mod columns;
mod cursor;
mod edit;
mod error;
mod handle;
mod isa;
mod linearize;
mod list;
mod map;
mod order;
mod patch;
mod relax;
mod walk;

pub use arena::{Arena, Limits};
pub use columns::Broken;
pub use cursor::CursorMut;
pub use error::Error;
pub use handle::Handle;
pub use isa::{Isa, Marks};
pub use linearize::Linear;
pub use list::List;
pub use map::{At, Deleted, Map, Origin, Origins, TableError};
pub use patch::{Branch, Fact, Inserted, Patch, Target};
pub use relax::{LongForm, Relax, Relaxed};
pub use walk::Iter;
