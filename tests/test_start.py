"""Tests of the start: imported modules, memory, and the report that the program is ready."""

import json
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.databases import PostgresServer
from tests.environment import ENVIRON, environ_of
from tests.privileges import needs_setpriv, without
from tests.processes import free_port

SERVE = """
import asyncio, json, re, sys
from web.server.runner import make_app
from web.settings.settings import read_settings

async def serve():
    app = make_app()
    async with app.router.lifespan_context(app):
        ...

import web.cli.main
asyncio.run(serve())
status = open("/proc/self/status").read() if sys.platform == "linux" else "VmRSS: 0 kB"
print(json.dumps({"modules": [*sys.modules], "kilobytes": int(re.search(r"VmRSS:\\s+(\\d+)", status)[1])}))
"""
NOT_NEEDED = (
    "alembic",
    "asyncpg",
    "authlib",
    "babel",
    "cbor2",
    "dotenv",
    "httpx",
    "mako",
    "pydantic.networks",
    "pyotp",
    "segno",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
    "webauthn",
    "websockets",
)
LATCHKEY = Path(sys.executable).parent / "latchkey"
MAX_MEMORY_KB = 87 * 1024  # cryptography imports bcrypt if it is installed, which takes 0.5 MB.


@pytest.fixture(scope="module")
def loaded(migrated: Path) -> dict:
    """Returns the modules and the memory of a process that has started to serve with SQLite."""
    completed = subprocess.run(
        [sys.executable, "-c", SERVE],
        env=environ_of(migrated),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


@pytest.mark.reliability("R22")
@pytest.mark.parametrize("package", NOT_NEEDED)
def test_serving_with_sqlite_does_not_import(loaded: dict, package: str) -> None:
    assert [
        name for name in loaded["modules"] if name == package or name.startswith(f"{package}.")
    ] == []


@pytest.mark.reliability("R22")
def test_memory_at_startup_is_below_the_limit(loaded: dict) -> None:
    assert loaded["kilobytes"] < MAX_MEMORY_KB


@contextmanager
def starting(database_url: str, *before: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Starts `latchkey serve` without waiting until it is ready."""
    settings = {**ENVIRON, "DATABASE_URL": database_url, "PORT": str(free_port()), **environ}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*before, str(LATCHKEY), "serve"], env=settings, stdout=pipe, stderr=pipe, text=True
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.mark.parametrize("workers", ["", " "])
def test_an_empty_number_of_processes_is_accepted(migrated: Path, workers: str) -> None:
    with starting(f"sqlite:///{migrated}", WEB_CONCURRENCY=workers) as process:
        assert "is ready at http://localhost:" in process.stdout.readline()


@needs_setpriv
@pytest.mark.asvs("S39")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_program_is_ready_only_when_its_database_can_be_opened(
    migrated: Path, tmp_path: Path, workers: str
) -> None:
    """Checks that the log names the file, its owner and its mode."""
    path = tmp_path / "latchkey.db"
    path.write_bytes(migrated.read_bytes())
    path.chmod(0o000)
    with starting(
        f"sqlite:///{path}", *without("dac_override", "dac_read_search"), WEB_CONCURRENCY=workers
    ) as process:
        line = process.stderr.readline()
        assert f"the database cannot be used: {path}: permission denied (owner " in line
        assert "mode 0000; this program runs as " in line
        assert select.select([process.stdout], [], [], 0.5)[0] == []
        path.chmod(0o600)
        assert "is ready at http://localhost:" in process.stdout.readline()


@needs_setpriv
@pytest.mark.asvs("S39")
def test_a_read_only_database_is_not_reported_as_ready(migrated: Path, tmp_path: Path) -> None:
    path = tmp_path / "latchkey.db"
    path.write_bytes(migrated.read_bytes())
    path.chmod(0o400)
    with starting(f"sqlite:///{path}", *without("dac_override", "dac_read_search")) as process:
        assert f"{path}: permission denied (owner " in process.stderr.readline()
        assert select.select([process.stdout], [], [], 0.5)[0] == []


@pytest.mark.asvs("S39")
@pytest.mark.parametrize(
    ("url", "why"),
    [
        (
            "postgresql://me:canary@nowhere.invalid/x",
            "the host name nowhere.invalid does not resolve",
        ),
        ("postgresql://me:canary@127.0.0.1:1/x", "the database does not answer: "),
        ("{server}?sslmode=require", "the server offers no TLS, which DATABASE_URL requires"),
    ],
)
def test_an_unusable_database_server_is_logged_with_its_cause(
    postgres_server: PostgresServer, url: str, why: str
) -> None:
    with starting(url.format(server=postgres_server.url_of("postgres"))) as process:
        line = process.stderr.readline()
        assert (why in line, "canary" in line) == (True, False), line
        assert select.select([process.stdout], [], [], 0.5)[0] == []


@pytest.mark.reliability("R22")
def test_alembic_is_imported_only_when_the_schema_is_missing(
    migrated: Path, tmp_path: Path
) -> None:
    code = """
import sys
from db.maintenance.schema import migrate_if_needed
from db.maintenance.startup import require_schema
from db.crypto.secret import Secret
import asyncio

url = Secret(f"sqlite:///{sys.argv[1]}")
migrate_if_needed(url)
asyncio.run(require_schema(url))
print("alembic" in sys.modules)
"""
    for path, expected in ((migrated, "False\n"), (tmp_path / "new.db", "True\n")):
        completed = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60
        )
        assert (completed.stdout, completed.returncode) == (expected, 0), completed.stderr
