//! Exact totals by day.
