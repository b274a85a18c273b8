//! Tables worked out by hand.
