"""Contains the paths that the path attack requests.

They are spellings of protected paths, unlinked files and path traversal.
"""

from pathlib import Path
from urllib.parse import quote

SPELLINGS = (
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
    "{0}?next=/login",
    "{0}#x",
    "{0}%23",
    "{0}%3f",
    "/%2e{0}",
    "/%2e%2e{0}",
    "/..;{0}",
    "/login/..{0}",
    "/login/..;{0}",
    "/login%2f..{0}",
    "/login%00{0}",
    "{0}~",
    "{0}.bak",
    "http://127.0.0.1{0}",
    "http://evil.example{0}",
    "/index.php{0}",
)
FILE_NAMES = (
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
UNLINKED_PATHS = (Path(__file__).parent / "unlinked_paths.txt").read_text().splitlines()
TRAVERSALS = (
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
TARGET_FILES = ("etc/passwd", "data/latchkey.db", "data/session_secret", "web/settings/settings.py")


def list_paths(protected_paths: list[str]) -> list[str]:
    """Returns all paths without duplicates, with each protected path in all its spellings."""
    paths = []
    for path in protected_paths:
        paths += [spelling.format(path) for spelling in (*SPELLINGS, *respell(path))]
    for name in FILE_NAMES:
        paths += [f"/{name}{suffix}" for suffix in SUFFIXES]
    for traversal in TRAVERSALS:
        for file in TARGET_FILES:
            paths += [f"/static/{traversal * depth}{file}" for depth in (1, 2, 6)]
            paths.append(f"/{traversal * 6}{file}")
    paths += [f"/{path}" for path in UNLINKED_PATHS]
    return list(dict.fromkeys(paths))


def respell(path: str) -> list[str]:
    """Returns the path in capitals, with encoded letters and with fullwidth characters."""
    encoded = "".join(f"%{ord(letter):02x}" for letter in path[1:])
    fullwidth = "".join(
        chr(ord(letter) + 0xFEE0) if letter.isalpha() else letter for letter in path.strip("/")
    )
    return [
        path.upper(),
        path.title(),
        f"/{encoded}",
        f"/{encoded.replace('%', '%25')}",
        f"/{quote(fullwidth)}",
        path.replace("/", "\\"),
    ]
