"""The parts of the benchmark, each with its figures and their required values."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.bench import servers
from tests.bench.dataset import email_of, fill
from tests.bench.load import CONNECTIONS, Request, Round, in_turns, median, ratio, run_wrk
from tests.bench.servers import SERVER_CORE, Server, serve_latchkey, serve_script

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
WRONG_LOGIN = (
    Request("/login", body="email=nobody@example.com&password=wrong-password-1"),
)  # An unknown email costs the same hash as a real account.
WARM_UP_SECONDS = 10  # This is long enough for 10,000 requests.
NEW_ADDRESSES = 100  # The limit of all clients together allows more checks in a minute.


class Figure(NamedTuple):
    name: str
    measured: str
    must: str
    reached: bool | None = None


class Load(NamedTuple):
    """One line of the table of loads."""

    name: str
    rounds: list[Round]
    floor: list[Round] | None


@dataclass
class Bench:
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
    def floor(self) -> Server:
        return self.stack.enter_context(serve_script("floor", self.port()))

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

    def run_floor(self, request: Request, connections: int = CONNECTIONS) -> Round:
        """Requests an answer of the same method and size from the constant server."""
        return self.run(
            self.floor, (Request(f"/{self.size_of(request)}", body=request.body),), connections
        )

    def size_of(self, request: Request) -> int:
        headers = {"Accept-Encoding": "identity"} | (
            {"Cookie": request.cookie} if request.cookie else {}
        )
        if request.body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        method = "POST" if request.body else "GET"
        answer = httpx.request(
            method, self.latchkey.url + request.path, headers=headers, content=request.body
        )
        assert answer.status_code == 200, answer
        return len(answer.content)

    def add(self, name: str, measured: str, must: str, reached: bool | None = None) -> None:
        self.figures.append(Figure(name, measured, must, reached))

    def add_at_least(self, name: str, value: float, least: float) -> None:
        self.add(name, f"{value:.2f}", f"at least {least:.2f}", value >= least)

    def add_at_most(
        self, name: str, value: float, most: float, unit: str = "", places: int = 2
    ) -> None:
        self.add(name, f"{value:.{places}f}{unit}", f"at most {most:g}{unit}", value <= most)


def dashboard(bench: Bench) -> None:
    """Compares the dashboard with the minimal endpoint and the floor, on 16 connections and 1."""
    ours, minimal, floor = in_turns(
        bench.rounds,
        lambda: bench.run(bench.latchkey, bench.dashboards),
        lambda: bench.run(bench.minimal, bench.dashboards),
        lambda: bench.run_floor(bench.dashboards[0]),
    )
    bench.loads += [
        Load("dashboard", ours, floor),
        Load("minimal endpoint", minimal, floor),
        Load("baseline of the dashboard", floor, floor),
    ]
    bench.add_at_most(
        "dashboard: CPU per request / minimal endpoint", ratio(ours, minimal, "cpu"), 1.5
    )
    bench.add_at_least("dashboard: rate / baseline", ratio(ours, floor, "rate"), 0.20)
    alone, floor = in_turns(
        bench.rounds,
        lambda: bench.run(bench.latchkey, bench.dashboards, 1),
        lambda: bench.run_floor(bench.dashboards[0], 1),
    )
    bench.loads.append(Load("dashboard, 1 connection", alone, floor))
    bench.add_at_least(
        "dashboard, 1 connection: rate / baseline", ratio(alone, floor, "rate"), 0.29
    )


def sign_up_page(bench: Bench) -> None:
    """Measures the sign-up page for anonymous users."""
    request = Request("/signup")
    ours, floor = in_turns(
        bench.rounds,
        lambda: bench.run(bench.latchkey, (request,)),
        lambda: bench.run_floor(request),
    )
    bench.loads.append(Load("sign-up page", ours, floor))
    bench.add_at_least("sign-up page: rate / baseline", ratio(ours, floor, "rate"), 0.60)


def live_check(bench: Bench) -> None:
    """Measures live checks of emails: with limits off, with limits enforced, and of new emails."""
    off, floor = in_turns(
        bench.rounds, lambda: bench.run(bench.latchkey, CHECKS), lambda: bench.run_floor(CHECKS[0])
    )
    bench.loads.append(Load("live check, rate limits off", off, floor))
    bench.add_at_least(
        "live check, rate limits off: rate / baseline", ratio(off, floor, "rate"), 0.19
    )
    with serve_latchkey(bench.database_url, bench.port(), RATE_LIMITS="enforce") as enforcing:
        enforced, floor = in_turns(
            bench.rounds, lambda: bench.run(enforcing, CHECKS), lambda: bench.run_floor(CHECKS[0])
        )
    bench.loads.append(Load("live check, rate limits on, repeated emails", enforced, floor))
    bench.add_at_least(
        "live check, rate limits on: rate / baseline", ratio(enforced, floor, "rate"), 0.10
    )
    new = [new_addresses(bench, number) for number in range(bench.rounds)]
    bench.loads.append(Load("live check, rate limits on, new emails", new, floor[:1] * len(new)))
    value = median(floor, "cpu") / median(new, "cpu")
    # The rate limits allow too few of these checks to warm up the server, so there is no target.
    bench.add("live check, rate limits on, new emails: baseline CPU / CPU", f"{value:.2f}", "")


def new_addresses(bench: Bench, number: int) -> Round:
    """Checks as many emails as the limit of all clients allows, each from another client."""
    url = f"sqlite:///{bench.folder / f'new-{number}.db'}"
    servers.migrate(url)
    port = bench.port()
    with (
        serve_latchkey(url, port, RATE_LIMITS="enforce", TRUSTED_PROXIES="127.0.0.1,::1") as server,
        httpx.Client(base_url=server.url) as client,
    ):

        def ask(n: int) -> float:
            headers = {"X-Forwarded-For": f"192.0.2.{n}"}
            started = time.perf_counter()
            answer = client.post(
                "/signup/check/email", data={"email": f"a{n}@example.com"}, headers=headers
            )
            assert "Looks good" in answer.text, answer.text
            return time.perf_counter() - started

        for n in range(10):
            ask(n)
        before, started = server.cpu_seconds(), time.perf_counter()
        waits = sorted(ask(n) for n in range(10, 10 + NEW_ADDRESSES))
        used, took = server.cpu_seconds() - before, time.perf_counter() - started
    return Round(NEW_ADDRESSES / took, waits[-2] * 1000, used / NEW_ADDRESSES * 1e6)


def flood(bench: Bench) -> None:
    """Measures the dashboard's p99 while 16 connections log in as often as they can."""
    ratios, seen = [], []
    for _ in range(bench.rounds):
        quiet = bench.run(bench.latchkey, bench.dashboards)
        with background(
            lambda: run_wrk(bench.latchkey, WRONG_LOGIN, bench.seconds + 3, may_refuse=True)
        ):
            time.sleep(1.5)
            busy = bench.run(bench.latchkey, bench.dashboards)
        ratios.append(busy.p99 / quiet.p99)
        seen.append((quiet.p99, busy.p99))
    middle = sorted(range(len(ratios)), key=ratios.__getitem__)[len(ratios) // 2]
    told = "{:.1f} ms, idle {:.1f} ms".format(*reversed(seen[middle]))
    bench.add(
        "p99 of the dashboard while 16 connections log in / idle", f"{ratios[middle]:.2f} ({told})",
        "at most 2", ratios[middle] <= 2,
    )  # fmt: skip


def log_ins(bench: Bench) -> None:
    """Compares log-ins with the rate of Argon2 alone on the server's core.

    Hashes are counted, because a full queue refuses log-ins.
    """
    alone = subprocess.run(
        ["taskset", "-c", str(SERVER_CORE), sys.executable, "-c", ARGON2.format(seconds=bench.seconds)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    before = hashes(bench.latchkey)
    run_wrk(bench.latchkey, WRONG_LOGIN, bench.seconds, may_refuse=True)
    rate = (hashes(bench.latchkey) - before) / bench.seconds
    value = rate / float(alone.stdout)
    bench.add(
        "log-ins per second / argon2 alone",
        f"{value:.2f} ({rate:.0f} a second)",
        "at least 0.90",
        value >= 0.9,
    )


def hashes(server: Server) -> float:
    told = httpx.get(f"{server.url}/metrics").text
    return sum(
        float(line.split()[-1])
        for line in told.splitlines()
        if line.startswith("latchkey_hashes_total")
    )


ARGON2 = """
import threading, time
from argon2 import PasswordHasher
hasher, until, done = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1), time.monotonic() + {seconds}, []
stored = hasher.hash("x")
while time.monotonic() < until:
    try: hasher.verify(stored, "y")
    except Exception: done.append(1)
print(len(done) / {seconds})
"""


def million(bench: Bench) -> None:
    """Requests 10,000 sessions in turn, in databases of 1,000,000 and of 10,000 sessions."""
    with serve_sessions(bench, 1_000_000) as many, serve_sessions(bench, 10_000) as few:
        ours, others = in_turns(
            bench.rounds, *(lambda server=server: bench.run(*server) for server in (many, few))
        )
    bench.loads.append(Load("dashboard, 10,000 of 1,000,000 sessions in turn", ours, None))
    bench.loads.append(Load("dashboard, 10,000 of 10,000 sessions in turn", others, None))
    bench.add_at_least(
        "dashboard with 1,000,000 sessions: rate / 10,000 sessions",
        ratio(ours, others, "rate"),
        0.95,
    )


@contextmanager
def serve_sessions(bench: Bench, sessions: int) -> Iterator[tuple[Server, list[Request]]]:
    """Serves this many sessions of as many users, and yields requests by 10,000 of them."""
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
            ours, floor = in_turns(
                bench.rounds,
                lambda: bench.run(server, requests),
                lambda: bench.run_floor(bench.dashboards[0]),
            )
            bench.loads.append(Load("dashboard on PostgreSQL", ours, floor))
            bench.add(
                "dashboard on PostgreSQL: rate / baseline", f"{ratio(ours, floor, 'rate'):.2f}", ""
            )
            add_sign_ups(bench, "PostgreSQL", server)
    add_sign_ups(bench, "SQLite", bench.latchkey)


def add_sign_ups(bench: Bench, database: str, server: Server) -> None:
    errors, again = asyncio.run(sign_up_at_once(server.url))
    told = f"{errors} ({again} retries after 503)"
    bench.add(f"500 concurrent sign-ups, {database}: errors", told, "0", errors == 0)


async def sign_up_at_once(url: str) -> tuple[int, int]:
    """Signs up 500 users at once. Returns the numbers of errors and of retries after a 503."""
    tried_again = 0

    async def sign_up(client: httpx.AsyncClient, number: int) -> int:
        nonlocal tried_again
        fields = {"name": "Grace", "email": f"grace{number}@example.com", "password": PASSWORD}
        for _ in range(60):
            answer = await client.post("/signup", data=fields)
            if answer.status_code != 503 or "retry-after" not in answer.headers:
                return answer.status_code
            tried_again += 1
            await asyncio.sleep(float(answer.headers["retry-after"]))
        return 503

    limits = httpx.Limits(max_connections=500)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        statuses = await asyncio.gather(*(sign_up(client, number) for number in range(500)))
    return sum(status != 303 for status in statuses), tried_again


def layers(bench: Bench) -> None:
    """Measures the cost of a layer as the difference to the program that ends before it."""
    size, taken = str(bench.size_of(bench.dashboards[0])), {}
    with ExitStack() as stack:
        programs = {}
        for layer in LAYERS:
            port = bench.port()
            programs[layer] = stack.enter_context(
                serve_script(
                    "layers", port, LAYER=layer, SIZE=size, DATABASE_URL=bench.database_url, RATE_LIMITS="off"
                )
            )  # fmt: skip
        health = [Request("/healthz", cookie) for cookie in bench.cookies]
        measures = [
            lambda layer=layer: bench.run(
                programs[layer], health if layer == "routing" else bench.dashboards
            )
            for layer in LAYERS
        ]
        taken = dict(zip(LAYERS, in_turns(bench.rounds, *measures), strict=True))
    before = 0.0
    for layer, text in LAYERS.items():
        cpu = median(taken[layer], "cpu")
        bench.layers.append((text, cpu - before))
        before = cpu


def memory_and_start(bench: Bench) -> None:
    """Measures memory at rest and after all other parts, and the CPU time of a start."""
    with serve_latchkey(bench.database_url, bench.port()) as fresh:
        time.sleep(3)
        bench.add_at_most("memory at rest", fresh.memory_mb(), 78, " MB", 0)
    bench.add_at_most("memory after the benchmark", bench.latchkey.memory_mb(), 105, " MB", 0)
    starts = sorted(servers.cpu_to_first_response(bench.folder, bench.port()) for _ in range(5))
    bench.add_at_most("CPU time of `scripts/run` until its first 200", starts[2], 0.6, " s")


def peer(bench: Bench) -> None:
    if not bench.peer:
        return
    url = httpx.URL(bench.peer)
    other = Server(f"{url.scheme}://{url.netloc.decode()}", bench.latchkey.pid)
    request = Request(url.raw_path.decode(), bench.peer_cookie)
    ours, theirs = in_turns(
        bench.rounds,
        lambda: bench.run(bench.latchkey, bench.dashboards),
        lambda: bench.run(other, (request,)),
    )
    bench.add(
        "dashboard: rate / page of the other program",
        f"{ratio(ours, theirs, 'rate'):.2f}",
        "more than 1",
    )


@contextmanager
def background(work: Callable[[], object]) -> Iterator[None]:
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
        flood,
        log_ins,
        million,
        postgresql,
        layers,
        memory_and_start,
        peer,
    )
}
