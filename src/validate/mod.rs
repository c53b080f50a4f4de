//! Rules compiled once and applied to columns; rejects with their reasons.
