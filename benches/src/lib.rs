//! What relinear is measured against: the works, the peers, and how they are measured.

pub mod branch;
pub mod clock;
pub mod cold;
pub mod generate;
pub mod measure;
pub mod memory;
pub mod objects;
pub mod parts;
pub mod peers;
pub mod plot;
mod rng;
pub mod rows;
pub mod shares;
pub mod tables;
pub mod verified;
pub mod work;

pub use work::{Edit, Kind, Pass, Patch, Shape, Work};
