"""Tests that `latchkey doctor` finds planted mistakes, and reports none in a good deployment."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from db.access import diagnosis
from db.product import ProductData
from db.viewer import Operator
from tests.commands import CommandResult, run_command
from tests.conftest import SECRET, TestApp
from tests.databases import PostgresServer
from tests.environment import environ_of
from tests.processes import free_port, needs_nginx, nginx, serving
from tests.test_schema_checks import write_revision
from web.app import open_store
from web.cli.doctor.database_checks import check_migrations
from web.cli.doctor.file_checks import check_environment_file, check_secret, describe_disk
from web.cli.doctor.findings import Finding
from web.cli.doctor.mail_checks import check_mail
from web.cli.doctor.service_checks import (
    check_redirect,
    check_service,
    describe_certificate,
)
from web.cli.doctor.settings_checks import check_settings
from web.endpoints.health import ANSWER_HEADER, QUESTION_HEADER
from web.settings.settings import Settings, read_settings

SITE = "https://latchkey.example"
PROXY = "10.0.0.1"
PUBLIC = {
    "BASE_URL": SITE,
    "TRUSTED_PROXIES": PROXY,
    "SMTP_URL": "smtp://127.0.0.1:1",
    "MAIL_FROM": "accounts@latchkey.example",
}


@pytest.fixture
def run(tmp_path: Path, migrated: Path) -> Callable[..., CommandResult]:
    """Returns a function that runs `latchkey doctor` on a migrated database of its own."""
    shutil.copy(migrated, tmp_path / "latchkey.db")
    (tmp_path / "latchkey.db").chmod(0o600)

    def run(*options: str, **environ: str) -> CommandResult:
        # Nothing listens on port 1.
        settings = environ_of(tmp_path / "latchkey.db") | {"PORT": "1", **environ}
        return run_command("doctor", *options, environ=settings)

    return run


def create_admin(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "latchkey.db")) as database, database:
        database.execute(
            "INSERT INTO users (id, email, name, slug, role, password_hash, created_at) VALUES "
            "('1', 'ada@example.com', 'Ada', 'ada', 'admin', '', '2026-11-24T09:12:00.000000+00:00')"
        )


def test_a_good_deployment_has_no_error(run: Callable, tmp_path: Path) -> None:
    create_admin(tmp_path)
    result = run()
    lines = [line for line in result.stdout.splitlines() if not line.startswith("ok ")]
    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split()[:2] for line in lines] == [["warning", "service:"]]
    assert SECRET not in result.stdout


def test_a_good_postgresql_server_has_no_error(
    run: Callable, postgres_server: PostgresServer
) -> None:
    name = postgres_server.take()
    result = run(DATABASE_URL=f"{postgres_server.url_of(name)}?max_size=2")
    postgres_server.give(name)
    assert "ok       clock: the same as that of the database server" in result.stdout
    assert "error" not in result.stdout


def test_more_connections_than_the_server_allows_are_reported(
    run: Callable, postgres_server: PostgresServer
) -> None:
    name = postgres_server.take()
    result = run(DATABASE_URL=f"{postgres_server.url_of(name)}?max_size=9999")
    postgres_server.give(name)
    expect(result, "warning  database: ", "set ?max_size= in DATABASE_URL", code=0)


def test_the_findings_can_be_printed_as_json(run: Callable) -> None:
    findings = json.loads(run("--json").stdout)
    assert {finding["level"] for finding in findings} == {"ok", "warning"}
    assert all(finding.keys() == {"level", "subject", "text"} for finding in findings)


def test_an_invalid_setting_is_named_with_exit_code_2(run: Callable) -> None:
    result = run(METRICS_TOKEN="short")
    assert result.returncode == 2
    assert result.stdout.startswith("error    settings: METRICS_TOKEN: must be at least 32")


def test_a_missing_database_is_an_error(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "latchkey.db").unlink()
    expect(run(), "error    database: ", "run `latchkey migrate` first; there is no file", code=1)
    assert not (tmp_path / "latchkey.db").exists()


def test_an_unreachable_server_is_an_error_without_its_password(run: Callable) -> None:
    result = run(DATABASE_URL="postgresql://me:canary-No.1@127.0.0.1:1/x")
    expect(
        result, "error    database: postgresql://me:***@127.0.0.1:1/x: ", "does not answer", code=1
    )
    assert "canary" not in result.stdout


def test_an_old_revision_is_an_error(run: Callable, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "latchkey.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '0004'")
    expect(run(), "error    database: ", "older than this program (revision 0004", code=1)


def test_a_missing_column_is_an_error(run: Callable, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "latchkey.db")) as database, database:
        database.execute("ALTER TABLE sessions DROP COLUMN is_remembered")
    expect(run(), "error    database: ", "lacks the column sessions.is_remembered", code=1)


def test_a_database_without_administrators_is_a_warning(run: Callable) -> None:
    expect(run(), "warning  administrators: ", "latchkey users create", code=0)


def test_a_database_that_others_can_read_is_a_warning(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "latchkey.db").chmod(0o644)
    expect(run(), "warning  files: ", f"run chmod go= {tmp_path}/latchkey.db", code=0)
    assert (tmp_path / "latchkey.db").stat().st_mode & 0o777 == 0o644  # It changes nothing.


def test_another_secret_than_that_of_the_audit_log_is_a_warning(
    run: Callable, tmp_path: Path
) -> None:
    environ = {"DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db", "SESSION_SECRET": SECRET}
    create = [
        "users",
        "create",
        "--email",
        "ada@example.com",
        "--name",
        "Ada",
        "--role",
        "admin",
        "--password-stdin",
    ]
    run_command(*create, environ=environ, stdin="engine-No.9 to the sea\n")
    other = "the secret of another host: w8Zk1yBn5Qe3Gt6U"
    expect(run(SESSION_SECRET=other), "warning  audit log: ", "SESSION_SECRET", code=0)


def test_mail_without_a_server_is_an_error(run: Callable) -> None:
    result = run(SMTP_URL="smtp://127.0.0.1:1", MAIL_FROM="a@[127.0.0.1]")
    expect(result, "error    mail: no connection to 127.0.0.1, port 1: ", "SMTP_URL", code=1)


def expect(result: CommandResult, start: str, part: str, *, code: int) -> None:
    found = [line for line in result.stdout.splitlines() if line.startswith(start)]
    assert any(part in line for line in found), result.stdout
    assert result.returncode == code


def public_settings(tmp_path: Path, **changes: str) -> Settings:
    environ = {"SESSION_SECRET": SECRET, "DATABASE_URL": f"sqlite:///{tmp_path}/latchkey.db"}
    return read_settings({**environ, **PUBLIC, **changes}, data=tmp_path)


@pytest.mark.parametrize(
    ("changes", "level", "subject", "part"),
    [
        ({"TRUSTED_PROXIES": ""}, "error", "proxy", "TRUSTED_PROXIES is not set"),
        ({"TRUSTED_PROXIES": "0.0.0.0/0"}, "error", "proxy", "trusts every client"),
        ({"HSTS": "off"}, "warning", "HSTS", "set it to host"),
        ({"WEB_CONCURRENCY": "9"}, "warning", "processes", "the one writer of SQLite"),
        ({"RATE_LIMITS": "observe"}, "warning", "rate limits", "set it to enforce"),
        ({"SMTP_URL": ""}, "warning", "settings", "nobody can reset a password"),
        ({"MAIL_FROM": ""}, "warning", "settings", "MAIL_FROM is not set"),
        (
            {"RETURN_TO": "https://app.latchkey.example"},
            "warning",
            "applications",
            "https://app.latchkey.example does not receive the session cookie",
        ),
    ],
)
def test_a_setting_that_is_wrong_for_most_public_sites_is_reported(
    tmp_path: Path, changes: dict[str, str], level: str, subject: str, part: str
) -> None:
    assert bad(check_settings(public_settings(tmp_path), cores=4)) == []
    (finding,) = bad(check_settings(public_settings(tmp_path, **changes), cores=4))
    assert (finding.level, finding.subject, part in finding.text) == (level, subject, True)


def test_the_shared_cookie_and_the_applications_are_named(tmp_path: Path) -> None:
    shared = {"BASE_URL": "https://a.latchkey.example", "COOKIE_DOMAIN": "latchkey.example"}
    settings = public_settings(tmp_path, RETURN_TO="/app,https://b.latchkey.example", **shared)
    texts = [finding.text for finding in check_settings(settings, cores=4)]
    assert bad(check_settings(settings, cores=4)) == []
    assert any("Secure; Domain=latchkey.example, so every sub-domain" in text for text in texts)
    assert "a log-in may lead back to /app, https://b.latchkey.example" in texts


def bad(findings: object) -> list[Finding]:
    return [finding for finding in findings if finding.level != "ok"]  # type: ignore[attr-defined]


def test_an_old_secret_and_an_unfinished_rotation_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET)
    path.chmod(0o600)
    changed = path.stat().st_mtime
    settings = public_settings(tmp_path, SESSION_SECRET="", SESSION_SECRET_FILE=str(path))
    environ = {"SESSION_SECRET_FILE": str(path)}

    def check(days: int) -> list[Finding]:
        return bad(check_secret(settings, environ, tmp_path, changed + days * 86_400 + 60))

    assert check(399) == []
    (old,) = check(401)
    assert ("changed 401 days ago" in old.text, old.level) == (True, "warning")
    path.write_text(f"{SECRET},the secret of another host: w8Zk1yBn5Qe3Gt6U")
    settings = public_settings(tmp_path, SESSION_SECRET="", SESSION_SECRET_FILE=str(path))
    assert check(30) == []
    (unfinished,) = check(61)
    assert "contains 2 secrets" in unfinished.text


def test_an_environment_file_that_others_can_read_is_reported(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"SESSION_SECRET={SECRET}\n")
    path.chmod(0o640)
    assert bad(check_environment_file(path)) == []
    path.chmod(0o644)
    (finding,) = bad(check_environment_file(path))
    assert finding.text.endswith(f"run chmod 600 {path}")


def test_a_nearly_full_disk_is_reported(tmp_path: Path) -> None:
    levels = [describe_disk(tmp_path, free).level for free in (2 * 10**9, 5 * 10**8, 10**7)]
    assert levels == ["ok", "warning", "error"]


def test_duplicate_revisions_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    write_revision(folder, "0001", None)
    write_revision(folder, "0001", None, name="copy")
    (finding,) = bad(check_migrations(ProductData(migrations=folder)))
    assert (finding.level, "two migrations have the revision 0001" in finding.text) == (
        "error",
        True,
    )


@pytest.mark.parametrize(
    ("texts", "level", "part"),
    [
        (["google-site-verification=1", "v=spf1 include:example.net -all"], "ok", "SPF"),
        ([], "warning", "no SPF record"),
        (None, "error", "does not exist"),
        (OSError(), "warning", "not checked"),
    ],
)
async def test_the_domain_of_the_sender_is_looked_up(
    tmp_path: Path, texts: object, level: str, part: str
) -> None:
    def read_texts(domain: str) -> list[str] | None:
        assert domain == "latchkey.example"
        if isinstance(texts, OSError):
            raise texts
        return texts  # type: ignore[return-value]

    found = [item async for item in check_mail(public_settings(tmp_path), read_texts)]
    assert [item.subject for item in found] == ["mail", "sender"]
    assert (found[1].level, part in found[1].text) == (level, True)


# The service behind a proxy, in this process.


class Proxy:
    """A reverse proxy that changes headers of requests and responses.

    `request` and `response` get a header and return its new value, or None to remove it.
    """

    def __init__(
        self,
        app: ASGIApp,
        request: Callable[[str, str], str | None] = lambda name, value: value,
        response: Callable[[str, str], str | None] = lambda name, value: value,
    ) -> None:
        self.app = app
        self.request = request
        self.response = response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = change(message["headers"], self.response)
            await send(message)

        headers = change(scope["headers"], self.request)
        await self.app({**scope, "headers": headers}, receive, send_changed)


def change(
    headers: list[tuple[bytes, bytes]], rule: Callable[[str, str], str | None]
) -> list[tuple[bytes, bytes]]:
    changed = [(name, rule(name.decode(), value.decode())) for name, value in headers]
    return [(name, value.encode()) for name, value in changed if value is not None]


def replace_client(name: str, value: str) -> str:
    """Does what the nginx example does: the client's own header never arrives."""
    return "198.51.100.7" if name == "x-forwarded-for" else value


@pytest.fixture
async def service(make_app: Callable) -> TestApp:
    return await make_app(**PUBLIC)


async def ask(app: TestApp, proxy: ASGIApp, peer: str = PROXY) -> list[Finding]:
    transport = httpx.ASGITransport(proxy, client=(peer, 50_000))
    return [item async for item in check_service(Operator(app.store), app.settings, transport)]


async def test_a_proxy_like_the_example_is_reported_as_good(service: TestApp) -> None:
    findings = await ask(service, Proxy(service.asgi_app, request=replace_client))
    assert bad(findings) == []
    assert any("198.51.100.7, and cannot choose" in finding.text for finding in findings)


@pytest.mark.parametrize(
    ("changes", "checked"),
    [
        ({"BASE_PATH": "/accounts"}, "they arrive"),
        ({"BASE_PATH": "/accounts", "SMTP_URL": ""}, "they arrive"),
        ({"SMTP_URL": "", "SIGNUP": "closed"}, "not checked"),
    ],
)
async def test_the_service_is_checked_below_its_path_and_without_mail(
    make_app: Callable, changes: dict[str, str], checked: str
) -> None:
    service = await make_app(**PUBLIC | changes)
    prefix = changes.get("BASE_PATH", "")

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"].startswith(f"{prefix}/")  # The proxy passes on no other path.
        await Proxy(service.asgi_app, request=replace_client)(scope, receive, send)

    findings = await ask(service, proxy)
    assert bad(findings) == []
    assert f"{SITE}{prefix} answers" in [finding.text for finding in findings]
    assert any(finding.text.startswith(checked) for finding in findings)


@pytest.mark.parametrize(
    ("request_rule", "response_rule", "subject", "part"),
    [
        (lambda n, v: v, None, "proxy", "a client can choose its IP address"),
        (lambda n, v: None if n == "x-forwarded-for" else v, None, "proxy", "does not arrive"),
        (
            lambda n, v: "127.0.0.1:8000" if n == "host" else replace_client(n, v),
            None,
            "proxy",
            "Host arrives as 127.0.0.1:8000 instead of latchkey.example",
        ),
        (
            lambda n, v: None if n == QUESTION_HEADER.lower() else replace_client(n, v),
            None,
            "service",
            "another SESSION_SECRET",
        ),
        (
            replace_client,
            lambda n, v: None if n == "strict-transport-security" else v,
            "HSTS",
            "does not arrive",
        ),
        (replace_client, lambda n, v: None if n == "set-cookie" else v, "cookies", "not arrive"),
        (
            replace_client,
            lambda n, v: v.replace("; Secure", "") if n == "set-cookie" else v,
            "cookies",
            "secure is missing",
        ),
    ],
)
async def test_a_mistake_of_the_proxy_is_found(
    service: TestApp,
    request_rule: Callable,
    response_rule: Callable | None,
    subject: str,
    part: str,
) -> None:
    proxy = Proxy(service.asgi_app, request_rule, response_rule or (lambda name, value: value))
    findings = bad(await ask(service, proxy))
    assert [finding.subject for finding in findings] == [subject]
    assert part in findings[0].text


async def test_a_proxy_that_is_not_trusted_is_named(service: TestApp) -> None:
    proxy = Proxy(service.asgi_app, request=replace_client)
    (finding,) = bad(await ask(service, proxy, peer="10.0.0.9"))
    assert "TRUSTED_PROXIES does not name 10.0.0.9" in finding.text


async def test_a_clock_that_differs_is_reported(service: TestApp, make_app: Callable) -> None:
    other = await make_app(now=lambda: service.clock() + timedelta(seconds=10), **PUBLIC)
    proxy = Proxy(other.asgi_app, request=replace_client)
    (finding,) = bad(await ask(service, proxy))
    assert (finding.subject, "differ by 10 seconds" in finding.text) == ("clock", True)


@pytest.mark.parametrize(
    "question",
    ["", "1", "x.y.z", "1795511520.kid.mac", "9" * 400, "１.kid.mac", f"{10**11}.kid.mac"],
)
async def test_only_a_signed_question_is_answered(service: TestApp, question: str) -> None:
    assert not diagnosis.is_signed_question(service.store, question)
    anonymous = await service.browser("Charlie")
    response = await anonymous.get("/healthz", **{QUESTION_HEADER: ascii(question)})
    assert (response.text, ANSWER_HEADER.lower() in response.headers) == ("ok\n", False)


async def test_an_old_question_and_one_of_another_secret_are_not_answered(
    service: TestApp, make_app: Callable
) -> None:
    anonymous = await service.browser("Charlie")
    other = await make_app(SESSION_SECRET="the secret of another host: w8Zk1yBn5Qe3Gt6U", **PUBLIC)
    question = diagnosis.sign_question(Operator(service.store))

    async def is_answered(text: str) -> bool:
        return (
            ANSWER_HEADER.lower()
            in (await anonymous.get("/healthz", **{QUESTION_HEADER: text})).headers
        )

    assert not await is_answered(diagnosis.sign_question(Operator(other.store)))
    assert await is_answered(question)
    service.clock.move(minutes=6)
    assert not await is_answered(question)


@pytest.mark.parametrize(
    ("status", "location", "level"),
    [
        (301, f"{SITE}/healthz", "ok"),
        (200, "", "error"),
        (301, "http://latchkey.example/healthz", "error"),
    ],
)
async def test_plain_http_must_redirect_to_https(status: int, location: str, level: str) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://latchkey.example/healthz"
        return httpx.Response(status, headers={"Location": location} if location else {})

    assert (await check_redirect(SITE, httpx.MockTransport(respond))).level == level


def test_a_certificate_that_ends_soon_is_reported() -> None:
    end = 1_800_000_000.0
    assert describe_certificate(end, end - 15 * 86_400).level == "ok"
    finding = describe_certificate(end, end - 13 * 86_400 - 60)
    assert (finding.level, "only 13 more days" in finding.text) == ("warning", True)


@needs_nginx
@pytest.mark.parametrize("is_trusted", [True, False])
async def test_the_example_of_nginx_has_no_mistake(
    migrated: Path, tmp_path: Path, is_trusted: bool
) -> None:
    shutil.copy(migrated, tmp_path / "latchkey.db")
    port, url = free_port(), f"sqlite:///{tmp_path}/latchkey.db"
    changes = {"BASE_URL": f"https://localhost:{port}", "TRUSTED_PROXIES": "127.0.0.1"}
    settings = read_settings({"SESSION_SECRET": SECRET, "DATABASE_URL": url, **changes})
    with (
        serving(url, HOST="127.0.0.1", **changes) as program,
        nginx(tmp_path, port, program.port),
    ):
        caller = Operator(open_store(settings))
        ca = str(tmp_path / "fullchain.pem") if is_trusted else None
        findings = [item async for item in check_service(caller, settings, ca=ca)]
    if is_trusted:
        # The certificate of the test ends tomorrow.
        assert [finding.text.rpartition(",")[2] for finding in bad(findings)] == [
            " only 0 more days: check its renewal"
        ]
        assert len(findings) == 6
    else:
        (finding,) = findings
        assert (finding.level, finding.subject) == ("error", "TLS")
        assert "is not valid: self-signed certificate" in finding.text
