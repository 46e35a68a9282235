"""What the queue of renderings tells: how much waits, how long it has waited, what was dropped or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TypeVar

from server.metrics import Metrics

P = TypeVar("P", bound=IntEnum)


class QueueMetrics:
    """Observes a queue whose classes of work are the members of an enumeration; their names in lower case are the labels.

    Its methods take well under 10 microseconds and may be called from any thread.
    """

    def __init__(self, metrics: Metrics, classes: type[P], depth: Callable[[], Mapping[P, int]]) -> None:
        """`depth` says how much waits at this moment, by class; called by the event loop."""
        self._metrics = metrics
        for kind in classes:
            metrics.queue_depth.labels(_label(kind)).set(0)
            metrics.wait_seconds.labels(_label(kind))
        metrics.dropped.labels("abandoned")
        metrics.refused.labels("queue_full")

        def refresh() -> None:
            for kind, waiting in depth().items():
                metrics.queue_depth.labels(_label(kind)).set(waiting)

        metrics.on_refresh(refresh)

    def began(self, priority: IntEnum, waited_s: float) -> None:
        """Work begins that has waited so long."""
        self._metrics.wait_seconds.labels(_label(priority)).observe(waited_s)

    def ended(self, priority: IntEnum, took_s: float) -> None:
        """It has ended; `Metrics.rendering` has measured it, by zoom."""

    def dropped(self, priority: IntEnum) -> None:
        """Work was taken out before it began, for nobody waited for it any more."""
        self._metrics.dropped.labels("abandoned").inc()

    def refused(self, priority: IntEnum) -> None:
        """Work was refused, or had to make room, for the queue was full."""
        self._metrics.refused.labels("queue_full").inc()


def _label(kind: IntEnum) -> str:
    return kind.name.lower()
