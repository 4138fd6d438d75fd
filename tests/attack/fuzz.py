"""Attack by Hypothesis, which generates forms, ids, cookies, headers and framing.

No case may cause an error or give access.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.attack.bodies import (
    FOREIGN_HOSTS,
    FOREIGN_SITES,
    TYPES,
    cookies,
    forms,
    framed,
    headers,
    segments,
)
from tests.attack.outcome import Attack, Finding, NotRun, Seen
from tests.attack.program import PASSWORD, Program
from tests.attack.wire import Answer, Wire, exchange

CASES = 10_000
OF_COOKIES = 3_200
OF_DEVICE_COOKIES = 200  # Each case costs a hash.
OF_HEADERS = 800
OF_FRAMES = 300  # Each case has its own connection.
FRAME_SECONDS = 0.15  # An answer ends if no data arrives for this time.
FORMS = (
    ("/signup", ["name", "email", "password", "next"], ""),
    ("/signup/check/name", ["name"], ""),
    ("/signup/check/email", ["email"], ""),
    ("/signup/check/password", ["password", "name", "email"], ""),
    ("/login", ["email", "password", "next"], ""),
    ("/account", ["name", "slug", "phone"], "charlie"),
    ("/account/check/name", ["name"], "charlie"),
    ("/account/check/slug", ["slug"], "charlie"),
    ("/account/check/phone", ["phone"], "charlie"),
    ("/account/password", ["current_password", "password"], "charlie"),
    ("/admin/users/{bob}/role", ["role", "q", "page", "sort"], "ada"),
    ("/admin/users/{bob}/team", ["team", "q", "page", "sort"], "ada"),
    ("/admin/users/{bob}/enable", ["q", "page", "sort"], "ada"),
)
IDS = (
    ("GET", "/users/{}", "charlie"),
    ("GET", "/api/users/{}", "charlie"),
    ("GET", "/static/{}", ""),
    ("GET", "/login?next={}", ""),
    ("GET", "/admin/users?q={}&page={}&sort={}", "ada"),
    ("GET", "/admin/audit?q={}&event={}&outcome={}&page={}", "ada"),
    ("GET", "/account/activity?page={}", "charlie"),
    ("POST", "/signup/check/{}", ""),
    ("POST", "/account/check/{}", "charlie"),
    ("POST", "/devices/{}/revoke", "charlie"),
    ("GET", "/admin/users/{}?q={}&page={}&sort={}", "ada"),
    ("POST", "/admin/users/{}/team", "ada"),
    ("POST", "/admin/users/{}/end-sessions", "ada"),
    ("POST", "/admin/users/{}/role", "ada"),
    ("POST", "/admin/users/{}/disable", "ada"),
)
SESSION_OF = b"GET /api/session HTTP/1.1\r\nHost: localhost"
# Some generated cookies are real ones, and those cases are not counted.
EACH = (CASES - 3_000) // (len(FORMS) + len(IDS)) + 1
WAYS = st.sampled_from([[], [b"HX-Request: true"], [b"Accept: application/json"]])


@dataclass
class FuzzRun:
    """The number of tried cases, and the findings, which Hypothesis reduces to small examples."""

    program: Program
    wire: Wire
    findings: list[Finding]
    number: int = 0

    def run(self, name: str, examples: int, test: Callable[[], None]) -> None:
        """Runs `test` with generated examples and adds its failures to the findings."""
        quiet = list(HealthCheck)
        given_settings = settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=quiet, print_blob=False,
            phases=[Phase.generate, Phase.shrink],
        )  # fmt: skip
        try:
            given_settings(test)()
        except AssertionError as wrong:
            self.findings.append(Finding(name, str(wrong).partition("\n")[0]))
        except BaseExceptionGroup as several:
            self.findings += [
                Finding(name, str(wrong).partition("\n")[0]) for wrong in several.exceptions
            ]

    def ask(
        self,
        method: str,
        target: bytes,
        headers: list[bytes],
        body: bytes | None = None,
        hosts: list[bytes] | None = None,
    ) -> Answer:
        self.number += 1
        answer = self.wire.ask(method.encode(), target, headers, body, hosts)
        assert not answer.is_failure, f"{method} {target!r} {headers} {body!r}: {answer.status}"
        return answer

    def cookie(self, who: str) -> list[bytes]:
        return [f"Cookie: {self.program.cookies[who]}".encode()] if who else []


def version() -> str:
    return version_of("hypothesis")


def strike(program: Program) -> Seen:
    fuzz_run = FuzzRun(program, Wire(program.port), [])
    for path, names, who in FORMS:
        fuzz_form(fuzz_run, path.format(**program.ids), names, who)
    for method, path, who in IDS:
        fuzz_id(fuzz_run, method, path, who)
    in_forms = fuzz_run.number
    fuzz_cookie(fuzz_run)
    fuzz_device_cookie(fuzz_run)
    in_cookies = fuzz_run.number - in_forms
    fuzz_headers(fuzz_run)
    in_headers = fuzz_run.number - in_forms - in_cookies
    fuzz_frames(fuzz_run)
    fuzz_run.wire.close()
    if "Traceback" in program.logged():
        told = program.logged().partition("Traceback")[2]
        fuzz_run.findings.append(Finding("unhandled exception", told[-300:]))
    still = [
        who
        for who in program.cookies
        if program.ask("GET", "/dashboard", cookie=program.cookies[who])[0] != 200
    ]
    fuzz_run.findings += [Finding("a session ended during the attack", who) for who in still]
    did = f"{in_forms:,} cases on {len(FORMS)} forms and {len(IDS)} ids and queries, {in_cookies:,} cookies, "
    did += f"{in_headers:,} sets of headers, {fuzz_run.number - in_forms - in_cookies - in_headers:,} framings of a body"
    return Seen(did, fuzz_run.findings)


def fuzz_form(fuzz_run: FuzzRun, path: str, names: list[str], who: str) -> None:
    @given(body=forms(names), kind=st.sampled_from(TYPES), way=WAYS)
    def test(body: bytes, kind: bytes, way: list[bytes]) -> None:
        headers = [*fuzz_run.cookie(who), *way, b"Content-Type: " + kind]
        answer = fuzz_run.ask("POST", path.encode(), headers, body)
        opened = "set-cookie" in answer.headers and answer.status in (204, 303) and not who
        assert path == "/signup" or not opened, f"{path} started a session: {body!r}"

    fuzz_run.run(f"POST {path}", EACH, test)


def fuzz_id(fuzz_run: FuzzRun, method: str, path: str, who: str) -> None:
    @given(segment=segments(), way=WAYS)
    def test(segment: bytes, way: list[bytes]) -> None:
        target = path.encode().replace(b"{}", segment)
        fuzz_run.ask(
            method, target, [*fuzz_run.cookie(who), *way], b"" if method == "POST" else None
        )

    fuzz_run.run(f"{method} {path}", EACH, test)


def fuzz_cookie(fuzz_run: FuzzRun) -> None:
    real = [fuzz_run.program.cookies[who] for who in ("ada", "charlie")]
    known = {cookie.partition("=")[2] for cookie in real}

    @given(
        line=cookies(real), path=st.sampled_from([b"/api/session", b"/dashboard", b"/admin/users"])
    )
    def test(line: bytes, path: bytes) -> None:
        if set(values(line)) & known:
            return  # The line contains a real cookie, which may give access.
        answer = fuzz_run.ask("GET", path, [b"Cookie: " + line])
        assert answer.status in (303, 400, 401, 431), (
            f"{path!r} opens with {line!r}: {answer.status}"
        )

    fuzz_run.run("the cookie", OF_COOKIES, test)


def fuzz_device_cookie(fuzz_run: FuzzRun) -> None:
    """Checks that no device cookie makes a wrong password valid."""
    real = [fuzz_run.program.cookies[who] for who in ("ada", "charlie")]
    form = b"email=charlie@example.com&password=wrong-password-1"

    @given(line=cookies(real))
    def test(line: bytes) -> None:
        headers = [
            b"Cookie: " + line.replace(b"session=", b"device="),
            b"Content-Type: application/x-www-form-urlencoded",
        ]
        answer = fuzz_run.ask("POST", b"/login", headers, form)
        assert answer.status in (400, 422, 431), f"/login with {line!r}: {answer.status}"

    fuzz_run.run("the device cookie", OF_DEVICE_COOKIES, test)


def fuzz_headers(fuzz_run: FuzzRun) -> None:
    """Checks that no header causes an error.

    Whatever the other headers are, other hosts and cross-site forms must be refused.
    """
    charlie = fuzz_run.cookie("charlie")

    @given(
        lines=headers(),
        who=st.sampled_from([[], charlie]),
        hosts=st.none() | st.sampled_from(FOREIGN_HOSTS),
    )
    def test_page(lines: list[bytes], who: list[bytes], hosts: list[bytes] | None) -> None:
        answer = fuzz_run.ask(
            "GET", b"/login" if not who else b"/dashboard", [*who, *lines], hosts=hosts
        )
        assert hosts is None or answer.status in (400, 431), (
            f"{hosts} with {lines}: {answer.status}"
        )

    @given(lines=headers(), foreign=st.just([]) | st.sampled_from(FOREIGN_SITES))
    def test_form(lines: list[bytes], foreign: list[bytes]) -> None:
        kind = b"Content-Type: application/x-www-form-urlencoded"
        answer = fuzz_run.ask(
            "POST", b"/account/check/name", [*charlie, kind, *foreign, *lines], b"name=Charlie"
        )
        assert not foreign or answer.status in (400, 403, 431), (
            f"{foreign} with {lines}: {answer.status}"
        )

    fuzz_run.run("the headers of a page", OF_HEADERS // 2, test_page)
    fuzz_run.run("the headers of a form", OF_HEADERS // 2, test_form)


def fuzz_frames(fuzz_run: FuzzRun) -> None:
    """Checks that a cookie in a trailer gives no access and that no framing causes an error."""
    port, cookie = fuzz_run.program.port, fuzz_run.program.cookies["charlie"].encode()

    @given(raw=framed(SESSION_OF, b"Cookie: " + cookie))
    def test(raw: bytes) -> None:
        fuzz_run.number += 1
        answers = exchange(port, raw, FRAME_SECONDS)
        assert not opens(answers), f"a trailer opened a session: {raw!r}"
        failed = re.findall(rb"HTTP/1.1 5\d\d", answers)
        assert not failed, f"{raw!r}: {failed}"

    fuzz_run.run("the framing of a body", OF_FRAMES, test)


def opens(answers: bytes) -> bool:
    """Returns whether an answer contains the user of the session."""
    return b'"charlie"' in answers


def prove(folder: Path) -> str:
    """Checks that correct requests get the answers that the attack looks for.

    Raises NotRun if they do not.
    """
    program = Program(folder / "unharmed", "off")
    program.folder.mkdir()
    try:
        program.open()
        charlie = b"Cookie: " + program.cookies["charlie"].encode()
        if not opens(exchange(program.port, b"\r\n".join([SESSION_OF, charlie, b"", b""]), 1)):
            raise NotRun(
                "a session in a header has no effect, so the effect of a trailer would not be noticed"
            )
        form = [charlie, b"Content-Type: application/x-www-form-urlencoded"]
        wire = Wire(program.port)
        seen = [
            wire.ask(b"GET", b"/login").status,
            wire.ask(b"GET", b"/dashboard", [charlie]).status,
            wire.ask(b"POST", b"/account/check/name", form, b"name=Charlie").status,
            wire.ask(
                b"POST",
                b"/login",
                form[1:],
                f"email=charlie@example.com&password={PASSWORD}".encode(),
            ).status,
        ]
        wire.close()
        if seen != [200, 200, 200, 303]:
            raise NotRun(f"valid requests get unexpected responses: {seen}")
    finally:
        program.close()
    return "it accepts a session in a header, the site's own host and form, and the right password"


def values(line: bytes) -> Iterator[str]:
    return (part.partition("=")[2].strip() for part in line.decode("latin-1").split(";"))


ATTACK = Attack("hypothesis", "off", version, strike, prove)
