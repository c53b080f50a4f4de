#!/usr/bin/env python3
"""Checks what the purchase pipeline needs and says what to do.

`foodstream purchases check` under the documents' name; arguments are passed on.
"""

import sys

try:
    from foodstream.__main__ import main
except ImportError:
    sys.exit("foodstream is not installed for this Python; run `make build`, then use .venv/bin/python")

sys.exit(main(["purchases", "check", *sys.argv[1:]]))
