"""What latency and footprint measure with: an open-loop writer, watchers, and programs that are timed inside."""
