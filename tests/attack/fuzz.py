"""Contains the attack by Hypothesis, which generates forms, ids, cookies, headers and framing.

No case may cause an error or give access.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.attack.outcome import Attack, Finding, NotRun, ToolResult
from tests.attack.program import PASSWORD, Program
from tests.attack.raw_client import RawClient, Response, exchange
from tests.attack.strategies import (
    CONTENT_TYPES,
    FOREIGN_HOSTS,
    FOREIGN_SITES,
    cookies,
    forms,
    framed_requests,
    headers,
    segments,
)

CASES = 10_000
COOKIE_CASES = 3_200
DEVICE_COOKIE_CASES = 200  # Each case costs a hash.
HEADER_CASES = 800
FRAMING_CASES = 300  # Each case has its own connection.
FRAMING_SECONDS = 0.15  # A response ends if no data arrives for this time.
# The path, the fields and the user of each form.
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
# The method, the path and the user of each request with a generated id or query.
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
SESSION_REQUEST = b"GET /api/session HTTP/1.1\r\nHost: localhost"
# Some generated cookies are real ones, and those cases are not counted.
CASES_PER_FORM = (CASES - 3_000) // (len(FORMS) + len(IDS)) + 1
RESPONSE_FORMATS = st.sampled_from([[], [b"HX-Request: true"], [b"Accept: application/json"]])


@dataclass
class FuzzRun:
    """The number of sent cases, and the findings, which Hypothesis reduces to small examples."""

    program: Program
    client: RawClient
    findings: list[Finding]
    cases: int = 0

    def run(self, title: str, examples: int, test: Callable[[], None]) -> None:
        """Runs `test` with generated examples and adds its failures to the findings."""
        configure = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            phases=[Phase.generate, Phase.shrink],
        )
        try:
            configure(test)()
        except AssertionError as error:
            self.add_finding(title, error)
        except BaseExceptionGroup as group:
            for error in group.exceptions:
                self.add_finding(title, error)

    def add_finding(self, title: str, error: BaseException) -> None:
        self.findings.append(Finding(title, str(error).partition("\n")[0]))

    def request(
        self,
        method: str,
        target: bytes,
        headers: list[bytes],
        body: bytes | None = None,
        hosts: list[bytes] | None = None,
    ) -> Response:
        """Sends a case. Raises AssertionError for a server error or a missing response."""
        self.cases += 1
        response = self.client.request(method.encode(), target, headers, body, hosts)
        assert not response.is_failure, f"{method} {target!r} {headers} {body!r}: {response.status}"
        return response

    def cookie_header(self, user: str) -> list[bytes]:
        """Returns no header for an empty `user`."""
        return [f"Cookie: {self.program.cookies[user]}".encode()] if user else []


def read_version() -> str:
    return version("hypothesis")


def attack(program: Program) -> ToolResult:
    fuzz_run = FuzzRun(program, RawClient(program.port), [])
    for path, names, user in FORMS:
        fuzz_form(fuzz_run, path.format(**program.ids), names, user)
    for method, path, user in IDS:
        fuzz_id(fuzz_run, method, path, user)
    form_cases = fuzz_run.cases
    fuzz_session_cookie(fuzz_run)
    fuzz_device_cookie(fuzz_run)
    cookie_cases = fuzz_run.cases - form_cases
    fuzz_headers(fuzz_run)
    header_cases = fuzz_run.cases - form_cases - cookie_cases
    fuzz_framing(fuzz_run)
    framing_cases = fuzz_run.cases - form_cases - cookie_cases - header_cases
    fuzz_run.client.close()
    findings = fuzz_run.findings
    if "Traceback" in program.read_log():
        trace = program.read_log().partition("Traceback")[2]
        findings.append(Finding("unhandled exception", trace[-300:]))
    for user, cookie in program.cookies.items():
        if program.request("GET", "/dashboard", cookie=cookie)[0] != 200:
            findings.append(Finding("a session ended during the attack", user))
    summary = (
        f"{form_cases:,} cases on {len(FORMS)} forms and {len(IDS)} ids and queries, "
        f"{cookie_cases:,} cookies, {header_cases:,} sets of headers, "
        f"{framing_cases:,} framings of a body"
    )
    return ToolResult(summary, findings)


def fuzz_form(fuzz_run: FuzzRun, path: str, names: list[str], user: str) -> None:
    """Checks that no form causes an error, and that only a sign-up starts a session."""

    @given(
        body=forms(names),
        content_type=st.sampled_from(CONTENT_TYPES),
        format_header=RESPONSE_FORMATS,
    )
    def test(body: bytes, content_type: bytes, format_header: list[bytes]) -> None:
        headers = [
            *fuzz_run.cookie_header(user),
            *format_header,
            b"Content-Type: " + content_type,
        ]
        response = fuzz_run.request("POST", path.encode(), headers, body)
        starts_session = "set-cookie" in response.headers and response.status in (204, 303)
        assert path == "/signup" or user or not starts_session, (
            f"{path} started a session: {body!r}"
        )

    fuzz_run.run(f"POST {path}", CASES_PER_FORM, test)


def fuzz_id(fuzz_run: FuzzRun, method: str, path: str, user: str) -> None:
    """Checks that no id and no query causes an error."""

    @given(segment=segments(), format_header=RESPONSE_FORMATS)
    def test(segment: bytes, format_header: list[bytes]) -> None:
        target = path.encode().replace(b"{}", segment)
        headers = [*fuzz_run.cookie_header(user), *format_header]
        fuzz_run.request(method, target, headers, b"" if method == "POST" else None)

    fuzz_run.run(f"{method} {path}", CASES_PER_FORM, test)


def fuzz_session_cookie(fuzz_run: FuzzRun) -> None:
    """Checks that no modified session cookie gives access."""
    real_cookies = [fuzz_run.program.cookies[user] for user in ("ada", "charlie")]
    real_values = {cookie.partition("=")[2] for cookie in real_cookies}

    @given(
        line=cookies(real_cookies),
        path=st.sampled_from([b"/api/session", b"/dashboard", b"/admin/users"]),
    )
    def test(line: bytes, path: bytes) -> None:
        if real_values.intersection(cookie_values(line)):
            return  # The line contains a real cookie, which may give access.
        response = fuzz_run.request("GET", path, [b"Cookie: " + line])
        assert response.status in (303, 400, 401, 431), (
            f"{path!r} gives access with {line!r}: {response.status}"
        )

    fuzz_run.run("the session cookie", COOKIE_CASES, test)


def fuzz_device_cookie(fuzz_run: FuzzRun) -> None:
    """Checks that no device cookie makes a wrong password valid."""
    real_cookies = [fuzz_run.program.cookies[user] for user in ("ada", "charlie")]
    form = b"email=charlie@example.com&password=wrong-password-1"

    @given(line=cookies(real_cookies))
    def test(line: bytes) -> None:
        headers = [
            b"Cookie: " + line.replace(b"session=", b"device="),
            b"Content-Type: application/x-www-form-urlencoded",
        ]
        response = fuzz_run.request("POST", b"/login", headers, form)
        assert response.status in (400, 422, 431), f"/login with {line!r}: {response.status}"

    fuzz_run.run("the device cookie", DEVICE_COOKIE_CASES, test)


def fuzz_headers(fuzz_run: FuzzRun) -> None:
    """Checks that no header causes an error.

    The program must refuse other hosts and cross-site forms, with any other headers.
    """
    session = fuzz_run.cookie_header("charlie")

    @given(
        lines=headers(),
        cookie=st.sampled_from([[], session]),
        hosts=st.none() | st.sampled_from(FOREIGN_HOSTS),
    )
    def test_page(lines: list[bytes], cookie: list[bytes], hosts: list[bytes] | None) -> None:
        path = b"/dashboard" if cookie else b"/login"
        response = fuzz_run.request("GET", path, [*cookie, *lines], hosts=hosts)
        assert hosts is None or response.status in (400, 431), (
            f"{hosts} with {lines}: {response.status}"
        )

    @given(lines=headers(), foreign=st.just([]) | st.sampled_from(FOREIGN_SITES))
    def test_form(lines: list[bytes], foreign: list[bytes]) -> None:
        content_type = b"Content-Type: application/x-www-form-urlencoded"
        all_headers = [*session, content_type, *foreign, *lines]
        response = fuzz_run.request("POST", b"/account/check/name", all_headers, b"name=Charlie")
        assert not foreign or response.status in (400, 403, 431), (
            f"{foreign} with {lines}: {response.status}"
        )

    fuzz_run.run("the headers of a page", HEADER_CASES // 2, test_page)
    fuzz_run.run("the headers of a form", HEADER_CASES // 2, test_form)


def fuzz_framing(fuzz_run: FuzzRun) -> None:
    """Checks that a cookie in a trailer gives no access and that no framing causes an error."""
    port = fuzz_run.program.port
    cookie = fuzz_run.program.cookies["charlie"].encode()

    @given(raw=framed_requests(SESSION_REQUEST, b"Cookie: " + cookie))
    def test(raw: bytes) -> None:
        fuzz_run.cases += 1
        responses = exchange(port, raw, FRAMING_SECONDS)
        assert not contains_user(responses), f"a trailer gives access to a session: {raw!r}"
        server_errors = re.findall(rb"HTTP/1.1 5\d\d", responses)
        assert not server_errors, f"{raw!r}: {server_errors}"

    fuzz_run.run("the framing of a body", FRAMING_CASES, test)


def contains_user(responses: bytes) -> bool:
    return b'"charlie"' in responses


def check_tool(folder: Path) -> str:
    """Checks that valid requests get the responses that the attack detects.

    Raises NotRun if they do not.
    """
    program = Program(folder / "valid", "off")
    program.folder.mkdir()
    try:
        program.start()
        cookie = b"Cookie: " + program.cookies["charlie"].encode()
        raw = b"\r\n".join([SESSION_REQUEST, cookie, b"", b""])
        if not contains_user(exchange(program.port, raw, 1)):
            raise NotRun(
                "a session in a header has no effect, so the effect of a trailer would not be noticed"
            )
        content_type = b"Content-Type: application/x-www-form-urlencoded"
        log_in = f"email=charlie@example.com&password={PASSWORD}".encode()
        client = RawClient(program.port)
        responses = [
            client.request(b"GET", b"/login"),
            client.request(b"GET", b"/dashboard", [cookie]),
            client.request(
                b"POST", b"/account/check/name", [cookie, content_type], b"name=Charlie"
            ),
            client.request(b"POST", b"/login", [content_type], log_in),
        ]
        client.close()
        statuses = [response.status for response in responses]
        if statuses != [200, 200, 200, 303]:
            raise NotRun(f"valid requests get unexpected responses: {statuses}")
    finally:
        program.stop()
    return "it accepts a session in a header, the site's own host and form, and the right password"


def cookie_values(line: bytes) -> Iterator[str]:
    return (part.partition("=")[2].strip() for part in line.decode("latin-1").split(";"))


ATTACK = Attack("hypothesis", "off", read_version, attack, check_tool)
