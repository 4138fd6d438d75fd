"""Contains functions that find, count and strip invisible characters and combining marks.

Python has no table of Unicode's property Default_Ignorable_Code_Point. The general category covers
most of it. BLANK covers the rest, and the few letters that display nothing.
"""

import re
import unicodedata
from typing import Final

# The limit for one letter. Vocalized Arabic, pointed Hebrew and Tibetan names need up to four.
MAX_MARKS: Final = 4
INVISIBLE_CATEGORIES: Final = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")
BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\ufe00-\ufe0f\uffa0\ufff0-\ufff8"
    "\U0001d159\U000e0000-\U000e0fff]"
)


def is_visible(character: str) -> bool:
    """Returns whether the character displays something by itself."""
    return (
        unicodedata.category(character) not in INVISIBLE_CATEGORIES
        and BLANK.match(character) is None
    )


def count_visible(text: str) -> int:
    """Returns the number of visible characters.

    An accent counts as part of its letter. The vowel signs of scripts such as Devanagari and Thai
    count separately.
    """
    return sum(
        is_visible(character) and not _is_accent(character)
        for character in unicodedata.normalize("NFC", text)
    )


def has_too_many_marks(text: str) -> bool:
    """Returns whether one letter has more than MAX_MARKS combining marks.

    Such a stack of marks would cover other lines.
    """
    marks = 0
    for character in unicodedata.normalize("NFC", text):
        category = unicodedata.category(character)
        if category in ("Mn", "Me"):
            marks += is_visible(character)
        elif category not in ("Mc", "Cf"):  # These categories neither start a letter nor stack.
            marks = 0
        if marks > MAX_MARKS:
            return True
    return False


def strip_invisible(text: str) -> str:
    """Removes invisible characters at both ends, such as those around a pasted email."""
    start, end = 0, len(text)
    while start < end and not is_visible(text[start]):
        start += 1
    while start < end and not is_visible(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_accent(character: str) -> bool:
    """Returns whether the character is a mark that is used in any script, such as U+0301."""
    return unicodedata.name(character, "").startswith("COMBINING ")
