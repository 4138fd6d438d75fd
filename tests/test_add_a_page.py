"""Tests docs/add-a-page.md: the code on that page works in a copy of the application."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SECRET
from web.settings.paths import ROOT

VISIT = """
import asyncio, httpx
from db.maintenance.schema import migrate
from web.app import create_app
from web.settings.settings import read_settings
import os

async def visit():
    settings = read_settings(os.environ)
    migrate(settings.database_url)
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=settings.base_url) as alice:
            redirect = await alice.get("/team")
            print(redirect.status_code, redirect.headers["location"])
            await alice.post("/signup", data={"name": "Alice", "email": "alice@example.com", "password": "engine-No.9"})
            await app.state.store.database.execute("UPDATE users SET team = 'Harbour'")
            page = await alice.get("/team")
            print(page.status_code, ">Alice</a></li>" in page.text, "<h1 tabindex=\\"-1\\">Team</h1>" in page.text)

asyncio.run(visit())
"""


@pytest.fixture
def blocks() -> dict[str, str]:
    """Returns the text of each code block of the document, by the path of its file."""
    page = (ROOT / "docs" / "add-a-page.md").read_text()
    found = re.findall(r"```\w+\n(?:# (\S+)|\{# (\S+) #\})\n(.*?)```", page, re.S)
    return {plain or jinja: text for plain, jinja, text in found}


def test_the_example_code_has_at_most_40_lines(blocks: dict[str, str]) -> None:
    assert (
        sum(len([line for line in text.splitlines() if line.strip()]) for text in blocks.values())
        <= 40
    )


def test_the_example_page_works_and_requires_login(blocks: dict[str, str], tmp_path: Path) -> None:
    for folder in ("web", "db", "partials", "static"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    route = blocks.pop("web/routes.py")
    for path, text in blocks.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    routes = (tmp_path / "web" / "routes.py").read_text()
    routes = routes.replace("routes = [\n", f"routes = [\n{route}").replace(
        "    signup,\n    users,\n", "    signup,\n    team,\n    users,\n"
    )
    (tmp_path / "web" / "routes.py").write_text(routes)

    environ = {
        "PYTHONPATH": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path}/x.db",
        "SESSION_SECRET": SECRET,
    }
    completed = subprocess.run(
        [sys.executable, "-c", VISIT],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert completed.stdout.splitlines() == ["303 /login?next=/team", "200 True True"], (
        completed.stderr
    )
