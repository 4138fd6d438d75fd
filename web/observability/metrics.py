"""Contains the metrics in the text format of Prometheus.

Each process exposes only its own, with a `pid` label.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import monotonic, perf_counter
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from starlette.types import ASGIApp, Receive, Scope, Send

from db.crypto.secret import Secret
from db.errors import Unavailable
from web.state import request_state

SESSION_COUNT_SECONDS: Final = 15.0  # The count of live sessions is cached for this time.
# The buckets are in seconds.
REQUEST_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# A request that would wait more than two seconds for its hash is refused.
ATTEMPT_BUCKETS: Final = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5)
HASH_BUCKETS: Final = (0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1)
# The forms of these routes hash a password.
FORMS: Final = ("login", "signup", "account-password")
OUTCOMES: Final = {422: "refused", 429: "limited", 500: "failed", 503: "busy"}


class Metrics:
    """The metrics of one process.

    `counters` is called at each scrape. `count_live_sessions` is called at most every 15 seconds,
    and is None if sessions have no rows. With `token`, clients on other machines may read them.
    """

    def __init__(
        self,
        counters: Callable[[], Mapping[str, int]],
        count_live_sessions: Callable[[], Awaitable[int]] | None,
        token: Secret[str] | None = None,
    ) -> None:
        self.token = token
        self._counters = counters
        self._count_live_sessions = count_live_sessions
        self._live_sessions: int | None = None
        self._count_again = 0.0
        self._counted = counted = CollectorRegistry()
        self._requests = Counter(
            "latchkey_requests", "Responses.", ("kind", "status"), registry=counted
        )
        self._seconds = Histogram(
            "latchkey_request_seconds",
            "Seconds until a response was sent.",
            ("kind",),
            buckets=REQUEST_BUCKETS,
            registry=counted,
        )
        self._attempts = Counter(
            "latchkey_attempts",
            "Submitted forms with a password, by outcome.",
            ("form", "outcome"),
            registry=counted,
        )
        self._attempt_seconds = Histogram(
            "latchkey_attempt_seconds",
            "Seconds until such a form was accepted, with hashing and the wait for it.",
            ("form",),
            buckets=ATTEMPT_BUCKETS,
            registry=counted,
        )
        self.hash_seconds = Histogram(
            "latchkey_hash_seconds",
            "Seconds for one hash, without the wait for it.",
            buckets=HASH_BUCKETS,
            registry=counted,
        )
        ProcessCollector(registry=counted)
        self._by_answer: dict[
            tuple[str, int], tuple[Callable[[], None], Callable[[float], None]]
        ] = {}
        self._exposed = CollectorRegistry()
        self._exposed.register(self)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts one response under the access of its route, or under `none` without a route."""
        route = scope.get("route")
        # A plain Starlette route has no access.
        route = route if hasattr(route, "access") else None
        count, observe = self._meters(route, status)
        count()
        observe(seconds)
        if route and route.name in FORMS and scope["method"] == "POST":
            self._count_attempt(
                route.name,
                "done" if _has_started_session(scope, status) else OUTCOMES.get(status, "other"),
                seconds,
            )

    def _meters(
        self, route: Any, status: int
    ) -> tuple[Callable[[], None], Callable[[float], None]]:
        """Returns the methods that count a response and observe its duration.

        Caches them, because prometheus_client takes a lock at each look-up by labels.
        """
        key = route.name if route else "", status
        meters = self._by_answer.get(key)
        if meters is None:
            kind = route.access.value if route else "none"
            meters = (
                self._requests.labels(kind, str(status)).inc,
                self._seconds.labels(kind).observe,
            )
            self._by_answer[key] = meters
        return meters

    def _count_attempt(self, form: str, outcome: str, seconds: float) -> None:
        self._attempts.labels(form, outcome).inc()
        if outcome == "done":
            self._attempt_seconds.labels(form).observe(seconds)

    async def render(self) -> bytes:
        if self._count_live_sessions and monotonic() >= self._count_again:
            self._count_again = monotonic() + SESSION_COUNT_SECONDS
            try:
                self._live_sessions = await self._count_live_sessions()
            except Unavailable:
                self._live_sessions = None
        return generate_latest(self._exposed)

    def collect(self) -> Iterator[Metric]:
        """Yields all metrics with the `pid` label, as prometheus_client requires of a collector."""
        pid = str(os.getpid())
        for family in (*self._counted.collect(), *self._read_families()):
            family.samples = [
                sample._replace(labels={**sample.labels, "pid": pid}) for sample in family.samples
            ]
            yield family

    def _read_families(self) -> Iterator[Metric]:
        now = self._counters()
        yield CounterMetricFamily("latchkey_statements", "SQL statements.", now["statements"])
        yield CounterMetricFamily(
            "latchkey_writes", "SQL statements that may write.", now["writes"]
        )
        yield CounterMetricFamily("latchkey_hashes", "Passwords hashed or verified.", now["hashes"])
        yield GaugeMetricFamily(
            "latchkey_hash_queue", "Requests that wait for a hash.", now["queued"]
        )
        if self._live_sessions is not None:
            yield GaugeMetricFamily(
                "latchkey_live_sessions", "Sessions that have not expired.", self._live_sessions
            )


class MetricsMiddleware:
    """Counts every response and measures its duration."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started = perf_counter()
        state = request_state(scope)
        try:
            await self.app(scope, receive, send)
        finally:
            self.metrics.count(scope, state.get("status", 500), perf_counter() - started)


def _has_started_session(scope: Scope, status: int) -> bool:
    """Returns whether the response starts a session.

    A user who is already logged in is redirected without a new cookie.
    """
    return status < 400 and "session" in request_state(scope).get("set_cookies", {})
