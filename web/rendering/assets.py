"""Contains the files of static/: named by a hash of their content, compressed once and cached."""

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

import brotli  # type: ignore[import-untyped]

from web.brand import LATCHKEY, Brand
from web.settings.paths import ROOT

STATIC: Final = ROOT / "static"
ICON: Final = "mark.svg"
HTMX: Final = "htmx-4.0.1.min.js"
SCRIPT: Final = "app.js"
BRAND_STYLES: Final = "brand.css"
PRODUCT_SCRIPT: Final = "product.js"
STYLESHEETS: Final = ("app.css", BRAND_STYLES, "product.css")
TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A static file.

    `bodies` maps each useful Content-Encoding to the encoded file. It is compressed on first use.
    """

    type: str
    body: bytes = field(repr=False)

    @property
    def bodies(self) -> Mapping[str, bytes]:
        return _compressed(self.body)


class Assets:
    """Holds all static files in memory. Serves no other paths, which prevents path traversal.

    A file in a later folder replaces that of the same name in an earlier one. `generated` are files
    without a path, which a later folder also replaces. `base_path` precedes every path.
    """

    def __init__(
        self,
        *folders: Path,
        generated: Mapping[str, str] = MappingProxyType({}),
        base_path: str = "",
    ) -> None:
        self._base_path = base_path
        self._names: dict[str, str] = {}
        self._assets: dict[str, Asset] = {}
        own, *others = folders or (STATIC,)
        self._add_folder(own)
        for name, text in generated.items():
            self._add(Path(name), text.encode())
        for folder in others:
            self._add_folder(folder)

    @property
    def stylesheets(self) -> tuple[str, ...]:
        """Returns the names of the stylesheets of every page, in their order."""
        return tuple(name for name in STYLESHEETS if name in self._names)

    @property
    def product_script(self) -> str:
        """Returns the name of the script of the product, or an empty string if it has none."""
        return PRODUCT_SCRIPT if PRODUCT_SCRIPT in self._names else ""

    @property
    def weight(self) -> int:
        """Returns the compressed size of the files that a page for anonymous users loads, in bytes.

        Compressed by gzip, because browsers accept Brotli only over https.
        """
        names = (ICON, HTMX, SCRIPT, *self.stylesheets, *filter(None, [self.product_script]))
        bodies = (self._assets[self._names[name]].bodies for name in names)
        return sum(len(codings.get("gzip", codings["identity"])) for codings in bodies)

    def url(self, name: str) -> str:
        """Returns the path of a file, with BASE_PATH and a hash of its content in the name.

        Raises KeyError for an unknown file.
        """
        return f"{self._base_path}/static/{self._names[name]}"

    def find(self, name: str) -> Asset | None:
        return self._assets.get(name)

    def _add_folder(self, folder: Path) -> None:
        for path in sorted(path for path in folder.iterdir() if path.suffix in TYPES):
            self._add(path, path.read_bytes())

    def _add(self, path: Path, body: bytes) -> None:
        if path.suffix == ".css":
            body = _strip_styles(body)
        # htmx is served exactly as it was released.
        elif path.suffix == ".js" and ".min" not in path.name:
            body = _strip_lines(body)
        hashed = f"{path.stem}.{hashlib.sha256(body).hexdigest()[:12]}{path.suffix}"
        self._assets.pop(self._names.get(path.name, ""), None)
        self._names[path.name] = hashed
        self._assets[hashed] = Asset(TYPES[path.suffix], body)


def load_assets(brand: Brand, product_files: Path | None, base_path: str = "") -> Assets:
    """Returns the static files of the program, of its brand and of the product."""
    generated = {BRAND_STYLES: brand.stylesheet} if brand.stylesheet else {}
    if (brand.mark, brand.light) != (LATCHKEY.mark, LATCHKEY.light):
        generated[ICON] = brand.icon
    folders = (STATIC,) if product_files is None else (STATIC, product_files)
    return Assets(*folders, generated=generated, base_path=base_path)


def _strip_styles(styles: bytes) -> bytes:
    """Removes comments, line breaks, spaces beside punctuation, and semicolons at the end of rules.

    Strings stay as they are, since the content of a page can be one.
    """
    styles = re.sub(rb"/\*.*?\*/", b"", styles, flags=re.DOTALL)
    styles = re.sub(rb"\s*\n\s*", b" ", styles)
    parts = re.compile(
        rb"""(?P<kept>"[^"\n]*"|'[^'\n]*')"""
        rb"""|[ ;]*(?P<end>\}) *| *(?P<sign>[{,;]|[<>]=?) *|(?P<colon>:) +"""
    )
    return parts.sub(lambda part: part[part.lastgroup or 0], styles).strip()


def _strip_lines(script: bytes) -> bytes:
    """Removes indentation, empty lines and comment lines: a quarter of the compressed size."""
    return re.sub(rb"(?m)^\s*(//.*)?(\n|$)|^[ \t]+", b"", script)


@cache
def _compressed(body: bytes) -> Mapping[str, bytes]:
    """Returns the body in each coding that does not enlarge it, in the order of preference."""
    bodies = {
        "br": brotli.compress(body, quality=11),
        "gzip": gzip.compress(body, 9, mtime=0),
        "identity": body,
    }
    return {coding: data for coding, data in bodies.items() if len(data) <= len(body)}
