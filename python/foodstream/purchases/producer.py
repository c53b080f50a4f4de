"""``python -m foodstream.purchases.producer``: the same as ``foodstream purchases produce``."""

import sys

from foodstream.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["purchases", "produce", *sys.argv[1:]]))
