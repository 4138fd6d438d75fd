"""Tests that several processes and hosts share one state and see each change at once."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from tests.browser_client import PASSWORD, Browser, read
from tests.databases import PostgresServer
from tests.processes import Program, RoundRobinTransport, free_port, needs_nginx, nginx, serving

pytestmark = pytest.mark.reliability("R24")

DEPLOYMENTS = (
    "two workers on SQLite",
    "two hosts on PostgreSQL",
    pytest.param("two hosts behind nginx", marks=needs_nginx),
)
REQUESTS_PER_CHECK = 8  # Each process receives some of these requests.


@dataclass
class Deployment:
    """The processes of the program, the ports of their base URL, and their shared database."""

    base_url: str
    ports: tuple[int, ...]
    programs: list[Program]
    rows: Callable[[str], list[tuple]]
    certificate: Path | None = None

    def browser(self, name: str, email: str = "", *, first: int = 0, **options: object) -> Browser:
        """Returns a browser that uses each port in turn, starting with `ports[first]`."""
        ports = (*self.ports[first:], *self.ports[:first])
        client = httpx.AsyncClient(
            transport=RoundRobinTransport(*ports, certificate=self.certificate),
            base_url=self.base_url,
            timeout=20,
        )
        return Browser(client, name, email or f"{name.lower()}@example.com", **options)

    async def get_login_states(self, user: Browser) -> set[bool]:
        answers = [await user.get("/api/session") for _ in range(REQUESTS_PER_CHECK)]
        assert {answer.status_code for answer in answers} <= {200, 401}
        return {answer.status_code == 200 for answer in answers}


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def deployment(
    request: pytest.FixtureRequest, migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("street")
    with ExitStack() as stack:
        url, rows = (
            on_sqlite(migrated, folder)
            if "SQLite" in request.param
            else on_postgresql(request, stack)
        )
        if "workers" in request.param:
            program = stack.enter_context(serving(url, WEB_CONCURRENCY="2"))
            yield Deployment(f"http://localhost:{program.port}", (program.port,), [program], rows)
            return
        behind_nginx, port = "nginx" in request.param, free_port()
        base_url = f"https://localhost:{port}" if behind_nginx else f"http://localhost:{port}"
        settings = {"BASE_URL": base_url, "HOST": "127.0.0.1"}
        first_host = stack.enter_context(serving(url, TRUSTED_PROXIES="127.0.0.1", **settings))
        second_host = stack.enter_context(
            serving(url, **settings | ({"TRUSTED_PROXIES": "127.0.0.1"} if behind_nginx else {}))
        )
        ports: tuple[int, ...] = (first_host.port, second_host.port)
        if behind_nginx:
            stack.enter_context(nginx(folder, port, *ports, rate="=1000r/s"))
            ports = (port,)
        certificate = folder / "fullchain.pem" if behind_nginx else None
        yield Deployment(base_url, ports, [first_host, second_host], rows, certificate)


def on_sqlite(migrated: Path, folder: Path) -> tuple[str, Callable[[str], list[tuple]]]:
    path = folder / "latchkey.db"
    shutil.copy(migrated, path)

    def rows(sql: str) -> list[tuple]:
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute(sql).fetchall()

    return f"sqlite:///{path}", rows


def on_postgresql(
    request: pytest.FixtureRequest, stack: ExitStack
) -> tuple[str, Callable[[str], list[tuple]]]:
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.take()
    stack.callback(server.give, name)
    return server.url_of(name), lambda sql: server.do(server.fetch(name, sql))


async def test_an_account_created_at_one_process_is_known_to_all(deployment: Deployment) -> None:
    alice, other = deployment.browser("Alice"), deployment.browser("Alice", first=-1)
    assert (await alice.sign_up()).status_code == 303
    assert await deployment.get_login_states(alice) == {True}
    checks = [
        await other.post("/signup/check/email", {"email": alice.email})
        for _ in range(REQUESTS_PER_CHECK)
    ]
    assert all("already exists" in check.text for check in checks)
    assert (await replace(other, password="another-No.7 of hers").sign_up()).status_code == 422


async def test_a_log_out_at_one_process_applies_to_all(deployment: Deployment) -> None:
    bob = deployment.browser("Bob")
    await bob.sign_up()
    copies = [
        replace(bob, client=deployment.browser("Bob", first=first).client) for first in (0, -1)
    ]
    for copy in copies:
        copy.client.cookies = httpx.Cookies(bob.client.cookies)
        assert await deployment.get_login_states(copy) == {True}
    await bob.post("/logout")
    for copy in copies:
        copy.client.cookies = httpx.Cookies(copies[0].client.cookies)
        assert await deployment.get_login_states(copy) == {False}


async def test_a_device_revoked_at_one_process_is_logged_out_at_all(deployment: Deployment) -> None:
    charlie, phone = deployment.browser("Charlie"), deployment.browser("Charlie", first=-1)
    await charlie.sign_up()
    assert (await phone.log_in()).status_code == 303
    assert await deployment.get_login_states(phone) == {True}
    page = read(await charlie.get("/devices"))
    (device,) = [found for found in page.all(data_device=True) if "data-current" not in found.attrs]
    assert (await charlie.post(device.one("form").attrs["action"])).status_code == 303
    assert (
        await deployment.get_login_states(phone),
        await deployment.get_login_states(charlie),
    ) == (
        {False},
        {True},
    )


async def test_a_password_changed_at_one_process_applies_to_all(deployment: Deployment) -> None:
    ada, phone = deployment.browser("Ada"), deployment.browser("Ada", first=-1)
    await ada.sign_up()
    await phone.log_in()
    fields = {"current_password": PASSWORD, "password": "another-No.7 to the sea"}
    assert (await ada.post("/account/password", fields)).status_code == 303
    assert (await deployment.get_login_states(phone), await deployment.get_login_states(ada)) == (
        {False},
        {True},
    )
    assert {(await phone.log_in()).status_code for _ in range(4)} == {422}


@pytest.mark.asvs("S18")
async def test_forty_sign_ups_with_one_email_across_processes_make_one_account(
    deployment: Deployment,
) -> None:
    """The password is the same, so every sign-up after the first one logs in."""
    browsers = [deployment.browser("Erin", first=number % 2) for number in range(40)]
    pending, created = browsers, 0
    while pending:
        answers = await asyncio.gather(*[user.sign_up() for user in pending])
        assert {answer.status_code for answer in answers} <= {303, 503}
        assert all(
            "retry-after" in answer.headers for answer in answers if answer.status_code == 503
        )
        created += sum(answer.status_code == 303 for answer in answers)
        pending = [
            user for user, answer in zip(pending, answers, strict=True) if answer.status_code == 503
        ]
        await asyncio.sleep(0.5 if pending else 0)
    assert created == 40
    assert deployment.rows("SELECT count(*) FROM users WHERE email = 'erin@example.com'") == [(1,)]


@pytest.mark.asvs("S66")
async def test_x_forwarded_for_is_used_only_from_a_trusted_proxy(
    deployment: Deployment,
) -> None:
    """Only the host that trusts 127.0.0.1 as a proxy uses the header of the client."""
    frank = deployment.browser("Frank", headers={"X-Forwarded-For": "203.0.113.9"})
    await frank.sign_up()
    for _ in range(3):
        frank.client.cookies.clear()
        await frank.log_in()
    sql = "SELECT DISTINCT address FROM sessions JOIN users ON users.id = user_id WHERE name = 'Frank' ORDER BY 1"
    expected = [("127.0.0.1",), ("203.0.113.9",)] if len(deployment.ports) > 1 else [("127.0.0.1",)]
    assert deployment.rows(sql) == expected


async def test_every_process_shuts_down_cleanly_on_sigterm(deployment: Deployment) -> None:
    """Ends the programs, so it is the last test of each deployment."""
    grace = deployment.browser("Grace")
    await grace.sign_up()
    for program in deployment.programs:
        code, output = await asyncio.to_thread(program.end)
        assert (code, "Traceback" in output) == (0, False), output
    with pytest.raises(httpx.HTTPError):
        await httpx.AsyncClient(base_url=f"http://localhost:{deployment.programs[0].port}").get(
            "/healthz"
        )


@pytest.mark.asvs("S57")
@pytest.mark.parametrize("database", ["SQLite", "PostgreSQL"])
async def test_processes_share_their_rate_limits_and_a_restart_keeps_them(
    request: pytest.FixtureRequest, migrated: Path, tmp_path: Path, database: str
) -> None:
    """Sends each guess on its own connection, so that both workers receive some."""
    form = {"email": "alice@example.com", "password": "not-her-No.7 key"}

    async def guess(port: int) -> int:
        while True:  # A program that is too busy to hash has refunded the attempt.
            async with httpx.AsyncClient(base_url=f"http://localhost:{port}", timeout=60) as client:
                if (status := (await client.post("/login", data=form)).status_code) != 503:
                    return status
            await asyncio.sleep(0.5)

    with ExitStack() as stack:
        url, _ = (
            on_sqlite(migrated, tmp_path) if database == "SQLite" else on_postgresql(request, stack)
        )
        for allowed, processes in ((5, "2"), (0, "1")):
            with serving(url, WEB_CONCURRENCY=processes, RATE_LIMITS="enforce") as program:
                statuses = await asyncio.gather(*(guess(program.port) for _ in range(30)))
            assert sorted(statuses) == [422] * allowed + [429] * (30 - allowed)
