//! Settings: one YAML file, the environment and flags, turned into typed values with located errors.
//!
//! `Settings` is what the rest of the program reads; how it came about (file, `${VAR}`, environment,
//! defaults) stays in here. Nothing in this module does I/O but reading the file and the secrets it names.

pub mod settings;

pub use settings::*;
