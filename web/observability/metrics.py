"""Contains the metrics in the text format of Prometheus.

Each process exposes only its own, with a `pid` label.
"""

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
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

from db.access.outbox import QueueFigures
from db.crypto.secret import Secret
from db.errors import Unavailable
from web.state import request_state

COUNT_SECONDS: Final = 15.0  # The counts of live sessions and mails are cached for this time.
# An attempt to send a mail takes at most 150 seconds.
MAIL_BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 150)
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

    `counters` is called at each scrape, the other two at most every COUNT_SECONDS.
    `count_live_sessions` is None if sessions have no rows, and `read_mail_queue` if no mail is
    sent; `read_event_queue` is None without hooks after a commit and webhooks. With `token`,
    clients on other machines may read them.
    """

    def __init__(
        self,
        counters: Callable[[], Mapping[str, int]],
        count_live_sessions: Callable[[], Awaitable[int]] | None,
        read_mail_queue: Callable[[], Awaitable[QueueFigures]] | None = None,
        token: Secret[str] | None = None,
        read_event_queue: Callable[[], Awaitable[QueueFigures]] | None = None,
    ) -> None:
        self.token = token
        self._counters = counters
        self._count_live_sessions = count_live_sessions
        self._read_mail_queue = read_mail_queue
        self._read_event_queue = read_event_queue
        self._mail_queue: QueueFigures | None = None
        self._event_queue: QueueFigures | None = None
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
            "Seconds until a form with a password was accepted, including hashing.",
            ("form",),
            buckets=ATTEMPT_BUCKETS,
            registry=counted,
        )
        self.hash_seconds = Histogram(
            "latchkey_hash_seconds",
            "Seconds for one hash, without the time in the queue.",
            buckets=HASH_BUCKETS,
            registry=counted,
        )
        self._provider_seconds = Histogram(
            "latchkey_provider_seconds",
            "Seconds of the requests to a provider after a user has come back from there.",
            ("provider", "outcome"),
            buckets=ATTEMPT_BUCKETS,
            registry=counted,
        )
        self._mails = Counter(
            "latchkey_mail",
            "Attempts to send a mail, by outcome, and mails that expired.",
            ("kind", "outcome"),
            registry=counted,
        )
        self._mail_seconds = Histogram(
            "latchkey_mail_seconds",
            "Seconds to send one mail.",
            buckets=MAIL_BUCKETS,
            registry=counted,
        )
        self._events = Counter(
            "latchkey_events",
            "Calls of hooks after a commit and attempts to send webhooks, by outcome.",
            ("kind", "outcome"),
            registry=counted,
        )
        self._event_seconds = Histogram(
            "latchkey_event_seconds",
            "Seconds of a successful hook or webhook.",
            ("kind",),
            buckets=MAIL_BUCKETS,
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
        count, observe = self._find_recorders(route, status)
        count()
        observe(seconds)
        if route and route.name in FORMS and scope["method"] == "POST":
            self._count_attempt(
                route.name,
                "done" if _has_started_session(scope, status) else OUTCOMES.get(status, "other"),
                seconds,
            )

    def _find_recorders(
        self, route: Any, status: int
    ) -> tuple[Callable[[], None], Callable[[float], None]]:
        """Returns the methods that count a response and observe its duration.

        Caches them, because prometheus_client takes a lock at each look-up by labels.
        """
        key = route.name if route else "", status
        recorders = self._by_answer.get(key)
        if recorders is None:
            access = route.access.value if route else "none"
            recorders = (
                self._requests.labels(access, str(status)).inc,
                self._seconds.labels(access).observe,
            )
            self._by_answer[key] = recorders
        return recorders

    def _count_attempt(self, form: str, outcome: str, seconds: float) -> None:
        self._attempts.labels(form, outcome).inc()
        if outcome == "done":
            self._attempt_seconds.labels(form).observe(seconds)

    def observe_provider(self, name: str, outcome: str, seconds: float) -> None:
        """Observes a callback: `done`, `canceled`, `refused`, `down`, `busy` or `failed`."""
        self._provider_seconds.labels(name, outcome).observe(seconds)

    def count_mail(self, message_type: str, outcome: str, seconds: float) -> None:
        """Counts an attempt to send a mail: `sent`, `later`, `dead` or, without one, `expired`."""
        self._mails.labels(message_type, outcome).inc()
        if outcome == "sent":
            self._mail_seconds.observe(seconds)

    def count_event(self, message_type: str, outcome: str, seconds: float) -> None:
        """Counts an attempt to call a hook or send a webhook, with the outcomes of a mail."""
        self._events.labels(message_type, outcome).inc()
        if outcome == "sent":
            self._event_seconds.labels(message_type).observe(seconds)

    async def render(self) -> bytes:
        if monotonic() >= self._count_again:
            self._count_again = monotonic() + COUNT_SECONDS
            await self._count_rows()
        return generate_latest(self._exposed)

    async def _count_rows(self) -> None:
        """Counts live sessions and waiting messages. They are absent if the database is away."""
        self._live_sessions = self._mail_queue = self._event_queue = None
        with suppress(Unavailable):
            if self._count_live_sessions:
                self._live_sessions = await self._count_live_sessions()
            if self._read_mail_queue:
                self._mail_queue = await self._read_mail_queue()
            if self._read_event_queue:
                self._event_queue = await self._read_event_queue()

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
        if self._mail_queue is not None:
            yield GaugeMetricFamily(
                "latchkey_mail_queue", "Mails that are not sent yet.", self._mail_queue.waiting
            )
            yield GaugeMetricFamily(
                "latchkey_mail_oldest_seconds",
                "Age of the oldest mail that is not sent yet.",
                self._mail_queue.oldest,
            )
        if self._event_queue is not None:
            yield GaugeMetricFamily(
                "latchkey_event_queue",
                "Hooks and webhooks that are not done yet.",
                self._event_queue.waiting,
            )
            yield GaugeMetricFamily(
                "latchkey_event_oldest_seconds",
                "Age of the oldest hook or webhook that is not done yet.",
                self._event_queue.oldest,
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
