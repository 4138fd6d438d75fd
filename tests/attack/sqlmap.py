"""Contains the attack by sqlmap on forms, queries, path ids, the session cookie and two headers."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.attack import tools
from tests.attack.outcome import Attack, Finding, NotRun, ToolResult
from tests.attack.program import PASSWORD, Program, email_of
from tests.attack.vulnerable_server import serve_vulnerable

VERSION = "1.10.10"
CONCURRENT_TARGETS = 2
TARGET_SECONDS = 400
CHECK_SECONDS = 120
TOTAL_SECONDS = 1_200  # An idle machine needs 220 seconds.
OPTIONS = [
    "--batch",
    "--level=3",
    "--risk=2",
    "--disable-coloring",
    "--drop-set-cookie",
    "--flush-session",
    "--ignore-code=401,404",
    "--time-sec=2",
    "--timeout=10",
    "--retries=1",
    "--answers=resend original POST data=N",
]
INJECTABLE_PARAMETER = re.compile(r"^Parameter: (.+?)$", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """A path, and the names of the parameters that sqlmap tests.

    `user` is the logged-in user. `*` marks a tested value in the path or in the cookie. With
    `all_databases`, sqlmap sends the payloads for every database, and otherwise those for SQLite.
    """

    path: str
    parameters: str = ""
    data: str = ""
    user: str = ""
    cookie: str = ""
    all_databases: bool = False


def list_targets(program: Program) -> list[Target]:
    form, bob = f"email={email_of('bob')}&password=", program.ids["bob"]
    return [
        Target(
            "/admin/users?q=bob&page=1&sort=name", "q,page,sort", user="ada", all_databases=True
        ),
        Target("/admin/audit?q=bob&event=&outcome=&page=1", "q,event,outcome,page", user="ada"),
        Target("/account/activity?page=1", "page", user="charlie"),
        Target("/login", "email,password,next", f"{form}wrong-password-1&next=/devices"),
        Target(
            "/account",
            "name,slug,phone,viewer",
            f"name=Charlie&slug=charlie&phone=1&viewer={program.ids['charlie']}",
            "charlie",
        ),
        Target("/signup", "name,email,password,next", f"name=bob&{form}{PASSWORD}&next=/devices"),
        Target(
            "/account/password",
            "current_password,password",
            f"current_password=x&password={PASSWORD}",
            "charlie",
        ),
        *(
            Target(f"/signup/check/{name}", name, f"{name}=bob@example.com")
            for name in ("name", "email", "password")
        ),
        *(
            Target(f"/account/check/{name}", name, f"{name}=bob", "charlie")
            for name in ("name", "slug", "phone")
        ),
        Target(f"/admin/users/{bob}/team", "team", "team=engine", "ada"),
        Target(f"/admin/users/{bob}/role", "role", "role=user", "ada"),
        Target(f"/admin/users/{bob}*/team", data="team=engine", user="ada"),
        Target(f"/admin/users/{bob}*/enable", data="q=bob", user="ada"),
        Target(f"/admin/users/{bob}*", user="ada"),
        Target("/devices/x*/revoke", data="x=1", user="charlie"),
        Target("/signup/check/email*", data="email=bob@example.com"),
        Target("/users/bob*", user="charlie"),
        Target("/api/users/bob*", user="charlie"),
        Target("/login?next=/devices", "next"),
        Target("/login", "user-agent,referer", f"{form}{PASSWORD}"),
        Target("/dashboard", cookie=program.cookies["charlie"] + "*"),
        Target("/api/session", cookie="session=x*"),
    ]


def install_sqlmap() -> Path:
    return tools.install_from_pypi("sqlmap", VERSION, "sqlmap")


def read_version() -> str:
    install_sqlmap()
    return VERSION


def check_tool(folder: Path) -> str:
    """Checks that sqlmap finds a planted SQL injection. Raises NotRun if it does not."""
    with serve_vulnerable() as (url, _):
        target = ["-u", f"{url}?id=1", "-p", "id", "--dbms=SQLite"]
        command = [install_sqlmap(), *target, *OPTIONS, f"--output-dir={folder}/check"]
        output = tools.run(command, CHECK_SECONDS, folder)
    if not INJECTABLE_PARAMETER.search(output.text):
        raise NotRun(f"sqlmap does not find the planted vulnerability: {output.text[-300:]}")
    return "it finds the SQL injection in a small vulnerable server"


def attack(program: Program) -> ToolResult:
    targets = list_targets(program)
    deadline = time.monotonic() + TOTAL_SECONDS
    with ThreadPoolExecutor(CONCURRENT_TARGETS) as pool:
        outputs = list(
            pool.map(
                lambda number, target: attack_target(program, number, target, deadline),
                count(),
                targets,
            )
        )
    findings, incomplete = [], []
    for target, output in zip(targets, outputs, strict=True):
        injectable = INJECTABLE_PARAMETER.findall(output.text)
        findings += [Finding("SQL injection", f"{target.path}: {name}") for name in injectable]
        if output.is_killed:
            incomplete.append(f"{target.path.split('?')[0]} ({target.parameters or '*'})")
        elif not injectable and "all tested parameters do not appear" not in output.text:
            details = f"{target.path}: {find_error(output)}"
            findings.append(Finding("sqlmap could not test", details))
    if incomplete:
        details = ", ".join(incomplete).replace(program.ids["bob"], "{id}")
        findings.append(Finding("not completed in time", details))
    parameters = sum(target.parameters.count(",") + 1 for target in targets)
    all_databases = sum(target.all_databases for target in targets)
    summary = f"{len(targets)} targets, {parameters} parameters, level 3, risk 2"
    remark = f"Payloads for every database on {all_databases} target, for SQLite and generic ones on the others."
    return ToolResult(summary, findings, [remark])


def attack_target(
    program: Program, number: int, target: Target, deadline: float
) -> tools.ToolOutput:
    """Runs sqlmap on one target until TARGET_SECONDS have passed, or until `deadline`."""
    command: list[str | Path] = [
        install_sqlmap(),
        "-u",
        program.url + target.path,
        *OPTIONS,
        f"--output-dir={program.folder}/sqlmap-{number}",
    ]
    if target.parameters:
        command += ["-p", target.parameters]
    if target.data:
        command += ["--data", target.data]
    if cookie := target.cookie or program.cookies.get(target.user, ""):
        command += ["--cookie", cookie]
    if not target.all_databases:
        command += ["--dbms=SQLite"]
    seconds = max(1, min(TARGET_SECONDS, deadline - time.monotonic()))
    return tools.run(command, seconds, program.folder)


def find_error(output: tools.ToolOutput) -> str:
    """Returns the last error message of sqlmap, or the end of its output."""
    lines = [line for line in output.text.splitlines() if "CRITICAL" in line or "ERROR" in line]
    return (lines or [output.text[-200:]])[-1]


ATTACK = Attack("sqlmap", "off", read_version, attack, check_tool)
