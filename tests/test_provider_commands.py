"""Tests of `latchkey providers check`."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from starlette.responses import JSONResponse

from tests.commands import CommandResult
from tests.lying_provider import CLIENT_SECRET, LyingProvider, serving

Run = Callable[..., CommandResult]


@pytest.fixture
def lying() -> Iterator[LyingProvider]:
    with serving(LyingProvider()) as provider:
        yield provider


def test_the_check_prints_what_the_provider_publishes(run: Run, lying: LyingProvider) -> None:
    result = run("providers", "check", BASE_URL="http://localhost:8000", **lying.settings)
    assert (result.returncode, result.stderr) == (0, "")
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert lines[0] == ["work:", lying.issuer]
    assert "http://localhost:8000/login/with/work/callback" in result.stdout
    assert "back-channel logout URI   http://localhost:8000/login/with/work/logout" in result.stdout
    assert "back-channel logout       not published" in result.stdout
    assert ["algorithms", "RS256"] in lines
    assert ["PKCE", "S256"] in lines
    assert ["keys", "1"] in lines
    assert ["clock", "correct"] in lines
    assert CLIENT_SECRET not in result.stdout


@pytest.mark.parametrize(
    ("published", "text"),
    [
        ({"backchannel_logout_session_supported": True}, "supported"),
        ({}, "supported, without `sid`"),
    ],
)
def test_the_check_says_whether_the_provider_sends_log_outs(
    run: Run, lying: LyingProvider, published: dict[str, bool], text: str
) -> None:
    published = {"backchannel_logout_supported": True, **published}
    lying.change_metadata = lambda metadata: metadata.update(published)
    result = run("providers", "check", BASE_URL="http://localhost:8000", **lying.settings)
    assert f"  back-channel logout       {text}\n" in result.stdout


def test_the_check_escapes_what_could_change_a_terminal(run: Run, lying: LyingProvider) -> None:
    algorithms = ["RS256", "\x1b[2J", "\u202e", "x" * 100_000]
    names = "id_token_signing_alg_values_supported"
    lying.change_metadata = lambda metadata: metadata.update({names: algorithms})
    result = run("providers", "check", "work", **lying.settings)
    assert (result.returncode, result.stderr) == (0, "")
    assert "RS256, \\x1b[2J, \\u202e, xxx" in result.stdout
    assert "\x1b" not in result.stdout
    assert len(result.stdout) < 20_000


def away(lying: LyingProvider) -> None:
    lying.answers["/.well-known/openid-configuration"] = JSONResponse({}, 404)


def other_issuer(lying: LyingProvider) -> None:
    lying.change_metadata = lambda metadata: metadata.update(issuer="https://other.example")


def without_keys(lying: LyingProvider) -> None:
    lying.published = []


def shared_secrets_only(lying: LyingProvider) -> None:
    names = "id_token_signing_alg_values_supported"
    lying.change_metadata = lambda metadata: metadata.update({names: ["HS256"]})


def fast_clock(lying: LyingProvider) -> None:
    lying.now = lambda: datetime.now(UTC) + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (away, "there is no metadata at this issuer (status 404)"),
        (other_issuer, "its metadata names another issuer"),
        (without_keys, "no key that Latchkey can use"),
        (shared_secrets_only, "no algorithm that Latchkey accepts"),
        (fast_clock, "the clocks differ by more than 60 s"),
    ],
)
def test_the_check_names_the_problem(
    run: Run, lying: LyingProvider, change: Callable[[LyingProvider], None], problem: str
) -> None:
    change(lying)
    result = run("providers", "check", "work", **lying.settings)
    assert (result.returncode, result.stderr) == (1, "")
    assert problem in result.stdout


def test_the_check_of_one_provider_leaves_out_the_others(run: Run, lying: LyingProvider) -> None:
    github = {"GITHUB_CLIENT_ID": "id", "GITHUB_CLIENT_SECRET": "secret"}
    settings = {**lying.settings, "PROVIDERS": "work,github", **github}
    result = run("providers", "check", "github", **settings)
    assert result.returncode == 0
    assert "github: https://github.com" in result.stdout
    assert lying.requests == []


@pytest.mark.parametrize(
    ("providers", "message"), [("", "PROVIDERS is not set"), ("work", "PROVIDERS has no other")]
)
def test_a_check_without_its_provider_fails(
    run: Run, lying: LyingProvider, providers: str, message: str
) -> None:
    result = run("providers", "check", "other", **{**lying.settings, "PROVIDERS": providers})
    assert result.returncode == 1
    assert message in result.stderr
