"""Rows from PostgreSQL through Apache Kafka into a validated, date-partitioned Parquet lake, exactly once.

The work is done by the Rust core (``foodstream._core``); these names are its Python face::

    producer = foodstream.Producer("configs/orders_stream.yml")
    producer.run(once=True)

    with foodstream.Consumer("configs/orders_stream.yml", available_now=True) as consumer:
        for batch in consumer:
            ...  # batch.accepted is in Arrow form; asking for the next batch commits this one

    print(foodstream.verify_pipeline("configs/orders_stream.yml"))

The core is loaded with the first of its names, not with the package: ``foodstream.local``, the local stack, works in
a clone that has not been built yet, and importing the package costs nothing.
"""

# As checkers of types know it: `typing` itself takes longer to load than all the rest of an import.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from foodstream._bar import ProgressBar
    from foodstream._core import (
        Batch,
        BrokerError,
        Config,
        ConfigError,
        Consumer,
        DataLossError,
        DoctorReport,
        FencedError,
        FoodstreamError,
        LakeError,
        LakeProgress,
        Producer,
        Progress,
        Report,
        Rows,
        SchemaError,
        SourceError,
        __version__,
        doctor,
        insert_test_orders,
        peek,
        quarantine,
        read,
        totals,
        verify_pipeline,
    )
    from foodstream._ledger import BatchLedger

__all__ = [
    "Batch",
    "BatchLedger",
    "BrokerError",
    "Config",
    "ConfigError",
    "Consumer",
    "DataLossError",
    "DoctorReport",
    "FencedError",
    "FoodstreamError",
    "LakeError",
    "LakeProgress",
    "Producer",
    "Progress",
    "ProgressBar",
    "Report",
    "Rows",
    "SchemaError",
    "SourceError",
    "__version__",
    "doctor",
    "insert_test_orders",
    "peek",
    "quarantine",
    "read",
    "totals",
    "verify_pipeline",
]


# Names that are Python of their own; all others are the core's.
_HOMES = {"BatchLedger": "foodstream._ledger", "ProgressBar": "foodstream._bar"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    home = importlib.import_module(_HOMES.get(name, "foodstream._core"))
    value: object = getattr(home, name)
    globals()[name] = value  # the next look finds it without coming here
    return value


def __dir__() -> list[str]:
    return __all__
