#!/usr/bin/env python3
"""Generates purchase events and publishes them until stopped.

`foodstream purchases produce` under the documents' name; arguments are passed on.
"""

import sys

try:
    from foodstream.__main__ import main
except ImportError:
    sys.exit("foodstream is not installed for this Python; run `make build`, then use .venv/bin/python")

sys.exit(main(["purchases", "produce", *sys.argv[1:]]))
