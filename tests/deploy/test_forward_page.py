"""Tests that docs/in-front-of-your-app.md contains the examples of deploy/forward, and is true."""

import re
from pathlib import Path

import pytest

from tests.forwarding import FORWARD
from web.settings.paths import ROOT

PAGE = (ROOT / "docs" / "in-front-of-your-app.md").read_text()
INCLUDED = re.findall(r"^`(deploy/forward/\S+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.M | re.S)
LINKED = ("caddy/subdomains.Caddyfile", "traefik/subdomains.yaml")


def examples() -> list[Path]:
    files = [*FORWARD.glob("*/*.conf"), *FORWARD.glob("caddy/*"), *FORWARD.glob("traefik/*")]
    return [*files, *FORWARD.glob("apps/*.py"), *FORWARD.glob("apps/*.mjs")]


@pytest.mark.parametrize(("name", "text"), INCLUDED)
def test_a_block_of_the_page_is_the_tested_file(name: str, text: str) -> None:
    assert text == (ROOT / name).read_text()


def test_the_page_contains_or_links_every_example() -> None:
    named = {name for name, _ in INCLUDED} | {f"deploy/forward/{name}" for name in LINKED}
    assert named == {str(path.relative_to(ROOT)) for path in examples()}
    for name in LINKED:
        assert f"(../deploy/forward/{name})" in PAGE


def test_the_headings_that_the_page_links_exist() -> None:
    headings = re.findall(r"^##+ (.+)$", PAGE, re.M)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in headings}
    assert {*re.findall(r"\]\(#([^)]+)\)", PAGE)} <= anchors


@pytest.mark.parametrize("path", examples(), ids=lambda path: path.name)
def test_an_example_listens_and_connects_on_loopback_only(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"0\.0\.0\.0|\[::\]|--bind :", text)
    assert "127.0.0.1" in text or path.name in ("check.conf", "identity.conf")
