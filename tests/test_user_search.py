"""Tests of the search key of users, and of the pattern that a search compares with it."""

import pytest

from db.user_search import fold, search_key, search_pattern


@pytest.mark.parametrize(
    ("typed", "folded"),
    [
        ("Alice", "alice"),
        ("ÄNNE", "änne"),
        ("e\u0301", "é"),
        ("Straße", "strasse"),
        ("ﬁne", "fine"),
        ("Ａｄａ", "ada"),
        ("İ", "i̇"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
    ],
)
def test_folding_removes_case_and_normalizes_characters(typed: str, folded: str) -> None:
    assert fold(typed) == folded
    assert fold(folded) == folded


def test_the_key_contains_the_name_and_each_form_of_the_email_once() -> None:
    assert search_key("Ada", "ada@example.com") == "ada\nada@example.com"
    assert search_key("Ada", "ada@xn--bcher-kva.de") == "ada\nada@xn--bcher-kva.de\nada@bücher.de"


def test_a_domain_that_is_not_valid_idna_is_unchanged() -> None:
    for domain in ("xn--a", "xn--.de", "a_b.de", "127.0.0.1", ""):
        assert search_key("Ada", f"ada@{domain}") == f"ada\nada@{domain}"


def test_wildcards_in_a_search_are_escaped_after_folding() -> None:
    assert search_pattern(" 100％_\\ ") == "%100\\%\\_\\\\%"
