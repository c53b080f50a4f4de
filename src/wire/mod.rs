//! The message format: a row as one JSON object, both ways.

pub mod decode;
pub mod encode;
