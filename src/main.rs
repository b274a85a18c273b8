//! The `relinear` command.

fn main() {}
