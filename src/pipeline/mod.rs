//! Where stages meet: replicate, ingest, retry, shutdown, progress.
