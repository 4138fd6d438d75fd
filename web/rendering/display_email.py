"""Contains the function that displays an email's ASCII domain in Unicode if that cannot mislead."""

import unicodedata
from functools import lru_cache
from typing import Final

import idna

# Sets of scripts that one domain label may mix (UTS 39, "highly restrictive").
MIXTURES: Final = (
    {"LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC"},
    {"LATIN", "CJK", "HANGUL"},
    {"LATIN", "CJK", "BOPOMOFO"},
)
# Cyrillic and Greek letters that look like Latin ones. A label of these alone can copy an ASCII
# name.
LOOKALIKES: Final = frozenset("асԁеһіјӏорԛѕԝхуъЬьҽпгѵѡ" + "αικνρυωηοτγ")
# The end of Latin Extended-B. Later phonetic letters such as U+0261 look like ASCII letters.
LAST_LATIN: Final = "\u024f"


@lru_cache(1024)
def display_email(email: str) -> str:
    """Returns the email with its domain in Unicode.

    Returns the stored email if a label could be mistaken for another.
    """
    local, at, domain = email.rpartition("@")
    if "xn--" not in domain:
        return email
    try:
        labels = [_decode(label) for label in domain.split(".")]
    except idna.IDNAError:
        return email
    return local + at + ".".join(labels) if all(map(_is_unambiguous, labels)) else email


def _decode(label: str) -> str:
    """Decodes one label.

    Raises IDNAError if it is not valid under IDNA 2008 or does not encode to itself again.
    """
    decoded = idna.decode(label)
    if idna.encode(decoded).decode() != label:
        raise idna.IDNAError("this is not the canonical form of the label")
    return decoded


def _is_unambiguous(label: str) -> bool:
    """Returns whether the label is ASCII, or its letters cannot imitate an ASCII label.

    A label may mix only the scripts of an entry in MIXTURES.
    """
    if label.isascii():
        return True
    scripts = {_script(character) for character in label} - {""}
    is_latin_extended = all(
        character <= LAST_LATIN or "\u1e00" <= character <= "\u1eff" for character in label
    )
    if scripts == {"LATIN"}:
        return is_latin_extended
    if len(scripts) > 1 and not any(scripts <= mixture for mixture in MIXTURES):
        return False
    return not set(label) - set("-0123456789") <= LOOKALIKES


def _script(character: str) -> str:
    """Returns the first word of the character's name, which is its script.

    Returns an empty string for digits, hyphens and marks.
    """
    if (character.isascii() and not character.isalpha()) or unicodedata.category(
        character
    ).startswith("M"):
        return ""
    return unicodedata.name(character, "UNKNOWN").partition(" ")[0]
