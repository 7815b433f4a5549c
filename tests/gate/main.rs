//! The gate's arms, driven from here, and its honesty on the blocks that are committed.
//!
//! A program of its own: whoever runs slots adopts what their arms leave behind, which must not be
//! what a test beside it has killed.

#[path = "../harness/installed.rs"]
mod installed;

mod arms;
mod honesty;
