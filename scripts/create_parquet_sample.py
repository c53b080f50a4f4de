#!/usr/bin/env python3
"""Writes sample order files without Kafka.

`foodstream create-parquet` under the documents' name; arguments are passed on.
"""

import sys

try:
    from foodstream.__main__ import main
except ImportError:
    sys.exit("foodstream is not installed for this Python; run `make build`, then use .venv/bin/python")

sys.exit(main(["create-parquet", *sys.argv[1:]]))
