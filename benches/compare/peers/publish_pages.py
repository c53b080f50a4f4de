"""How long foodstream takes for one page in one transaction: read, published, committed.

``publish_pages.py CONFIG WARM_UP COUNTED`` polls so many pages of ``cdc.batch_limit`` rows one after the other and
prints the milliseconds of each counted one as a JSON list. An upper bound of the commit alone, which is most of it.
"""

import json
import sys
import time
from pathlib import Path

from foodstream import Config, Producer


def main(config: str, warm_up: str, counted: str) -> None:
    """Polls page by page."""
    with Producer(Config(Path(config))) as producer:
        for _ in range(int(warm_up)):
            producer.poll()
        print(json.dumps([_milliseconds_of_a_page(producer) for _ in range(int(counted))]))


def _milliseconds_of_a_page(producer: Producer) -> float:
    begun = time.perf_counter()
    if producer.poll() == 0:
        raise SystemExit("the table is too short for so many pages")
    return (time.perf_counter() - begun) * 1_000


if __name__ == "__main__":
    main(*sys.argv[1:])
