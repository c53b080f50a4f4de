//! Test orders, as data.
