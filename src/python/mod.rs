//! The Python boundary: converts and calls.
