"""Keeps metaphors and archaic words out of names, comments, documents and messages."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORDS = re.compile(
    r"(?<![a-z])(houses?|doors?|strangers?|whoever|whomever|lest|anew|somebody|broom|dice|crowd"
    r"|meanwhile|by and by|of ours|guard dogs?|keyholes?)(?![a-z])",
    re.IGNORECASE,
)
# The front page's marketing copy, generated reports, and texts that are not the project's own.
EXCLUDED = (
    "STYLE.md",  # It has a glossary of the words to avoid.
    "db/access/audit_entries.py",  # These two read values that earlier versions wrote.
    "db/audit/log.py",
    "docs/attack.md",
    "docs/faults.md",
    "tests/",  # Test data may contain any word.
    "locale/",  # It repeats the texts of the brand, in other languages.
    "product/",  # Adopters choose their own words.
    "web/brand.py",
    "web/forms/common_passwords.txt",
    "LICENSE",
    "requirements",
    "static/htmx",
    "docs/pictures",
)


def find_words(text: str) -> list[str]:
    """Returns the forbidden words of a text, also inside snake_case and CamelCase names."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", text)
    return [found[0].lower() for found in WORDS.finditer(words)]


@pytest.mark.parametrize(
    "text", ["class House:", "def open_doors():", "the front door", "lest it fails", "HousePage"]
)
def test_a_planted_word_is_found(text: str) -> None:
    assert find_words(text)


def test_no_file_uses_a_metaphor_or_an_archaic_word() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = []
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if (
            name.startswith(EXCLUDED)
            or path.suffix in {".png", ".svg", ".ico"}
            or not path.is_file()
        ):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found += [f"{name}:{number}: {word}" for word in find_words(line)]
    assert found == []
