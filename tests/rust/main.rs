//! One binary for all integration tests. Those that need services read `FOODSTREAM_TEST_POSTGRES` and
//! `FOODSTREAM_TEST_KAFKA`; `make test` starts both.

mod layering;
