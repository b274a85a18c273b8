//! The reference interpreter of `relinear::fuzzing`: against the running kernel, and by tables.

#[cfg(target_os = "linux")]
mod kernel;
mod rules;
