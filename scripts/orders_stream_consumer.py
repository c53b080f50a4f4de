#!/usr/bin/env python3
"""Carries orders from Kafka into the Parquet lake until stopped.

`foodstream consumer` under the documents' name; arguments are passed on.
"""

import sys

try:
    from foodstream.__main__ import main
except ImportError:
    sys.exit("foodstream is not installed for this Python; run `make build`, then use .venv/bin/python")

sys.exit(main(["consumer", *sys.argv[1:]]))
