"""Purchase events: the second pipeline, on the same core.

::

    with EventProducer("configs/purchases.yml") as producer:
        producer.run(max_events=1_000, rate=math.inf)

    with StreamingJob("configs/purchases.yml", available_now=True) as job:
        job.run()  # prints the daily totals batch by batch
        frame = polars.DataFrame(job.totals(by=["product_category"]))

    report = DataValidator("configs/purchases.yml").validate(events)
    print(report.by_reason)  # {'total_mismatch': 3}
"""

TYPE_CHECKING = False  # as in `foodstream`

if TYPE_CHECKING:
    from foodstream._core import (
        DataValidator,
        EventProducer,
        EventProgress,
        QualityReport,
        StreamingJob,
    )

__all__ = ["DataValidator", "EventProducer", "EventProgress", "QualityReport", "StreamingJob"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from foodstream import _core

    value: object = getattr(_core, name)
    globals()[name] = value  # the next look finds it without coming here
    return value


def __dir__() -> list[str]:
    return __all__
