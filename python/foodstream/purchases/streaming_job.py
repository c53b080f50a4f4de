"""``python -m foodstream.purchases.streaming_job``: the same as ``foodstream purchases run``."""

import sys

from foodstream.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["purchases", "run", *sys.argv[1:]]))
