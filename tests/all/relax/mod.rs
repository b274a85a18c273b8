//! Branches that no longer reach: on random programs, at the limits of eBPF, and in the kernel.

#[cfg(feature = "fuzzing")]
mod forms;
#[cfg(all(feature = "bpf", target_os = "linux"))]
mod kernel;
#[cfg(feature = "bpf")]
mod limits;
#[cfg(feature = "fuzzing")]
mod random;
