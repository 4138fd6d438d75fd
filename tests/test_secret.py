"""Tests of Secret, whose value can be used and not shown."""

import copy
import json
import logging
import pickle
from dataclasses import dataclass

import pytest
from jinja2 import Environment

from db.crypto.secret import Secret
from db.sessions.claims import NewCookie, NewSession
from db.viewer import Me
from web.rendering.template_types import require_presentable

WAYS_TO_SHOW = {
    "str": str,
    "repr": repr,
    "format": "{}".format,
    "percent": lambda secret: "%s" % (secret,),  # noqa: UP031
    "f-string": lambda secret: f"{secret!s:>10}",
    "bytes": bytes,
    "json": json.dumps,
    "json of a list": lambda secret: json.dumps([secret]),
    "jinja": lambda secret: Environment(autoescape=True).from_string("{{ it }}").render(it=secret),
    "jinja unescaped": lambda secret: Environment().from_string("{{ it }}").render(it=secret),
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "a list's repr": lambda secret: repr([secret]),
    "change": lambda secret: setattr(secret, "_value", "other"),
}


@pytest.mark.guide("D34")
@pytest.mark.asvs("S88")
@pytest.mark.parametrize("way", WAYS_TO_SHOW, ids=str)
def test_showing_a_secret_raises_an_error(way: str) -> None:
    with pytest.raises(TypeError, match=r"cannot be displayed|not JSON serializable"):
        WAYS_TO_SHOW[way](Secret("hush"))


def test_a_secret_does_not_reach_a_log_line(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    # The logging module ignores a line that it cannot format in the same way.
    handler.handleError = lambda record: None
    logger = logging.Logger("a log")
    logger.addHandler(handler)
    logger.error("the secret is %s", Secret("hush"))
    assert "hush" not in capsys.readouterr().err


def test_a_secret_can_be_used() -> None:
    assert Secret("hush").reveal() == "hush"


@dataclass
class NamedKey:
    name: str
    key: Secret[str]


@dataclass
class KeyCollection:
    keys: list[NamedKey]
    numbers: tuple[int, ...] = (7,)


@pytest.mark.asvs("S88")
@pytest.mark.parametrize(
    "context",
    [
        {"key": Secret("k")},
        {"named_key": NamedKey("spare", Secret("k"))},
        {"collection": KeyCollection([NamedKey("spare", Secret("k"))])},
        {"deep": {"deeper": [(1, {Secret("k")})]}},
        {"session": NewSession(NewCookie(Secret("k"), 60))},
    ],
)
def test_a_template_context_with_a_nested_secret_is_refused(context: dict) -> None:
    with pytest.raises(TypeError, match="a template must not receive a Secret"):
        require_presentable(context)


def test_a_template_context_may_contain_text_numbers_and_dataclasses() -> None:
    require_presentable(
        {
            "collection": KeyCollection([]),
            "words": ["a", 1, 2.0, None],
            "me": Me("1", "Alice", "user", "alice"),
        }
    )
