"""Attack by sqlmap on every parameter: forms, queries, path ids, the cookie and two headers."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.attack import tools
from tests.attack.outcome import Attack, Finding, NotRun, Seen
from tests.attack.planted import planted
from tests.attack.program import PASSWORD, Program, email_of

VERSION = "1.10.10"
AT_ONCE = 2
TIMEOUT_SECONDS = 400  # seconds for one target
IN_ALL = 1_200  # seconds, of which an idle machine needs 220
SETTINGS = [
    "--batch",
    "--level=3",
    "--risk=2",
    "--disable-coloring",
    "--drop-set-cookie",
    "--flush-session",
]
SETTINGS += [
    "--ignore-code=401,404",
    "--time-sec=2",
    "--timeout=10",
    "--retries=1",
    "--answers=resend original POST data=N",
]
HIT = re.compile(r"^Parameter: (.+?)$", re.MULTILINE)


@dataclass(frozen=True)
class Target:
    """A URL and the names of the parameters that sqlmap tests.

    `*` marks a tested id in the path or in the cookie. With `every_kind`, the payloads are those
    for every database, and otherwise those for SQLite.
    """

    path: str
    parameters: str = ""
    data: str = ""
    who: str = ""
    cookie: str = ""
    every_kind: bool = False


def targets(program: Program) -> list[Target]:
    form, bob = f"email={email_of('bob')}&password=", program.ids["bob"]
    return [
        Target("/admin/users?q=bob&page=1&sort=name", "q,page,sort", who="ada", every_kind=True),
        Target("/admin/audit?q=bob&event=&outcome=&page=1", "q,event,outcome,page", who="ada"),
        Target("/account/activity?page=1", "page", who="charlie"),
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
        Target(f"/admin/users/{bob}*/team", data="team=engine", who="ada"),
        Target(f"/admin/users/{bob}*/enable", data="q=bob", who="ada"),
        Target(f"/admin/users/{bob}*", who="ada"),
        Target("/devices/x*/revoke", data="x=1", who="charlie"),
        Target("/signup/check/email*", data="email=bob@example.com"),
        Target("/users/bob*", who="charlie"),
        Target("/api/users/bob*", who="charlie"),
        Target("/login?next=/devices", "next"),
        Target("/login", "user-agent,referer", f"{form}{PASSWORD}"),
        Target("/dashboard", cookie=program.cookies["charlie"] + "*"),
        Target("/api/session", cookie="session=x*"),
    ]


def program() -> Path:
    return tools.from_pypi("sqlmap", VERSION, "sqlmap")


def version() -> str:
    program()
    return VERSION


def prove(folder: Path) -> str:
    with planted() as (url, _):
        done = tools.run(
            [
                program(),
                "-u",
                f"{url}?id=1",
                "-p",
                "id",
                "--dbms=SQLite",
                *SETTINGS,
                f"--output-dir={folder}/proof",
            ],
            120,
            folder,
        )
    if not HIT.search(done.said):
        raise NotRun(f"sqlmap does not find the planted vulnerability: {done.said[-300:]}")
    return "it finds the SQL injection in a small vulnerable server"


def strike(program: Program) -> Seen:
    wanted, until = targets(program), time.monotonic() + IN_ALL
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(
            pool.map(lambda number, target: attack(program, number, target, until), count(), wanted)
        )
    findings, cut = [], []
    for target, one in zip(wanted, done, strict=True):
        findings += [
            Finding("SQL injection", f"{target.path}: {name}") for name in HIT.findall(one.said)
        ]
        if one.was_cut:
            cut.append(f"{target.path.split('?')[0]} ({target.parameters or '*'})")
        elif "all tested parameters do not appear" not in one.said and not HIT.search(one.said):
            findings.append(Finding("sqlmap could not test", f"{target.path}: {why(one)}"))
    if cut:
        findings.append(
            Finding("not completed in time", ", ".join(cut).replace(program.ids["bob"], "{id}"))
        )
    number = sum(target.parameters.count(",") + 1 for target in wanted)
    widely = sum(target.every_kind for target in wanted)
    remarks = [
        f"Payloads for every database on {widely} target, for SQLite and generic ones on the others."
    ]
    return Seen(f"{len(wanted)} targets, {number} parameters, level 3, risk 2", findings, remarks)


def attack(program: Program, number: int, target: Target, until: float) -> tools.Done:
    command: list[str | Path] = [
        program(),
        "-u",
        program.url + target.path,
        *SETTINGS,
        f"--output-dir={program.folder}/sqlmap-{number}",
    ]
    if target.parameters:
        command += ["-p", target.parameters]
    if target.data:
        command += ["--data", target.data]
    if cookie := target.cookie or program.cookies.get(target.who, ""):
        command += ["--cookie", cookie]
    if not target.every_kind:
        command += ["--dbms=SQLite"]
    return tools.run(
        command, max(1, min(TIMEOUT_SECONDS, until - time.monotonic())), program.folder
    )


def why(done: tools.Done) -> str:
    lines = [line for line in done.said.splitlines() if "CRITICAL" in line or "ERROR" in line]
    return (lines or [done.said[-200:]])[-1]


ATTACK = Attack("sqlmap", "off", version, strike, prove)
