#!/usr/bin/env python3
"""Compares table, topic and lake.

`foodstream verify` under the documents' name; arguments are passed on.
"""

import sys

try:
    from foodstream.__main__ import main
except ImportError:
    sys.exit("foodstream is not installed for this Python; run `make build`, then use .venv/bin/python")

sys.exit(main(["verify", *sys.argv[1:]]))
