"""Contains the minimum safe versions of dependencies and the check at the start of the server."""

import re
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Final

# Each entry is the first version without the named vulnerability. Optional packages are checked
# only if they are installed.
MIN_SAFE_VERSIONS: Final[Mapping[str, str]] = {
    "authlib": "1.7.1",  # CVE-2026-44681; earlier CVE-2026-41425, CVE-2026-27962
    "cryptography": "50.0.0",  # CVE-2026-69247; earlier CVE-2026-39892
    "h11": "0.16.0",  # CVE-2025-43859
    "jinja2": "3.1.6",  # CVE-2025-27516
    "joserfc": "1.7.4",  # CVE-2026-102946; earlier CVE-2026-75509, CVE-2026-62995
    "pydantic": "2.4.0",  # CVE-2024-3772
    "python-multipart": "0.0.30",  # CVE-2026-53539
    "starlette": "1.3.1",  # CVE-2026-54283; earlier CVE-2026-48710
    # `web.server.timeout_protocol` overrides methods of uvicorn's protocol and was tested with this
    # version.
    "uvicorn": "0.54.0",
}


def find_unsafe(installed: Callable[[str], str] = version) -> str:
    """Returns one sentence about the first unsafe package, or an empty string if all are safe."""
    for package, needed in MIN_SAFE_VERSIONS.items():
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
    """Returns whether the version is at least the needed one, by release number (PEP 440).

    An alpha, beta, candidate or development release precedes the release of the same number.
    """
    return _parse_version(found) >= _parse_version(needed)


def _parse_version(text: str) -> tuple[list[int], bool]:
    public = text.partition("+")[0]
    numbers = re.match(r"[0-9.]*", public)
    release = [int(part) for part in numbers[0].split(".") if part] if numbers else []
    while release and release[-1] == 0:
        release.pop()
    return release, not re.search(r"(a|b|rc|dev)[0-9]", public)
