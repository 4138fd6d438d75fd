"""Tests of invisible characters and of combining marks that are stacked on one letter."""

import pytest

from web.forms.characters import count_visible, has_too_many_marks, strip_invisible

INVISIBLE = {
    "zero-width spaces": "\u200b\u200b\ufeff",
    "joiners": "\u200c\u200d\u200c",
    "bidirectional controls": "\u202a\u202e\u2066\u200f",
    "Hangul fillers": "\u3164\u115f\u1160\uffa0",
    "blank braille": "\u2800\u2800",
    "tags": "\U000e0041\U000e0042\U000e007f",
    "variation selectors": "\ufe0f\ufe0e\U000e0100",
    "soft hyphens": "\u00ad\u2060",
    "spaces": "\u00a0\u3000 \t",
    "invisible marks": "\u034f\u17b4\u180b",
}
READABLE = {
    "two letters": "Jo",
    "two ideographs": "李明",
    "a Persian name with U+200C": "مه‌سا",
    "a Hindi name with U+200D": "क्‍षमा",
    "a Malayalam name that ends with U+200D": "മോഹന്‍",
    "a Thai name of a consonant and a vowel sign": "ปู",
    "a vocalized Arabic name": "مُحَمَّدٌ",
    "a pointed Hebrew name": "שָׁלוֹם",
    "a decomposed Vietnamese name": "Nguye\u0302\u0303n Thi\u0323",
    "a Tibetan name": "སྒྲོལ་མ",
    "emoji with joiners": "👩‍🚀👨‍👩‍👧‍👦❤️",
    "flags": "🇩🇪🏴󠁧󠁢󠁳󠁣󠁴󠁿",
}


@pytest.mark.parametrize("text", INVISIBLE.values(), ids=INVISIBLE)
def test_invisible_characters_do_not_count(text: str) -> None:
    assert (count_visible(text), strip_invisible(text)) == (0, "")
    assert count_visible(f"A{text}") == 1
    assert strip_invisible(f"{text}a@b.example{text}") == "a@b.example"


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE)
def test_names_in_all_scripts_are_readable(text: str) -> None:
    assert count_visible(text) >= 2
    assert not has_too_many_marks(text)


@pytest.mark.parametrize("text", ["e\u0301", "x\u0301", "\u0301\u0301", "1\ufe0f\u20e3"])
def test_a_combining_mark_is_not_a_character(text: str) -> None:
    assert count_visible(text) < 2


def test_combining_marks_are_counted_per_letter() -> None:
    assert not has_too_many_marks("x\u0301\u0302\u0303\u0304 x\u0301\u0302\u0303\u0304")
    for hidden in ("", "\u200d", "\u034f", "\ufe0f"):
        assert has_too_many_marks("x" + f"\u0301{hidden}" * 5), repr(hidden)
    assert has_too_many_marks("ก" + "้" * 5)
