"""Contains the checks for common passwords, and for passwords made of the user's name or email.

Attackers try such passwords first. `scripts/passwords` generates `common_passwords.txt`, which is
in lower case and sorted by bytes. Its licenses are in `common_passwords.LICENSE.txt`.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from web.brand import SITE_NAME

LIST_PATH: Final = Path(__file__).with_suffix(".txt")
MIN_WORD_CHARS: Final = 4  # Shorter words do not make a password weak.
# This number of characters around a word does not make the password strong. If the word is longer,
# the number is the length of the word.
MAX_ADDED_CHARS: Final = 8
SUBSTITUTIONS: Final = (
    str.maketrans("@401!3$57", "aaoiiesst"),
    str.maketrans("@401!3$57", "aaollesst"),
)
LETTERS: Final = re.compile(r"[^\W\d_]+")


def is_common(password: str, site_name: str = SITE_NAME) -> bool:
    """Returns whether one of the password's `spellings` is on the list or is the site's name.

    The name of a site is a likely password on it.
    """
    site = _remove_separators(site_name.lower())
    return any(word == site or is_listed(word) for word in spellings(password))


def is_close(password: str, name: str, email: str) -> bool:
    """Returns whether the password is a name, an email or a word of them, except for decorations.

    Words have at least four letters.
    """
    return not words_of(name, email).isdisjoint(map(_remove_separators, spellings(password)))


def spellings(password: str) -> Iterator[str]:
    """Yields the words to look up: the password in lower case, and without its decorations.

    First the punctuation at both ends is removed ("1q2w3e4r!"), then also the digits
    ("Password1!"). One character before the first letter and up to two after the last may belong to
    the word ("$ecret", "hell0"). Without digits, the usual substitutions are also undone
    ("P@ssw0rd"). Characters inside are kept, so "correct-horse-1" is one word, which is not common.

    A remainder is yielded if `is_main_part`. There are at most 20 words, none longer than the
    password, so the work grows linearly with its length.
    """
    low = password.lower()
    yield low
    yield from (spelling for spelling in _without_decorations(low) if is_main_part(spelling, low))


def is_main_part(word: str, password: str) -> bool:
    return len(word) >= MIN_WORD_CHARS and len(password) - len(word) <= max(
        MAX_ADDED_CHARS, len(word)
    )


def _without_decorations(low: str) -> Iterator[str]:
    marks = [at for at, character in enumerate(low) if character.isalnum()]
    letters = [at for at in marks if low[at].isalpha()]
    if marks:
        yield low[marks[0] : marks[-1] + 1]
    if letters:
        for start in {letters[0], max(0, letters[0] - 1)}:
            for end in range(letters[-1] + 1, letters[-1] + 4):
                yield low[start:end]
                yield from (
                    low[start:end].translate(substitutions) for substitutions in SUBSTITUTIONS
                )


def words_of(name: str, email: str) -> set[str]:
    """Returns the words that a password must not consist of.

    These are the name, the email and its local part, each without separators, and also every word
    in them. The last label of the domain ("com") is not included.
    """
    local, _, domain = email.lower().rpartition("@")
    labels = domain.rpartition(".")[0]
    whole = {_remove_separators(text) for text in (name.lower(), local, email.lower())}
    parts = LETTERS.findall(f"{name.lower()} {local} {labels}")
    return {word for word in whole.union(parts) if len(word) >= MIN_WORD_CHARS}


def _remove_separators(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def is_listed(word: str) -> bool:
    """Returns whether the word is on the list, by a binary search over its lines.

    The list takes half a megabyte as bytes and would take five as strings.
    """
    lines = _lines()
    wanted = word.encode("utf-8")
    low, high = 0, len(lines)
    while low < high:
        start = lines.rfind(b"\n", 0, (low + high) // 2) + 1
        line = lines[start : lines.index(b"\n", start)]
        if line == wanted:
            return True
        if line < wanted:
            low = start + len(line) + 1
        else:
            high = start
    return False


@cache
def _lines() -> bytes:
    """Returns the list. Reads it when the first password is chosen instead of at startup."""
    return LIST_PATH.read_bytes()
