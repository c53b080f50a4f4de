#!/usr/bin/env python3
"""Checks that PostgreSQL can be reached and read.

`foodstream check-postgres` under the documents' name; arguments are passed on.
"""

import sys

try:
    from foodstream.__main__ import main
except ImportError:
    sys.exit("foodstream is not installed for this Python; run `make build`, then use .venv/bin/python")

sys.exit(main(["check-postgres", *sys.argv[1:]]))
