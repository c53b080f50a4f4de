#!/usr/bin/env python3
"""Checks that Kafka takes messages.

`foodstream check-kafka-producer` under the documents' name; arguments are passed on.
"""

import sys

try:
    from foodstream.__main__ import main
except ImportError:
    sys.exit("foodstream is not installed for this Python; run `make build`, then use .venv/bin/python")

sys.exit(main(["check-kafka-producer", *sys.argv[1:]]))
