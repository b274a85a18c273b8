//! All integration tests, one module per topic.

#[cfg(feature = "fuzzing")]
mod edits;
