"""Passwords that many people have, and those made of one's own name or address: the first that
anybody tries.

`common_passwords.txt` is sorted by bytes, in lower case, and made by `scripts/passwords`; its
licences stand beside it.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

LIST_PATH: Final = Path(__file__).with_suffix(".txt")
SITE_NAME: Final = "latchkey"  # in lower case; a likely password on this site
MIN_WORD_CHARS: Final = 4  # letters of a word that makes a password weak
# characters that may be hung on a word and still add nothing, or as many as it has itself
MAX_ADDED_CHARS: Final = 8
SUBSTITUTIONS: Final = (
    str.maketrans("@401!3$57", "aaoiiesst"),
    str.maketrans("@401!3$57", "aaollesst"),
)
LETTERS: Final = re.compile(r"[^\W\d_]+")


def is_common(password: str) -> bool:
    """Whether it is on the list, or the site's name, as it stands or under its ornaments
    (`spellings`).
    """
    return any(word == SITE_NAME or is_listed(word) for word in spellings(password))


def is_close(password: str, name: str, email: str) -> bool:
    """Whether nothing but ornaments tells it from a name or an address, whole or a part of four
    letters and more.
    """
    return not words_of(name, email).isdisjoint(map(_joined, spellings(password)))


def spellings(password: str) -> Iterator[str]:
    """What may be on the list: the password in lower case, and what remains without its ornaments.

    First less the punctuation at both ends ("1q2w3e4r!"), then less digits too ("Password1!"),
    where one character before the first letter and two after the last may belong to the word
    ("$ecret", "hell0"); each of these also with the usual disguises undone ("P@ssw0rd"). What
    stands inside stays: "correct-horse-1" is one word that nobody has. A remainder counts if it has
    four characters, and at most eight, or as many as it has itself, stood around it. Never more
    than twenty spellings, none longer than the password: the work grows with its length, and no
    faster.
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
                yield from (low[start:end].translate(disguise) for disguise in SUBSTITUTIONS)


def words_of(name: str, email: str) -> set[str]:
    """A name, an address and its local part, without what separates their words, and each of these
    words.

    Of the domain everything but its end ("com").
    """
    local, _, domain = email.lower().rpartition("@")
    labels = domain.rpartition(".")[0]
    whole = {_joined(text) for text in (name.lower(), local, email.lower())}
    parts = LETTERS.findall(f"{name.lower()} {local} {labels}")
    return {word for word in whole.union(parts) if len(word) >= MIN_WORD_CHARS}


def _joined(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def is_listed(word: str) -> bool:
    """A binary search over the lines of the list: as bytes it takes half a megabyte, as strings it
    would take five.
    """
    lines, wanted = _lines(), word.encode("utf-8")
    low, high = 0, len(lines)
    while low < high:
        start = lines.rfind(b"\n", 0, (low + high) // 2) + 1
        line = lines[start : lines.index(b"\n", start)]
        if line == wanted:
            return True
        low, high = (start + len(line) + 1, high) if line < wanted else (low, start)
    return False


@cache
def _lines() -> bytes:
    """Read when the first password is chosen, not at the start."""
    return LIST_PATH.read_bytes()
