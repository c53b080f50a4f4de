//! Stages of the pipeline on input in memory, and what they are held against; `main.rs` times them.

pub mod orders;
pub mod peer;
pub mod stages;
