"""The files under static/: named by a hash of their content, compressed once, cached forever."""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import brotli  # type: ignore[import-untyped]

from web.settings.paths import ROOT

STATIC: Final = ROOT / "static"
TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file.

    `bodies` maps each useful Content-Encoding to the encoded file, compressed when first asked for.
    """

    type: str
    body: bytes = field(repr=False)

    @property
    def bodies(self) -> Mapping[str, bytes]:
        return _compressed(self.body)


class Assets:
    """All of them, in memory: what is not in the table is not served, so there is no path to climb
    out of.
    """

    def __init__(self, folder: Path = STATIC) -> None:
        self._names: dict[str, str] = {}
        self._assets: dict[str, Asset] = {}
        for path in sorted(path for path in folder.iterdir() if path.suffix in TYPES):
            self._add(path)

    def url(self, name: str) -> str:
        """The path of a file, with a hash of its content in the name.

        Raises KeyError for an unknown one.
        """
        return f"/static/{self._names[name]}"

    def find(self, name: str) -> Asset | None:
        return self._assets.get(name)

    def _add(self, path: Path) -> None:
        body = path.read_bytes()
        if path.suffix == ".css":
            body = _strip_styles(body)
        # htmx is served byte by byte as it was released
        elif path.suffix == ".js" and ".min" not in path.name:
            body = _strip_lines(body)
        hashed = f"{path.stem}.{hashlib.sha256(body).hexdigest()[:12]}{path.suffix}"
        self._names[path.name] = hashed
        self._assets[hashed] = Asset(TYPES[path.suffix], body)


def _strip_styles(styles: bytes) -> bytes:
    """Without comments, indentation and empty lines: they are for us."""
    return re.sub(rb"\s*\n\s*", b"\n", re.sub(rb"/\*.*?\*/", b"", styles, flags=re.DOTALL)).strip()


def _strip_lines(script: bytes) -> bytes:
    """Removes indentation, empty lines and lines that are comments: a quarter of the compressed
    weight.
    """
    return re.sub(rb"(?m)^\s*(//.*)?(\n|$)|^[ \t]+", b"", script)


@cache
def _compressed(body: bytes) -> Mapping[str, bytes]:
    """The body in each coding that makes it smaller, the smallest first."""
    bodies = {
        "br": brotli.compress(body, quality=9),
        "gzip": gzip.compress(body, 9, mtime=0),
        "identity": body,
    }
    return {coding: data for coding, data in bodies.items() if len(data) <= len(body)}
