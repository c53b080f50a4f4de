//! foodstream
