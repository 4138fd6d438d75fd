"""Tests that the page about the guide is up to date and complete."""

import subprocess
import sys
import tomllib

import pytest

from tests.guide_coverage import ALL_MISTAKES, ALL_ROWS
from web.settings.paths import ROOT


def test_the_guide_page_is_up_to_date() -> None:
    completed = subprocess.run(
        [sys.executable, "scripts/guide", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert completed.returncode == 0, (
        f"run scripts/guide, and read what changed\n{completed.stderr}"
    )


def test_the_guide_page_lists_every_item() -> None:
    parts = tomllib.loads((ROOT / "docs" / "guide.toml").read_text())
    assert [item for part in parts.values() for item in part] == ALL_ROWS + ALL_MISTAKES


@pytest.mark.guide("A1", "A24", "B16", "D19")
def test_the_readme_explains_the_concepts_and_session_modes() -> None:
    readme = (ROOT / "README.md").read_text()
    for words in (
        "**Authentication.**",
        "**Session management.**",
        "**Authorization.**",
        "### Which sessions?",
    ):
        assert words in readme
    assert "What you would otherwise write yourself" in readme
    assert "DATA ACCESS LAYER" in (ROOT / "docs" / "architecture.md").read_text()
