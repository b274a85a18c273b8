//! ELF objects made for BPF.
mod bytes;
mod error;
mod image;
mod write;
pub use error::ElfError;

/// temp
pub fn rt(d: &[u8]) -> Result<alloc::vec::Vec<u8>, ElfError> { write::write(&image::Image::parse(d)?) }
