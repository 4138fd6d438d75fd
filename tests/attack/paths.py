"""Contains the attack that requests hundreds of paths by every method.

It has no session or the session of a user. No request may give access or cause an error.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from tests.attack.outcome import Attack, Finding, ToolResult
from tests.attack.program import LATCHKEY, SECRET, Program, email_of
from tests.attack.raw_client import RawClient, Response
from tests.attack.wordlist import list_paths

METHODS = (
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
    b"LOCK",
    b"SEARCH",
    b"PURGE",
    b"QUERY",
    b"BREW",
    b"get",
    b"Post",
)
SECRETS = (b"$argon2", b"SQLite format 3", b"root:x:0", b"Traceback", SECRET.encode())
# Local clients may read the metrics, so the requests come from another IP address.
FORWARDED = b"X-Forwarded-For: 203.0.113.9"
MAX_FINDINGS = 20  # The report has at most this number of findings.


@dataclass(frozen=True)
class Route:
    """A route in the output of `latchkey routes`."""

    methods: tuple[str, ...]
    path: str
    access: str

    def allows(self, method: str, target: str) -> bool:
        """Returns whether the route has the method and the path of the request target."""
        if method == "HEAD":
            method = "GET"
        pattern = re.sub(r"\{\w+\}", "[^/]+", self.path)
        path = unquote(urlsplit(target).path)
        return method in self.methods and re.fullmatch(pattern, path) is not None


def list_routes() -> list[Route]:
    done = subprocess.run([LATCHKEY, "routes"], capture_output=True, text=True, check=True)
    routes = []
    for line in done.stdout.splitlines():
        methods, path, access, *_ = re.split(r"  +", line)
        routes.append(Route(tuple(methods.split(", ")), path, access))
    return routes


def describe_version() -> str:
    return f"{len(METHODS)} methods, tests/attack/paths.py"


def attack(program: Program) -> ToolResult:
    routes = list_routes()
    protected = [route for route in routes if route.access in ("members", "admins", "operators")]
    paths = list_paths([fill_path(route, program) for route in protected])
    public_routes = [route for route in routes if route.access in ("anyone", "guests")]
    findings = request_paths(program, paths, "an anonymous client", [], public_routes)
    admin_routes = [route for route in routes if route.access == "admins"]
    admin_paths = [
        path
        for path in list_paths([fill_path(route, program) for route in admin_routes])
        if "admin" in unquote(unquote(path)).lower()
    ]
    user_routes = [route for route in routes if route.access not in ("admins", "operators")]
    cookie = [f"Cookie: {program.cookies['charlie']}".encode()]
    findings += request_paths(program, admin_paths, "a user", cookie, user_routes)
    summary = (
        f"{len(paths):,} paths × {len(METHODS)} methods as an anonymous client, "
        f"{len(admin_paths):,} paths as a user, each as a page and as a fragment"
    )
    return ToolResult(summary, findings[:MAX_FINDINGS])


def fill_path(route: Route, program: Program) -> str:
    """Returns the path of the route with the values of Bob."""
    path = route.path.replace("{id}", program.ids["bob"])
    return path.replace("{slug}", "bob").replace("{field}", "name")


def request_paths(
    program: Program, paths: list[str], client_name: str, cookie: list[bytes], allowed: list[Route]
) -> list[Finding]:
    """Requests every path by every method. `allowed` are the routes that may return data."""
    client = RawClient(program.port)
    findings = []
    secrets = (*SECRETS, *(email_of(name).encode() for name in ("ada", "bob", "alice")))
    for path in paths:
        for method in METHODS:
            for header in (b"X-Original-URL: /healthz", b"HX-Request: true"):
                response = client.request(method, path.encode(), [*cookie, FORWARDED, header])
                request = f"{method.decode()} {path} as {client_name}"
                for title in find_problems(response, method.decode(), path, allowed, secrets):
                    findings.append(Finding(title, f"{request}: {response.status}"))
    client.close()
    return findings


def find_problems(
    response: Response, method: str, path: str, allowed: list[Route], secrets: tuple[bytes, ...]
) -> Iterator[str]:
    """Yields the titles of findings in a response."""
    if response.is_failure:
        yield "no response, or a failure"
    if 200 <= response.status < 300 and not any(route.allows(method, path) for route in allowed):
        yield "a response with data for a client without access"
    if any(secret in response.body for secret in secrets):
        yield "a secret in the response"
    if response.status == 405 and not response.headers.get("allow"):
        yield "405 without Allow"
    if not re.match(r"$|/(?![/\\])|http://127\.0\.0\.1:", response.headers.get("location", "")):
        yield "redirect to another site"


ATTACK = Attack("paths", "off", describe_version, attack)
