"""Tests that every form refuses common passwords and passwords made of the user's data."""

from collections.abc import Callable
from itertools import cycle

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.crypto.passwords import Passwords
from tests.browser_client import PASSWORD, Browser, read
from tests.conftest import TestApp
from web.forms.common_passwords import (
    LIST_PATH,
    is_close,
    is_common,
    is_listed,
    spellings,
)
from web.forms.fields import TOO_CLOSE, TOO_COMMON
from web.forms.password_policy import PASSWORD_POLICIES

COMMON = [
    "P@ssw0rd",
    "Password1!",
    "qwerty123!",
    "1qaz@WSX",
    "Zaq12wsx!",
    "1q2w3e4r5t!",
    "!!Dragon77",
    "$ecret-12",
]
COMMON += [
    "iloveyou<3",
    "Welcome1!",
    "L3tmein!!",
    "$unshine1",
    "Sunsh1ne!",
    "Hell0!12",
    "trustno1!",
    "Latchkey-2026",
]
UNCOMMON = [
    "correct-horse-battery-1",
    "Blue-Kettle-42-Sings!",
    "Sup3r-secret!",
    "correct horse battery 1!",
    "engine-No.9",
]
UNCOMMON += [
    "Dragon8349201837465!",
    "my dragon is No.1",
    "password is not a good 1",
    "a1!" + "x" * 253,
    "🔑 to my house 1",
]
CLOSE = [
    "Quillworth-1815",
    "!!qu1llw0rth1",
    "Ada-Quillworth-1!",
    "ada.quillworth@1",
    "Gearloft-42!",
    "GEARLOFT_1843",
]
ADA = {"name": "Ada Quillworth", "email": "ada.quillworth@gearloft.example.com"}


def listed() -> list[str]:
    return LIST_PATH.read_text("utf-8").splitlines()


def meets_policy(policy: str, password: str) -> bool:
    return all(rule.is_met(password) for rule in PASSWORD_POLICIES[policy].rules)


def listed_for_policy(policy: str) -> list[str]:
    return [word for word in listed() if meets_policy(policy, word)]


def sample(policy: str, size: int = 12) -> list[str]:
    """Returns about `size` passwords at even distances from the whole list."""
    words = listed_for_policy(policy)
    return words[:: len(words) // size]


def message(answer: httpx.Response, id: str = "password") -> str:
    return read(answer).one(id=f"{id}-message").text.removeprefix("Error: ")


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture(params=PASSWORD_POLICIES)
def policy(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def app(make_app: Callable, policy: str) -> TestApp:
    return await make_app(PASSWORD_POLICY=policy)


# The list


@pytest.mark.asvs("S45")
def test_listed_passwords_that_meet_the_length_policy_are_refused() -> None:
    words = listed_for_policy("length")
    assert len(words) > 25_000
    assert [word for word in words if not is_common(word)] == []


@pytest.mark.asvs("S45")
def test_listed_passwords_that_meet_the_guide_policy_are_refused() -> None:
    words = listed_for_policy("guide")
    assert len(words) > 6_000
    assert [word for word in words if not (is_common(word) and is_common(word.upper()))] == []


@pytest.mark.asvs("S45")
def test_decorated_common_words_are_refused() -> None:
    words = [word for word in listed() if word.isascii() and word.isalpha() and len(word) >= 6]
    patterns = cycle(("{}1!", "{}-99", "!{}#2026"))
    decorated = [
        pattern.format(word.capitalize()) for word, pattern in zip(words, patterns, strict=False)
    ]
    assert len(words) > 10_000
    assert all(meets_policy("guide", password) for password in decorated)
    assert [password for password in decorated if not is_common(password)] == []


def test_the_password_list_is_sorted_lower_case_and_unique() -> None:
    lines = LIST_PATH.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert lines == sorted(set(lines))
    assert all(word == word.lower() for word in listed())


def test_the_search_finds_exactly_the_listed_passwords() -> None:
    words = listed()
    assert all(is_listed(word) for word in (words[0], words[-1], *words[::97]))
    listed_words = set(words)
    unlisted = [
        "",
        "\n",
        words[0] + "\n",
        words[-1] + "~",
        *(f"{word} {word}" for word in words[::997]),
        "é",
        "\U0010ffff",
    ]
    assert [word for word in unlisted if word not in listed_words and is_listed(word)] == []


def test_the_licenses_of_the_password_list_are_included() -> None:
    licenses = LIST_PATH.with_name("common_passwords.LICENSE.txt").read_text()
    for holder in (
        "Django Software Foundation",
        "Dan Wheeler and Dropbox",
        "Jonathan Ong",
        "Daniel Miessler",
    ):
        assert holder in licenses


# Refused passwords


@pytest.mark.asvs("S45")
@pytest.mark.parametrize("password", COMMON)
def test_a_common_password_is_recognized_with_decorations(password: str) -> None:
    assert is_common(password)


@pytest.mark.parametrize("password", [PASSWORD, *UNCOMMON])
def test_an_uncommon_password_is_accepted(password: str) -> None:
    assert not is_common(password)
    assert not is_close(password, **ADA)


@pytest.mark.asvs("S45")
@pytest.mark.parametrize("password", CLOSE)
def test_a_decorated_name_or_email_is_refused(password: str) -> None:
    assert is_close(password, **ADA)
    assert not is_close(password, "Alice Marrowby", "alice@tidepool.example.com")


def test_short_names_and_top_level_domains_are_not_compared() -> None:
    assert not is_close("Ada-1815!", "Ada", "ada@x.info")
    assert not is_close("Info-1815!", "Ada", "ada@x.info")
    assert not is_close("!!!!1234", "", "")


@given(st.text(max_size=256))
def test_a_password_has_at_most_20_spellings_of_at_most_its_length(
    password: str,
) -> None:
    found = list(spellings(password))
    assert len(found) <= 20
    assert max(map(len, found)) <= len(password.lower())
    assert is_common(password) in (True, False)


# The forms


@pytest.mark.asvs("S45", "S48")
@pytest.mark.parametrize("send", [Browser.post, Browser.post_fragment])
async def test_a_common_password_is_refused_by_live_check_and_sign_up(
    app: TestApp, anonymous: Browser, policy: str, send: Callable
) -> None:
    before = app.statements, app.hashes
    for password in [
        *sample(policy),
        *filter(lambda password: meets_policy(policy, password), COMMON),
    ]:
        checked = await send(anonymous, "/signup/check/password", {"password": password})
        submitted = await send(
            anonymous, "/signup", {"name": "Bob", "email": "bob@example.com", "password": password}
        )
        assert (checked.status_code, submitted.status_code) == (200, 422), password
        assert message(checked) == message(submitted) == TOO_COMMON, password
        for answer in (checked, submitted):
            field = read(answer).one("input", id="password")
            assert (field.attrs["aria-invalid"], field.attrs.get("value", "")) == ("true", "")
            assert read(answer).all("li", data_met="false") == []
            assert password not in answer.text
        assert read(submitted).one(id="error-summary").one("a", href="#password").text == TOO_COMMON
    assert (app.statements, app.hashes) == before
    assert (await app.count("users"), await app.count("sessions")) == (0, 0)


@pytest.mark.asvs("S45", "S48")
async def test_a_common_password_is_refused_by_a_password_change(
    app: TestApp, alice: Browser, policy: str
) -> None:
    before, cookie = await app.rows("SELECT * FROM users"), alice.cookie
    hashes = app.hashes
    for password in sample(policy):
        answer = await alice.post(
            "/account/password", {"current_password": PASSWORD, "password": password}
        )
        assert (answer.status_code, message(answer, "password-password")) == (422, TOO_COMMON), (
            password
        )
        assert password not in read(answer).one(id="password-form").text
    assert (await app.rows("SELECT * FROM users"), alice.cookie, app.hashes) == (
        before,
        cookie,
        hashes,
    )


@pytest.mark.asvs("S45")
async def test_the_users_name_and_email_are_refused_at_sign_up(
    app: TestApp, anonymous: Browser
) -> None:
    for password in CLOSE:
        checked = await anonymous.post("/signup/check/password", {**ADA, "password": password})
        submitted = await anonymous.post("/signup", {**ADA, "password": password})
        assert message(checked) == message(submitted) == TOO_CLOSE, password
    assert await app.count("users") == 0


@pytest.mark.asvs("S45")
async def test_the_users_name_and_email_are_refused_at_a_password_change(app: TestApp) -> None:
    alice = await app.browser("Alice Marrowby", "marram@tidepool.example.com")
    assert (await alice.sign_up()).status_code == 303
    for password in ("Marrowby-1906!", "Marram-1959!", "alicemarrowby.1", "Tidepool-2!"):
        answer = await alice.post(
            "/account/password",
            {"current_password": PASSWORD, "password": password, "name": "Bob", "email": "b@b.eu"},
        )
        assert (answer.status_code, message(answer, "password-password")) == (422, TOO_CLOSE), (
            password
        )
    answer = await alice.post(
        "/account/password", {"current_password": PASSWORD, "password": CLOSE[0]}
    )
    assert answer.status_code == 303


async def test_the_name_of_another_user_is_accepted_in_a_password(
    app: TestApp, anonymous: Browser
) -> None:
    fields = {"name": "Bob", "email": "bob@example.com", "password": CLOSE[0]}
    assert message(await anonymous.post("/signup/check/password", fields)) == ""
    assert (await anonymous.post("/signup", fields)).status_code == 303


async def test_a_password_check_ignores_names_beyond_their_maximum_length(
    app: TestApp, anonymous: Browser
) -> None:
    fields = {"name": "x" * 200 + " Quillworth", "email": "y" * 30_000, "password": CLOSE[0]}
    assert message(await anonymous.post("/signup/check/password", fields)) == ""


@pytest.mark.guide("A13")
async def test_unmet_rules_are_shown_without_another_message(
    app: TestApp, anonymous: Browser
) -> None:
    answer = await anonymous.post("/signup/check/password", {"password": "dragon"})
    assert message(answer) == ""
    assert read(answer).one("input", id="password").attrs["aria-invalid"] == "true"
    assert read(answer).all("li", data_rule="length", data_met="false")
