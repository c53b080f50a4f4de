"""Purchase events: the second pipeline, on the same core.

::

    report = DataValidator("configs/purchases.yml").validate(events)
    print(report.by_reason)  # {'total_mismatch': 3}
    frame = polars.DataFrame(report.rejected)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foodstream._core import DataValidator, QualityReport

__all__ = ["DataValidator", "QualityReport"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from foodstream import _core

    value: object = getattr(_core, name)
    globals()[name] = value  # the next look finds it without coming here
    return value


def __dir__() -> list[str]:
    return __all__
