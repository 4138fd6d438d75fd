"""The versions that are known to be unsafe: the program does not start with one of them."""

import re
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

# The first version without the weakness named. Of what is not needed, only what is installed
# counts.
SAFE: Final[Mapping[str, str]] = {
    "authlib": "1.7.1",  # CVE-2026-44681; before it CVE-2026-41425, CVE-2026-27962
    "cryptography": "50.0.0",  # CVE-2026-69247; before it CVE-2026-39892
    "h11": "0.16.0",  # CVE-2025-43859
    "jinja2": "3.1.6",  # CVE-2025-27516
    "joserfc": "1.7.4",  # CVE-2026-102946; before it CVE-2026-75509, CVE-2026-62995
    "pydantic": "2.4.0",  # CVE-2024-3772
    "python-multipart": "0.0.30",  # CVE-2026-53539
    "starlette": "1.3.1",  # CVE-2026-54283; before it CVE-2026-48710
    # the version whose protocol `web.server.timeout_protocol` was written for and tested with
    "uvicorn": "0.54.0",
}


def find_unsafe(installed: Callable[[str], str] = version) -> str:
    """The first package that is older than it may be, in one sentence; empty where all are safe."""
    for package, needed in SAFE.items():
        try:
            found = installed(package)
        except PackageNotFoundError:
            continue
        if not is_at_least(found, needed):
            return (
                f"{package} {found} has known vulnerabilities: install {needed} or newer "
                "(requirements.lock pins one)"
            )
    return ""


def is_at_least(found: str, needed: str) -> bool:
    """By their numbers (PEP 440).

    An alpha, beta, candidate or development release comes before the release.
    """
    return _order(found) >= _order(needed)


def _order(text: str) -> tuple[list[int], bool]:
    public = text.partition("+")[0]
    numbers = re.match(r"[0-9.]*", public)
    release = [int(part) for part in numbers[0].split(".") if part] if numbers else []
    while release and release[-1] == 0:
        release.pop()
    return release, not re.search(r"(a|b|rc|dev)[0-9]", public)
