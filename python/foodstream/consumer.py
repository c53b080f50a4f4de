"""``python -m foodstream.consumer``: the same as ``foodstream consumer``."""

import sys

from foodstream.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["consumer", *sys.argv[1:]]))
