#!/usr/bin/env python3
"""Streams purchase events into the lake and shows daily and running totals until stopped.

`foodstream purchases run` under the documents' name; arguments are passed on.
"""

import sys

try:
    from foodstream.__main__ import main
except ImportError:
    sys.exit("foodstream is not installed for this Python; run `make build`, then use .venv/bin/python")

sys.exit(main(["purchases", "run", *sys.argv[1:]]))
