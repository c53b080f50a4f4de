#!/usr/bin/env python3
"""Inserts test orders into the table.

`foodstream insert-orders` under the documents' name; arguments are passed on.
"""

import sys

try:
    from foodstream.__main__ import main
except ImportError:
    sys.exit("foodstream is not installed for this Python; run `make build`, then use .venv/bin/python")

sys.exit(main(["insert-orders", *sys.argv[1:]]))
