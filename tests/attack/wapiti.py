"""Attack by wapiti, which crawls the program as an administrator and as a guest."""

import json
import re
from collections import defaultdict
from pathlib import Path

from tests.attack import tools
from tests.attack.outcome import Attack, Finding, NotRun, Seen
from tests.attack.planted import planted
from tests.attack.program import Program

VERSION = "3.2.3"
TIMEOUT_SECONDS = 300  # seconds for one scan
MODULES = (
    "backup,brute_login_form,buster,cms,cookieflags,crlf,csp,csrf,exec,file,htaccess,http_headers,"
    "https_redirect,ldap,methods,network_device,permanentxss,redirect,shellshock,spring4shell,"
    "sql,ssrf,timesql,upload,wp_enum,xss,xxe"
)
LEFT_OUT = "Modules not used: htp, nikto and wapp (they download lists), takeover and log4shell (they query external name "
LEFT_OUT += "servers), ssl (there is no TLS on loopback)."
SETTINGS = [
    "--flush-session",
    "--no-bugreport",
    "--format",
    "json",
    "--level",
    "2",
    "--max-attack-time",
    "25",
]
SETTINGS += ["--max-scan-time", "240", "--tasks", "4", "--verbose", "1"]
ADDRESS = re.compile(r" (on )?http://\S+")
CUT = re.compile(r"Max attack time was reached for module (\w+)")


def program() -> Path:
    return tools.from_pypi("wapiti3", VERSION, "wapiti")


def version() -> str:
    program()
    return VERSION


def prove(folder: Path) -> str:
    with planted() as (url, _):
        found, _ = scan(folder / "proof", url, url, ["--module", "sql,xss"])
    kinds = {finding.title for finding in found}
    if not kinds >= {"SQL Injection", "Reflected Cross Site Scripting"}:
        raise NotRun(f"wapiti finds only {kinds} in a vulnerable server")
    return "it finds SQL injection and cross-site scripting in a small vulnerable server"


def strike(program: Program) -> Seen:
    modules = ["--module", MODULES]
    spared = [f"{program.url}/admin/users/{program.ids[name]}/*" for name in ("ada", "alice")]
    spared += [f"{program.url}/logout", f"{program.url}/devices/revoke-all"]
    inside = [
        "--cookie-value",
        program.cookies["ada"],
        "--start",
        f"{program.url}/admin/users?q=a&page=1&sort=name",
    ]
    for path in spared:
        inside += ["--exclude", path]
    with planted() as (outside, asked):
        endpoint = ["--endpoint", outside]
        found, admin = scan(
            program.folder / "admin", f"{program.url}/", outside, [*modules, *endpoint, *inside]
        )
        more, guest = scan(
            program.folder / "guest", f"{program.url}/", outside, [*modules, *endpoint]
        )
    findings = found + more
    if lured := sorted({path for path in asked if not path.startswith("/get_")}):
        findings.append(
            Finding("the program requested a URL of the attacker", ", ".join(lured[:5]))
        )
    if program.ask("GET", "/admin/users", cookie=program.cookies["ada"])[0] != 200:
        findings.append(
            Finding(
                "the administrator's session ended during the attack", "the rest was not tested"
            )
        )
    did = f"{MODULES.count(',') + 1} modules; as an administrator {admin}, as an anonymous client that can sign up {guest}"
    return Seen(
        did,
        grouped(findings),
        [
            LEFT_OUT,
            "Excluded: actions on the administrator and on the user of the dashboard, and log-out.",
        ],
    )


def scan(folder: Path, url: str, outside: str, options: list[str]) -> tuple[list[Finding], str]:
    """Returns the findings and a description of the crawled pages."""
    folder.mkdir(parents=True)
    places: list[str | Path] = [
        "--store-session",
        folder / "session",
        "--store-config",
        folder / "config",
        "--output",
        folder / "out",
    ]
    done = tools.run(
        [program(), "--url", url, *SETTINGS, *places, *options], TIMEOUT_SECONDS + 240, folder
    )
    if not (folder / "out").exists():
        raise NotRun(f"wapiti made no report: {done.said[-300:]}")
    report = json.loads((folder / "out").read_text())
    found = [
        Finding(
            kind, f"{one['method']} {one['path'].split('?')[0]}: {ADDRESS.sub('', one['info'])}"
        )
        for part in ("vulnerabilities", "anomalies", "additionals")
        for kind, ones in report[part].items()
        for one in ones
    ]
    told = f"{report['infos']['crawled_pages_nbr']} pages and forms"
    if cut := CUT.findall(done.said):
        told += f" ({', '.join(sorted(set(cut)))} cut short)"
    return found, told


def grouped(findings: list[Finding]) -> list[Finding]:
    """Merges findings with the same title and text, and lists their URLs without user ids."""
    places: dict[tuple[str, str], set[str]] = defaultdict(set)
    for finding in findings:
        where, _, what = finding.seen.partition(": ")
        places[finding.title, what].add(re.sub(r"users/[\w-]{22}", "users/{id}", where))
    return [
        Finding(kind, f"{what} at {', '.join(sorted(where))}")
        for (kind, what), where in places.items()
    ]


ATTACK = Attack("wapiti", "off", version, strike, prove)
