//! Branches that no longer reach: on random programs, at the limits of eBPF, and in the kernel.

#[cfg(feature = "fuzzing")]
mod random;
