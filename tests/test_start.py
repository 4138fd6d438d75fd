"""What the program loads in order to serve: no more than it needs, to start at once and to fit into little memory."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SECRET

SERVE = """
import asyncio, json, re, sys
from web.server import make_app
from web.settings import read_settings

async def serve():
    app = make_app()
    async with app.router.lifespan_context(app):
        ...

import web.cli
asyncio.run(serve())
status = open("/proc/self/status").read() if sys.platform == "linux" else "VmRSS: 0 kB"
print(json.dumps({"modules": [*sys.modules], "kilobytes": int(re.search(r"VmRSS:\\s+(\\d+)", status)[1])}))
"""
NOT_NEEDED = (
    "alembic",
    "asyncpg",
    "authlib",
    "dotenv",
    "httpx",
    "mako",
    "pydantic.networks",
    "sqlalchemy.ext.asyncio",
    "sqlalchemy.orm",
    "websockets",
)
MOST = 80 * 1024  # kilobytes


@pytest.fixture(scope="module")
def loaded(migrated: Path) -> dict:
    """The modules and the memory of a process that has just begun to serve, with SQLite."""
    environ = {"DATABASE_URL": f"sqlite:///{migrated}", "SESSION_SECRET": SECRET}
    done = subprocess.run([sys.executable, "-c", SERVE], env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.reliability("R22")
@pytest.mark.parametrize("package", NOT_NEEDED)
def test_to_serve_on_sqlite_it_does_not_load(loaded: dict, package: str) -> None:
    assert [name for name in loaded["modules"] if name == package or name.startswith(f"{package}.")] == []


@pytest.mark.reliability("R22")
def test_it_begins_to_serve_in_little_memory(loaded: dict) -> None:
    assert loaded["kilobytes"] < MOST


@pytest.mark.reliability("R22")
def test_a_start_that_finds_the_schema_does_not_load_alembic_and_one_that_does_not_makes_it(
    migrated: Path, tmp_path: Path
) -> None:
    code = """
import sys
from db.housekeeping import migrate_if_needed, require_schema
from db.secret import Secret
import asyncio

url = Secret(f"sqlite:///{sys.argv[1]}")
migrate_if_needed(url)
asyncio.run(require_schema(url))
print("alembic" in sys.modules)
"""
    for path, loads_it in ((migrated, "False\n"), (tmp_path / "new.db", "True\n")):
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.returncode) == (loads_it, 0), done.stderr
