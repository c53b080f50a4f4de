//! The checks of the verify command.
