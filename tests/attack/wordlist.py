"""Paths that scanners request: spellings of protected paths, forgotten files and path traversal."""

from pathlib import Path
from urllib.parse import quote

SPELLINGS = (
    *(
        "{0}",
        "{0}/",
        "/{0}",
        "//{0}",
        "{0}//",
        "/.{0}",
        "/x/..{0}",
        "/static/..{0}",
        "/static/../..{0}",
        "{0}/.",
        "{0}/..",
    ),
    *(
        "{0};x",
        "{0};.css",
        "{0}.json",
        "{0}.html",
        "{0}.css",
        "{0}%00",
        "{0}%20",
        "{0}%09",
        "{0}%0a",
        "{0}%2f",
        "{0}?",
    ),
    *(
        "{0}?next=/login",
        "{0}#x",
        "{0}%23",
        "{0}%3f",
        "/%2e{0}",
        "/%2e%2e{0}",
        "/..;{0}",
        "/login/..{0}",
        "/login/..;{0}",
    ),
    *(
        "/login%2f..{0}",
        "/login%00{0}",
        "{0}~",
        "{0}.bak",
        "http://127.0.0.1{0}",
        "http://evil.example{0}",
        "/index.php{0}",
    ),
)
BASES = (
    "latchkey",
    "data",
    "db",
    "database",
    "backup",
    "app",
    "site",
    "users",
    "dump",
    "session_secret",
    "data/latchkey",
)
SUFFIXES = (
    ".db",
    ".db-wal",
    ".sql",
    ".sqlite",
    ".sqlite3",
    ".zip",
    ".tar.gz",
    ".bak",
    ".old",
    ".swp",
    "~",
    ".json",
    "",
)
FORGOTTEN = (Path(__file__).parent / "forgotten.txt").read_text().splitlines()
WAYS = (
    "../",
    "..%2f",
    "%2e%2e/",
    "%2e%2e%2f",
    "..%5c",
    "..\\",
    "%252e%252e%252f",
    "..%c0%af",
    "....//",
    "%c0%ae%c0%ae/",
)
AIMS = ("etc/passwd", "data/latchkey.db", "data/session_secret", "web/settings/settings.py")


def every_path(closed: list[str]) -> list[str]:
    """Returns all paths. `closed` are the paths that need a session, in all their spellings."""
    spelt = [spelling.format(path) for path in closed for spelling in (*SPELLINGS, *letters(path))]
    named = [f"/{base}{ending}" for base in BASES for ending in SUFFIXES]
    climbing = [
        f"/static/{way * depth}{aim}" for way in WAYS for aim in AIMS for depth in (1, 2, 6)
    ]
    climbing += [f"/{way * 6}{aim}" for way in WAYS for aim in AIMS]
    return list(dict.fromkeys([*spelt, *named, *climbing, *(f"/{path}" for path in FORGOTTEN)]))


def letters(path: str) -> list[str]:
    """Returns the path in capitals, with encoded letters and with look-alike characters."""
    middle, encoded = path.strip("/"), "".join(f"%{ord(letter):02x}" for letter in path[1:])
    wide = quote(
        "".join(chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in middle)
    )
    return [
        path.upper(),
        path.title(),
        f"/{encoded}",
        f"/{encoded.replace('%', '%25')}",
        f"/{wide}",
        path.replace("/", "\\"),
    ]
