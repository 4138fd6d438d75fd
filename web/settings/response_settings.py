"""Contains the functions that read the settings of responses and requests: HSTS, CSP sources and
the size of a body.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import urlsplit

from web.settings.durations import parse_duration
from web.settings.environment import Environment, InvalidSetting
from web.settings.hosts import canonical_host

Hsts = Literal["host", "subdomains", "off"]

YEAR_SECONDS: Final = 31_536_000
KIB: Final = 1024
DEFAULT_BODY_BYTES: Final = 64 * KIB
MIN_BODY_BYTES: Final = 16 * KIB
MAX_BODY_BYTES: Final = 10 * KIB * KIB
SIZE_UNITS: Final = {"": 1, "k": KIB, "m": KIB * KIB}


def read_hsts(env: Environment, base_url: str, *, loopback: bool) -> Hsts:
    """Returns HSTS, which is always off without https and on loopback. Raises InvalidSetting.

    On loopback, browsers would require https from every other program on localhost too.
    """
    hsts: Hsts = env.choice("HSTS", ("host", "subdomains", "off"))
    return "off" if loopback or base_url.startswith("http:") else hsts


def read_hsts_max_age(env: Environment) -> int:
    """Returns the seconds for which browsers remember HSTS; 0 makes them forget it.

    Raises InvalidSetting.
    """
    text = env.text("HSTS_MAX_AGE", "365d")
    duration = parse_duration(f"{text}s" if text.isdecimal() else text)
    seconds = -1 if duration is None else int(duration.total_seconds())
    if not 0 <= seconds <= 2 * YEAR_SECONDS:
        raise InvalidSetting(
            "HSTS_MAX_AGE",
            f"must be seconds or a duration up to 730d, such as 365d, not {text[:40]!r}",
        )
    return seconds


def read_max_body(env: Environment) -> int:
    """Returns the largest body of a request in bytes. Raises InvalidSetting."""
    text = env.text("MAX_BODY", "64k")
    found = re.fullmatch(r"([0-9]{1,9})([km]?)", text)
    size = int(found[1]) * SIZE_UNITS[found[2]] if found else 0
    if not MIN_BODY_BYTES <= size <= MAX_BODY_BYTES:
        raise InvalidSetting("MAX_BODY", f"must be a size from 16k to 10m, not {text[:40]!r}")
    return size


def read_csp_sources(env: Environment) -> Mapping[str, tuple[str, ...]]:
    """Returns the sources to add to each directive of the Content-Security-Policy.

    Raises InvalidSetting.
    """
    sources = {
        "script-src": _read_sources(env, "CSP_SCRIPT_SRC"),
        "style-src": _read_sources(env, "CSP_STYLE_SRC"),
        "img-src": _read_sources(env, "CSP_IMG_SRC", "data:"),
        "font-src": _read_sources(env, "CSP_FONT_SRC"),
        "connect-src": _read_sources(env, "CSP_CONNECT_SRC"),
        "media-src": _read_sources(env, "CSP_MEDIA_SRC"),
        "frame-src": _read_sources(env, "CSP_FRAME_SRC"),
        "form-action": _read_sources(env, "CSP_FORM_ACTION"),
    }
    return {directive: found for directive, found in sources.items() if found is not None}


def _read_sources(env: Environment, name: str, scheme: str = "") -> tuple[str, ...] | None:
    """Returns the sources of a variable apart from `self`; None if it is not set.

    Only https origins and `scheme` are accepted. Inline code, eval and wildcards would end the
    protection, and a semicolon would begin another directive.
    """
    parts = [part.strip() for part in env.text(name, "").split(",") if part.strip()]
    if not parts:
        return None
    return tuple(
        part if part == scheme else _origin(name, part, scheme) for part in parts if part != "self"
    )


def _origin(name: str, text: str, scheme: str) -> str:
    allowed = "self, https origins such as https://cdn.example.com"
    allowed = f"{allowed} or {scheme}" if scheme else allowed
    problem = InvalidSetting(name, f"must be {allowed}, separated by commas, not {text[:80]!r}")
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise problem from None
    has_more = url.path or url.query or url.fragment or "@" in url.netloc
    if url.scheme != "https" or not url.hostname or has_more or text[-1] in "?#":
        raise problem
    try:
        host = canonical_host(name, url.hostname)
    except InvalidSetting:
        raise problem from None
    host = f"[{host}]" if ":" in host else host
    return f"https://{host}" if port in (None, 443) else f"https://{host}:{port}"
