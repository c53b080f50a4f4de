//! Names of log targets and the set-up of tracing.
