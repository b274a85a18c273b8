//! The list core: it knows how to move instructions, and no instruction set.

mod arena;
mod check;
mod cursor;
mod edit;
mod error;
mod facts;
mod fill;
mod handle;
mod hang;
mod insert;
mod isa;
mod layout;
mod linearize;
mod list;
mod map;
mod patch;
mod relax;
mod retarget;
mod room;
mod short;
mod site;
mod table;
mod walk;
mod words;

pub use arena::{Arena, Limits};
pub use check::Broken;
pub use cursor::CursorMut;
pub use error::Error;
pub use handle::Handle;
pub use isa::{Isa, Marks};
pub use linearize::Linear;
pub use list::List;
pub use map::{Map, Origin};
pub use patch::{Branch, Fact, Inserted, Patch, Target};
pub use relax::{LongForm, Relax, Relaxed};
pub use table::{At, Deleted, TableError};
