//! The kernel's own tests of dead code and its tables.
