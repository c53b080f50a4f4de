//! Rows to records to a confirmed position.
