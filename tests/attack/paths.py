"""Attack that requests hundreds of paths by every method, without a session and as a user.

No request may give access or cause an error.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tests.attack.outcome import Attack, Finding, Seen
from tests.attack.program import LATCHKEY, SECRET, Program, email_of
from tests.attack.wire import Answer, Wire
from tests.attack.wordlist import every_path

METHODS = (
    *(
        b"GET",
        b"HEAD",
        b"POST",
        b"PUT",
        b"PATCH",
        b"DELETE",
        b"OPTIONS",
        b"TRACE",
        b"CONNECT",
        b"PROPFIND",
        b"MOVE",
    ),
    *(b"LOCK", b"SEARCH", b"PURGE", b"QUERY", b"BREW", b"get", b"Post"),
)
SECRETS = (b"$argon2", b"SQLite format 3", b"root:x:0", b"Traceback", SECRET.encode())
# The metrics are available to local clients, so the requests come from another IP address.
FORWARDED = b"X-Forwarded-For: 203.0.113.9"
MAX_FINDINGS = 20  # The report has at most this number of findings.


@dataclass(frozen=True)
class Row:
    """A route in the output of `latchkey routes`: its methods, its path and its route access."""

    methods: tuple[str, ...]
    path: str
    kind: str

    def answers(self, path: str) -> bool:
        return bool(re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", self.path), path))


def rows() -> list[Row]:
    told = subprocess.run([LATCHKEY, "routes"], capture_output=True, text=True, check=True).stdout
    cells = [re.split(r"  +", line) for line in told.splitlines()]
    return [Row(tuple(methods.split(", ")), path, kind) for methods, path, kind, *_ in cells]


def version() -> str:
    return f"{len(METHODS)} methods, tests/attack/paths.py"


def strike(program: Program) -> Seen:
    table = rows()
    members = [
        filled(row, program) for row in table if row.access in ("members", "admins", "operators")
    ]
    admins = [filled(row, program) for row in table if row.access == "admins"]
    everywhere, closed = every_path(members), every_path(admins)
    findings = walk(
        program,
        everywhere,
        "an anonymous client",
        [],
        [row for row in table if row.access in ("anyone", "guests")],
    )
    member = [f"Cookie: {program.cookies['charlie']}".encode()]
    spelt = [path for path in closed if "admin" in unquote(unquote(path)).lower()]
    open_to_members = [row for row in table if row.access not in ("admins", "operators")]
    findings += walk(program, spelt, "a user", member, open_to_members)
    did = f"{len(everywhere):,} paths × {len(METHODS)} methods as an anonymous client, {len(spelt):,} paths as a user, "
    did += "each as a page and as a fragment"
    return Seen(did, findings[:MAX_FINDINGS])


def filled(row: Row, program: Program) -> str:
    return (
        row.path.replace("{id}", program.ids["bob"])
        .replace("{slug}", "bob")
        .replace("{field}", "name")
    )


def walk(
    program: Program, paths: list[str], who: str, cookie: list[bytes], allowed: list[Row]
) -> list[Finding]:
    wire, findings = Wire(program.port), []
    hidden = (*SECRETS, *(email_of(name).encode() for name in ("ada", "bob", "alice")))
    for path in paths:
        for method in METHODS:
            for extra in ([b"X-Original-URL: /healthz"], [b"HX-Request: true"]):
                answer = wire.ask(method, path.encode(), [*cookie, FORWARDED, *extra])
                for wrong in complaints(answer, method.decode(), path, allowed, hidden):
                    findings.append(
                        Finding(wrong, f"{method.decode()} {path} as {who}: {answer.status}")
                    )
    wire.close()
    return findings


def complaints(
    answer: Answer, method: str, path: str, allowed: list[Row], hidden: tuple[bytes, ...]
) -> Iterator[str]:
    if answer.is_failure:
        yield "no response, or a failure"
    if 200 <= answer.status < 300 and not any(is_open(row, method, path) for row in allowed):
        yield "a response with data for a client without access"
    if any(secret in answer.body for secret in hidden):
        yield "a secret in the response"
    if answer.status == 405 and not answer.headers.get("allow"):
        yield "405 without Allow"
    if not re.match(r"$|/(?![/\\])|http://127\.0\.0\.1:", answer.headers.get("location", "")):
        yield "redirect to another site"


def is_open(row: Row, method: str, path: str) -> bool:
    asked = "GET" if method == "HEAD" else method
    return asked in row.methods and row.answers(unquote(urlsplit(path).path))


ATTACK = Attack("paths", "off", version, strike)
