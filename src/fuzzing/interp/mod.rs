//! A reference interpreter of eBPF, to run a program before and after passes.
//!
//! It does what RFC 9669 says, in the plainest way: an instruction at a time, without tables, and with
//! nothing of what the passes know. Where the RFC leaves a choice it does as the Linux kernel does: division
//! by zero gives zero, each call has a frame of 512 bytes, packet access out of bounds leaves the function
//! with zero. What a verifier would refuse is a [`Fault`] that names the instruction.

mod alu;
mod atomic;
mod branch;
mod call;
mod fault;
mod machine;
mod memory;
mod packet;
mod run;

pub use fault::{Fault, Reason};
pub use machine::{HelperCall, HighHalf, Machine, MapValues, Outcome};
pub use run::Sight;
