"""Contains the attack by wapiti, which crawls the program with and without an admin session."""

import json
import re
from collections import defaultdict
from pathlib import Path

from tests.attack import tools
from tests.attack.outcome import Attack, Finding, NotRun, ToolResult
from tests.attack.program import Program
from tests.attack.vulnerable_server import serve_vulnerable

VERSION = "3.2.3"
# wapiti limits its own scan to 240 seconds and then finishes the running module.
SCAN_SECONDS = 540
MODULES = (
    "backup,brute_login_form,buster,cms,cookieflags,crlf,csp,csrf,exec,file,htaccess,http_headers,"
    "https_redirect,ldap,methods,network_device,permanentxss,redirect,shellshock,spring4shell,"
    "sql,ssrf,timesql,upload,wp_enum,xss,xxe"
)
REMARKS = [
    "Modules not used: htp, nikto and wapp (they download lists), takeover and log4shell (they query external name "
    "servers), ssl (there is no TLS on loopback).",
    "Excluded: actions on the administrator and on the user of the dashboard, and log-out.",
]
OPTIONS = [
    "--flush-session",
    "--no-bugreport",
    "--format",
    "json",
    "--level",
    "2",
    "--max-attack-time",
    "25",
    "--max-scan-time",
    "240",
    "--tasks",
    "4",
    "--verbose",
    "1",
]
URL = re.compile(r" (on )?http://\S+")
INCOMPLETE_MODULE = re.compile(r"Max attack time was reached for module (\w+)")


def install_wapiti() -> Path:
    return tools.install_from_pypi("wapiti3", VERSION, "wapiti")


def read_version() -> str:
    install_wapiti()
    return VERSION


def check_tool(folder: Path) -> str:
    """Checks that wapiti finds two planted vulnerabilities. Raises NotRun if it does not."""
    with serve_vulnerable() as (url, _):
        findings, _ = scan(folder / "check", url, ["--module", "sql,xss"])
    titles = {finding.title for finding in findings}
    if not titles >= {"SQL Injection", "Reflected Cross Site Scripting"}:
        raise NotRun(f"wapiti finds only {titles} in a vulnerable server")
    return "it finds SQL injection and cross-site scripting in a small vulnerable server"


def attack(program: Program) -> ToolResult:
    url = f"{program.url}/"
    excluded = [f"{program.url}/admin/users/{program.ids[name]}/*" for name in ("ada", "alice")]
    excluded += [f"{program.url}/logout", f"{program.url}/devices/revoke-all"]
    admin_options = [
        "--cookie-value",
        program.cookies["ada"],
        "--start",
        f"{program.url}/admin/users?q=a&page=1&sort=name",
    ]
    for path in excluded:
        admin_options += ["--exclude", path]
    with serve_vulnerable() as (external_url, requested_paths):
        options = ["--module", MODULES, "--endpoint", external_url]
        findings, admin_pages = scan(program.folder / "admin", url, [*options, *admin_options])
        more_findings, anonymous_pages = scan(program.folder / "anonymous", url, options)
    findings += more_findings
    # wapiti itself requests paths that begin with /get_ to list the requests of the target.
    if forged := sorted({path for path in requested_paths if not path.startswith("/get_")}):
        details = ", ".join(forged[:5])
        findings.append(Finding("the program requested a URL of the attacker", details))
    if program.request("GET", "/admin/users", cookie=program.cookies["ada"])[0] != 200:
        title = "the administrator's session ended during the attack"
        findings.append(Finding(title, "the rest was not tested"))
    summary = (
        f"{MODULES.count(',') + 1} modules; as an administrator {admin_pages}, "
        f"as an anonymous client that can sign up {anonymous_pages}"
    )
    return ToolResult(summary, merge(findings), REMARKS)


def scan(folder: Path, url: str, options: list[str]) -> tuple[list[Finding], str]:
    """Returns the findings and a description of the crawled pages. Raises NotRun."""
    folder.mkdir(parents=True)
    report_file = folder / "out"
    files: list[str | Path] = [
        "--store-session",
        folder / "session",
        "--store-config",
        folder / "config",
        "--output",
        report_file,
    ]
    command = [install_wapiti(), "--url", url, *OPTIONS, *files, *options]
    output = tools.run(command, SCAN_SECONDS, folder)
    if not report_file.exists():
        raise NotRun(f"wapiti made no report: {output.text[-300:]}")
    report = json.loads(report_file.read_text())
    findings = []
    for part in ("vulnerabilities", "anomalies", "additionals"):
        for title, reported in report[part].items():
            findings += [Finding(title, describe(item)) for item in reported]
    pages = f"{report['infos']['crawled_pages_nbr']} pages and forms"
    if incomplete := INCOMPLETE_MODULE.findall(output.text):
        pages += f" ({', '.join(sorted(set(incomplete)))} not completed in time)"
    return findings, pages


def describe(item: dict[str, str]) -> str:
    """Returns the method, the path and the text of a finding in the report."""
    return f"{item['method']} {item['path'].split('?')[0]}: {URL.sub('', item['info'])}"


def merge(findings: list[Finding]) -> list[Finding]:
    """Merges findings with the same title and text, and lists their paths without user ids."""
    paths: dict[tuple[str, str], set[str]] = defaultdict(set)
    for finding in findings:
        path, _, text = finding.details.partition(": ")
        paths[finding.title, text].add(re.sub(r"users/[\w-]{22}", "users/{id}", path))
    return [
        Finding(title, f"{text} at {', '.join(sorted(found))}")
        for (title, text), found in paths.items()
    ]


ATTACK = Attack("wapiti", "off", read_version, attack, check_tool)
