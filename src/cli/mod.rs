//! Commands, parsed by clap.
