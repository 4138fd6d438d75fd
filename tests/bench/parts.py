"""Contains the parts of the benchmark. Each adds figures with targets, and loads, to the report."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.bench import servers
from tests.bench.dataset import email_of, fill
from tests.bench.load import CONNECTIONS, Request, Round, median, ratio, run_interleaved, run_wrk
from tests.bench.servers import SERVER_CORE, Server, serve_latchkey, serve_script
from tests.lying_provider import LyingProvider, serving, trickling

PASSWORD = "engine-No.9 to the sea"
USERS = 1_000
CHECKS = (
    Request("/signup/check/email", body="email=nobody@example.com"),
    Request("/signup/check/email", body=f"email={email_of(1)}"),
)
LAYERS = {  # The names are those of layers.py.
    "server": "HTTP server, timeouts",
    "middleware": "middleware: metrics, headers, errors, limits",
    "routing": "routing",
    "cookie": "cookie verification, guard",
    "session": "session statement, viewer",
    "profile": "profile, in the same statement",
    "page": "template and layout",
}
# An unknown email costs the same hash as a real account.
WRONG_LOGIN = (Request("/login", body="email=nobody@example.com&password=wrong-password-1"),)
# What a provider does, and its name in the settings.
FAILURES = {"refuses connections": "stopped", "never answers": "silent", "trickles": "slow"}
WARM_UP_SECONDS = 10  # This is long enough for 10,000 requests.
NEW_EMAILS = 100  # The limit of all clients together allows more checks in a minute.


class Figure(NamedTuple):
    """A row of the table of figures. `is_reached` is None for a figure without a target."""

    name: str
    measured: str
    target: str
    is_reached: bool | None = None


class Load(NamedTuple):
    """A row of the table of loads."""

    name: str
    rounds: list[Round]
    baseline: list[Round] | None


@dataclass
class Bench:
    """One run of the benchmark, with its servers and its results.

    `seconds` is the duration of a round, and `rounds` the number of rounds of each measurement.
    """

    folder: Path
    stack: ExitStack
    seconds: int
    rounds: int
    peer: str | None
    peer_cookie: str
    figures: list[Figure] = field(default_factory=list)
    loads: list[Load] = field(default_factory=list)
    layers: list[tuple[str, float]] = field(default_factory=list)
    next_port: int = 8901

    def port(self) -> int:
        self.next_port += 1
        return self.next_port

    @cached_property
    def database_url(self) -> str:
        return f"sqlite:///{self.folder / 'latchkey.db'}"

    @cached_property
    def cookies(self) -> list[str]:
        servers.migrate(self.database_url)
        return fill(self.database_url, USERS, 10_000, USERS)

    @cached_property
    def dashboards(self) -> list[Request]:
        return [Request("/dashboard", cookie) for cookie in self.cookies]

    @cached_property
    def latchkey(self) -> Server:
        assert self.cookies
        return self.stack.enter_context(serve_latchkey(self.database_url, self.port()))

    @cached_property
    def baseline(self) -> Server:
        return self.stack.enter_context(serve_script("baseline", self.port()))

    @cached_property
    def minimal(self) -> Server:
        database = self.database_url.removeprefix("sqlite:///")
        return self.stack.enter_context(
            serve_script("minimal_endpoint", self.port(), DATABASE=database)
        )

    def run(
        self, server: Server, requests: Sequence[Request], connections: int = CONNECTIONS
    ) -> Round:
        return run_wrk(server, requests, self.seconds, connections)

    def run_baseline(self, request: Request, connections: int = CONNECTIONS) -> Round:
        """Requests a response of the same method and size from the baseline server."""
        return self.run(
            self.baseline, (Request(f"/{self.size_of(request)}", body=request.body),), connections
        )

    def size_of(self, request: Request) -> int:
        """Returns the size of the uncompressed response body in bytes."""
        headers = {"Accept-Encoding": "identity"} | (
            {"Cookie": request.cookie} if request.cookie else {}
        )
        if request.body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        method = "POST" if request.body else "GET"
        response = httpx.request(
            method, self.latchkey.url + request.path, headers=headers, content=request.body
        )
        assert response.status_code == 200, response
        return len(response.content)

    def add(self, name: str, measured: str, target: str, is_reached: bool | None = None) -> None:
        self.figures.append(Figure(name, measured, target, is_reached))

    def add_at_least(self, name: str, value: float, least: float) -> None:
        self.add(name, f"{value:.2f}", f"at least {least:.2f}", value >= least)

    def add_at_most(
        self, name: str, value: float, most: float, unit: str = "", places: int = 2
    ) -> None:
        self.add(name, f"{value:.{places}f}{unit}", f"at most {most:g}{unit}", value <= most)


def dashboard(bench: Bench) -> None:
    """Compares the dashboard with the minimal endpoint and the baseline.

    The load has 16 connections, and then 1 connection.
    """
    latchkey, minimal, baseline = run_interleaved(
        bench.rounds,
        lambda: bench.run(bench.latchkey, bench.dashboards),
        lambda: bench.run(bench.minimal, bench.dashboards),
        lambda: bench.run_baseline(bench.dashboards[0]),
    )
    bench.loads += [
        Load("dashboard", latchkey, baseline),
        Load("minimal endpoint", minimal, baseline),
        Load("baseline of the dashboard", baseline, baseline),
    ]
    bench.add_at_most(
        "dashboard: CPU per request / minimal endpoint", ratio(latchkey, minimal, "cpu"), 1.5
    )
    bench.add_at_least("dashboard: rate / baseline", ratio(latchkey, baseline, "rate"), 0.20)
    latchkey, baseline = run_interleaved(
        bench.rounds,
        lambda: bench.run(bench.latchkey, bench.dashboards, 1),
        lambda: bench.run_baseline(bench.dashboards[0], 1),
    )
    bench.loads.append(Load("dashboard, 1 connection", latchkey, baseline))
    bench.add_at_least(
        "dashboard, 1 connection: rate / baseline", ratio(latchkey, baseline, "rate"), 0.29
    )


def sign_up_page(bench: Bench) -> None:
    """Measures the sign-up page for anonymous users."""
    request = Request("/signup")
    latchkey, baseline = run_interleaved(
        bench.rounds,
        lambda: bench.run(bench.latchkey, (request,)),
        lambda: bench.run_baseline(request),
    )
    bench.loads.append(Load("sign-up page", latchkey, baseline))
    bench.add_at_least("sign-up page: rate / baseline", ratio(latchkey, baseline, "rate"), 0.60)


def live_check(bench: Bench) -> None:
    """Measures live checks of emails without and with rate limits, and of new emails with them."""
    off, baseline = run_interleaved(
        bench.rounds,
        lambda: bench.run(bench.latchkey, CHECKS),
        lambda: bench.run_baseline(CHECKS[0]),
    )
    bench.loads.append(Load("live check, rate limits off", off, baseline))
    bench.add_at_least(
        "live check, rate limits off: rate / baseline", ratio(off, baseline, "rate"), 0.19
    )
    with serve_latchkey(bench.database_url, bench.port(), RATE_LIMITS="enforce") as enforcing:
        enforced, baseline = run_interleaved(
            bench.rounds,
            lambda: bench.run(enforcing, CHECKS),
            lambda: bench.run_baseline(CHECKS[0]),
        )
    bench.loads.append(Load("live check, rate limits on, repeated emails", enforced, baseline))
    bench.add_at_least(
        "live check, rate limits on: rate / baseline", ratio(enforced, baseline, "rate"), 0.10
    )
    new = [check_new_emails(bench, number) for number in range(bench.rounds)]
    bench.loads.append(Load("live check, rate limits on, new emails", new, baseline[:1] * len(new)))
    value = median(baseline, "cpu") / median(new, "cpu")
    # The rate limits allow too few of these checks to warm up the server, so there is no target.
    bench.add("live check, rate limits on, new emails: baseline CPU / CPU", f"{value:.2f}", "")


def check_new_emails(bench: Bench, number: int) -> Round:
    """Checks NEW_EMAILS emails one after the other, each from another client IP address."""
    url = f"sqlite:///{bench.folder / f'new-{number}.db'}"
    servers.migrate(url)
    port = bench.port()
    with (
        serve_latchkey(url, port, RATE_LIMITS="enforce", TRUSTED_PROXIES="127.0.0.1,::1") as server,
        httpx.Client(base_url=server.url) as client,
    ):

        def check(n: int) -> float:
            """Returns the response time in seconds."""
            headers = {"X-Forwarded-For": f"192.0.2.{n}"}
            started = time.perf_counter()
            response = client.post(
                "/signup/check/email", data={"email": f"a{n}@example.com"}, headers=headers
            )
            assert "Looks good" in response.text, response.text
            return time.perf_counter() - started

        for n in range(10):
            check(n)
        before, started = server.cpu_seconds(), time.perf_counter()
        times = sorted(check(n) for n in range(10, 10 + NEW_EMAILS))
        used, seconds = server.cpu_seconds() - before, time.perf_counter() - started
    return Round(NEW_EMAILS / seconds, times[-2] * 1000, used / NEW_EMAILS * 1e6)


def dashboard_during_log_ins(bench: Bench) -> None:
    """Measures the dashboard's p99 while 16 connections log in without a pause."""
    measured = []
    for _ in range(bench.rounds):
        idle = bench.run(bench.latchkey, bench.dashboards)
        with run_in_background(
            lambda: run_wrk(bench.latchkey, WRONG_LOGIN, bench.seconds + 3, may_refuse=True)
        ):
            time.sleep(1.5)
            loaded = bench.run(bench.latchkey, bench.dashboards)
        measured.append((loaded.p99 / idle.p99, loaded.p99, idle.p99))
    median_ratio, loaded_p99, idle_p99 = sorted(measured)[len(measured) // 2]
    bench.add(
        "p99 of the dashboard while 16 connections log in / idle",
        f"{median_ratio:.2f} ({loaded_p99:.1f} ms, idle {idle_p99:.1f} ms)",
        "at most 2",
        median_ratio <= 2,
    )


def dashboard_while_a_provider_fails(bench: Bench) -> None:
    """Measures the dashboard while users press the button of a provider that fails.

    Three providers fail in their own way: one refuses connections, one accepts them and never
    answers, and one sends a byte now and then.
    """
    url = f"sqlite:///{bench.folder / 'providers.db'}"
    servers.migrate(url)
    requests = [Request("/dashboard", cookie) for cookie in fill(url, USERS, USERS, USERS)]
    with failing_providers() as settings, serve_latchkey(url, bench.port(), **settings) as server:
        bench.run(server, requests)
        for name in FAILURES:
            # The effect is smaller than the noise of three rounds.
            idle, failing = run_interleaved(
                3 * bench.rounds,
                lambda: bench.run(server, requests),
                partial(run_with_log_ins, bench, server, requests, name),
            )
            bench.loads.append(
                Load(f"dashboard, and log-ins with a provider that {name}", failing, None)
            )
            bench.add_at_least(
                f"dashboard while a provider {name}: rate / idle",
                ratio(failing, idle, "rate"),
                0.9,
            )


def run_with_log_ins(bench: Bench, server: Server, requests: Sequence[Request], name: str) -> Round:
    """Loads the dashboard while three users a second start a log-in with a provider."""
    is_over = threading.Event()

    def press_buttons() -> None:
        with httpx.Client(base_url=server.url, timeout=10) as client:
            while not is_over.wait(1):
                assert client.post(f"/login/with/{FAILURES[name]}").status_code == 303

    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(run_in_background(press_buttons))
        stack.callback(is_over.set)
        return bench.run(server, requests)


@contextmanager
def failing_providers() -> Iterator[dict[str, str]]:
    """Yields the settings of the providers of FAILURES."""
    lying = LyingProvider(answers={"/.well-known/openid-configuration": trickling})
    with socket.create_server(("127.0.0.1", 0), backlog=64) as silent, serving(lying):
        issuers = {
            "stopped": "http://127.0.0.1:9",
            "silent": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "slow": lying.issuer,
        }
        settings = {"PROVIDERS": ",".join(issuers)}
        for name, issuer in issuers.items():
            settings |= {
                f"{name.upper()}_ISSUER": issuer,
                f"{name.upper()}_CLIENT_ID": "latchkey",
                f"{name.upper()}_CLIENT_SECRET": "secret",
            }
        yield settings


def log_ins(bench: Bench) -> None:
    """Compares log-ins with the rate of Argon2 alone on the server's core.

    Counts the hashes, because the server refuses log-ins when its hash queue is full.
    """
    script = ARGON2_SCRIPT.format(seconds=bench.seconds)
    argon2 = subprocess.run(
        ["taskset", "-c", str(SERVER_CORE), sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    before = read_hash_count(bench.latchkey)
    run_wrk(bench.latchkey, WRONG_LOGIN, bench.seconds, may_refuse=True)
    rate = (read_hash_count(bench.latchkey) - before) / bench.seconds
    value = rate / float(argon2.stdout)
    bench.add(
        "log-ins per second / argon2 alone",
        f"{value:.2f} ({rate:.0f} a second)",
        "at least 0.90",
        value >= 0.9,
    )


def read_hash_count(server: Server) -> float:
    """Returns the number of hashes since the start of the server."""
    metrics = httpx.get(f"{server.url}/metrics").text
    return sum(
        float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("latchkey_hashes_total")
    )


ARGON2_SCRIPT = """
import time
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
hasher = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)
stored_hash = hasher.hash("x")
count = 0
deadline = time.monotonic() + {seconds}
while time.monotonic() < deadline:
    try:
        hasher.verify(stored_hash, "y")
    except VerifyMismatchError:
        count += 1
print(count / {seconds})
"""


def million_sessions(bench: Bench) -> None:
    """Requests 10,000 sessions in turn, in databases of 1,000,000 and of 10,000 sessions."""
    with (
        serve_sessions(bench, 1_000_000) as (large, large_requests),
        serve_sessions(bench, 10_000) as (small, small_requests),
    ):
        million, ten_thousand = run_interleaved(
            bench.rounds,
            lambda: bench.run(large, large_requests),
            lambda: bench.run(small, small_requests),
        )
    bench.loads.append(Load("dashboard, 10,000 of 1,000,000 sessions in turn", million, None))
    bench.loads.append(Load("dashboard, 10,000 of 10,000 sessions in turn", ten_thousand, None))
    bench.add_at_least(
        "dashboard with 1,000,000 sessions: rate / 10,000 sessions",
        ratio(million, ten_thousand, "rate"),
        0.95,
    )


@contextmanager
def serve_sessions(bench: Bench, sessions: int) -> Iterator[tuple[Server, list[Request]]]:
    """Serves a database with `sessions` users, each with one session.

    Yields the server and requests of 10,000 users.
    """
    url = f"sqlite:///{bench.folder / f'sessions-{sessions}.db'}"
    servers.migrate(url)
    requests = [Request("/dashboard", cookie) for cookie in fill(url, sessions, sessions, 10_000)]
    with serve_latchkey(url, bench.port()) as server:
        run_wrk(server, requests, WARM_UP_SECONDS)  # The warm-up verifies each token once.
        yield server, requests


def postgresql(bench: Bench) -> None:
    """Measures the dashboard on PostgreSQL, and 500 concurrent sign-ups on each database."""
    url = servers.new_postgresql_url()
    if url:
        servers.migrate(url)
        requests = [Request("/dashboard", cookie) for cookie in fill(url, USERS, 10_000, USERS)]
        with serve_latchkey(url, bench.port()) as server:
            latchkey, baseline = run_interleaved(
                bench.rounds,
                lambda: bench.run(server, requests),
                lambda: bench.run_baseline(bench.dashboards[0]),
            )
            bench.loads.append(Load("dashboard on PostgreSQL", latchkey, baseline))
            bench.add(
                "dashboard on PostgreSQL: rate / baseline",
                f"{ratio(latchkey, baseline, 'rate'):.2f}",
                "",
            )
            add_sign_ups(bench, "PostgreSQL", server)
    add_sign_ups(bench, "SQLite", bench.latchkey)


def add_sign_ups(bench: Bench, database: str, server: Server) -> None:
    errors, retries = asyncio.run(sign_up_concurrently(server.url))
    measured = f"{errors} ({retries} retries after 503)"
    bench.add(f"500 concurrent sign-ups, {database}: errors", measured, "0", errors == 0)


async def sign_up_concurrently(url: str) -> tuple[int, int]:
    """Signs up 500 users at once. Returns the numbers of errors and of retries after a 503."""
    retries = 0

    async def sign_up(client: httpx.AsyncClient, number: int) -> int:
        """Returns the status of the last response, after at most 60 attempts."""
        nonlocal retries
        fields = {"name": "Grace", "email": f"grace{number}@example.com", "password": PASSWORD}
        for _ in range(60):
            response = await client.post("/signup", data=fields)
            if response.status_code != 503 or "retry-after" not in response.headers:
                return response.status_code
            retries += 1
            await asyncio.sleep(float(response.headers["retry-after"]))
        return 503

    limits = httpx.Limits(max_connections=500)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        statuses = await asyncio.gather(*(sign_up(client, number) for number in range(500)))
    return sum(status != 303 for status in statuses), retries


def layers(bench: Bench) -> None:
    """Measures the CPU time of each layer.

    It is the difference between the program that ends after the layer and the one that ends before.
    """
    environ = {
        "SIZE": str(bench.size_of(bench.dashboards[0])),
        "DATABASE_URL": bench.database_url,
        "RATE_LIMITS": "off",
    }
    health_checks = [Request("/healthz", cookie) for cookie in bench.cookies]
    with ExitStack() as stack:
        measurements = []
        for layer in LAYERS:
            server = stack.enter_context(
                serve_script("layers", bench.port(), LAYER=layer, **environ)
            )
            requests = health_checks if layer == "routing" else bench.dashboards
            measurements.append(partial(bench.run, server, requests))
        rounds = run_interleaved(bench.rounds, *measurements)
    previous = 0.0
    for description, layer_rounds in zip(LAYERS.values(), rounds, strict=True):
        cpu = median(layer_rounds, "cpu")
        bench.layers.append((description, cpu - previous))
        previous = cpu


def memory_and_start(bench: Bench) -> None:
    """Measures memory at rest and after all other parts, and the CPU time of a start."""
    with serve_latchkey(bench.database_url, bench.port()) as server:
        time.sleep(3)
        bench.add_at_most("memory at rest", server.memory_mb(), 78, " MB", 0)
    bench.add_at_most("memory after the benchmark", bench.latchkey.memory_mb(), 105, " MB", 0)
    starts = sorted(servers.cpu_to_first_response(bench.folder, bench.port()) for _ in range(5))
    bench.add_at_most("CPU time of `scripts/run` until its first 200", starts[2], 0.6, " s")


def peer(bench: Bench) -> None:
    """Compares the dashboard with the page of another program, if --peer has its URL."""
    if not bench.peer:
        return
    url = httpx.URL(bench.peer)
    # Only the rate is used, so the process id of the other program is not needed.
    server = Server(f"{url.scheme}://{url.netloc.decode()}", bench.latchkey.pid)
    request = Request(url.raw_path.decode(), bench.peer_cookie)
    latchkey, other = run_interleaved(
        bench.rounds,
        lambda: bench.run(bench.latchkey, bench.dashboards),
        lambda: bench.run(server, (request,)),
    )
    bench.add(
        "dashboard: rate / page of the other program",
        f"{ratio(latchkey, other, 'rate'):.2f}",
        "more than 1",
    )


@contextmanager
def run_in_background(work: Callable[[], object]) -> Iterator[None]:
    """Calls `work` in a thread, and waits for its end at the end of the block."""
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


PARTS: dict[str, Callable[[Bench], None]] = {
    part.__name__: part
    for part in (
        dashboard,
        sign_up_page,
        live_check,
        dashboard_during_log_ins,
        dashboard_while_a_provider_fails,
        log_ins,
        million_sessions,
        postgresql,
        layers,
        memory_and_start,
        peer,
    )
}
