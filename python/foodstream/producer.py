"""``python -m foodstream.producer``: the same as ``foodstream producer``."""

import sys

from foodstream.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["producer", *sys.argv[1:]]))
