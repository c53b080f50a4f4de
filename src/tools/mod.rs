//! Test orders, connection checks, samples, peek.
