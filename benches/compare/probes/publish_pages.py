"""How long foodstream takes for one page in one transaction: read, published, committed.

``publish_pages.py CONFIG WARM_UP COUNTED`` polls so many pages of ``cdc.batch_limit`` rows one after the other and
prints, as a JSON object of two lists, the milliseconds of each counted one (``page``) and of its commit alone
(``commit``, whole ones, rounded up).
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
        times = [_milliseconds_of_a_page(producer) for _ in range(int(counted))]
        print(json.dumps({"page": [page for page, _ in times], "commit": [commit for _, commit in times]}))


def _milliseconds_of_a_page(producer: Producer) -> tuple[float, int]:
    begun = time.perf_counter()
    if producer.poll() == 0:
        raise SystemExit("the table is too short for so many pages")
    taken = (time.perf_counter() - begun) * 1_000
    progress = producer.last_progress
    assert progress is not None
    return taken, progress["durationMs"]["commit"] + 1


if __name__ == "__main__":
    main(*sys.argv[1:])
