"""Tests of the static files and of the transferred size of a page."""

import gzip
import hashlib
import re

import brotli
import httpx
import pytest

from tests.browser_client import Browser, read
from web.rendering.assets import STATIC

KB = 1000
ACCEPT_GZIP = {"Accept-Encoding": "gzip"}


async def assets_of(anonymous: Browser) -> list[str]:
    """Returns the path of every static file that the front page refers to."""
    page = read(await anonymous.get("/"))
    return [
        found.attrs[name]
        for name in ("src", "href")
        for found in page.all(**{name: True})
        if found.tag != "a"
    ]


async def raw(anonymous: Browser, path: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """Returns a response and its body as it was transferred, before decompression."""
    async with anonymous.client.stream("GET", path, headers=headers) as answer:
        return answer, b"".join([part async for part in answer.aiter_raw()])


async def test_a_static_file_is_named_by_its_hash_and_cached_forever(
    anonymous: Browser,
) -> None:
    assets = await assets_of(anonymous)
    assert len(assets) == 4
    for path in assets:
        answer, body = await raw(anonymous, path, **{"Accept-Encoding": "identity"})
        assert answer.status_code == 200
        assert hashlib.sha256(body).hexdigest()[:12] in path
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "set-cookie" not in answer.headers


CODINGS = [
    ("gzip, deflate, br, zstd", "br", brotli.decompress),
    ("gzip", "gzip", gzip.decompress),
    ("identity", None, bytes),
    ("", None, bytes),
    ("zstd", None, bytes),
    ("br;q=0, gzip", "gzip", gzip.decompress),
]


async def test_a_static_file_is_compressed_as_the_client_accepts(anonymous: Browser) -> None:
    for path in await assets_of(anonymous):
        for accepted, coding, unpack in CODINGS:
            answer, body = await raw(anonymous, path, **{"Accept-Encoding": accepted})
            assert answer.headers.get("content-encoding") == coding, accepted
            assert {part.strip() for part in answer.headers["vary"].split(",")} == {
                "Accept-Encoding"
            }
            assert hashlib.sha256(unpack(body)).hexdigest()[:12] in path


@pytest.mark.asvs("S106")
async def test_htmx_has_the_reviewed_hash(anonymous: Browser) -> None:
    (path,) = [path for path in await assets_of(anonymous) if "htmx" in path]
    body = (await anonymous.get(path)).content
    assert (
        hashlib.sha256(body).hexdigest()
        == "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130"
    )


UNSERVED_PATHS = [
    "/static",
    "/static/",
    "/static/app.css",
    "/static/.env",
    "/static/../pyproject.toml",
    "/static/..%2fpyproject.toml",
    "/static/%2e%2e/pyproject.toml",
    "/static/..%5cpyproject.toml",
    "/static/%2fetc%2fpasswd",
    "/static//etc/passwd",
    "/static/app.css%00.js",
    "/static/....//app.js",
    "/data/latchkey.db",
    "/.env",
    "/.git/config",
]


@pytest.mark.asvs("S77")
async def test_only_known_static_files_are_served(anonymous: Browser) -> None:
    assert [path for path in UNSERVED_PATHS if (await anonymous.get(path)).status_code != 404] == []


@pytest.mark.asvs("S77")
async def test_a_request_for_1000_ranges_returns_the_file_once(anonymous: Browser) -> None:
    (path, *_) = await assets_of(anonymous)
    ranges = "bytes=" + ",".join(f"{n}-{n}" for n in range(1000))
    answer = await anonymous.get(path, Range=ranges)
    assert (answer.status_code, hashlib.sha256(answer.content).hexdigest()[:12] in path) == (
        200,
        True,
    )


async def test_the_sign_up_page_has_at_most_6_kb(anonymous: Browser) -> None:
    answer, body = await raw(anonymous, "/signup", **ACCEPT_GZIP)
    assert answer.headers["content-encoding"] == "gzip"
    assert len(body) <= 6 * KB


async def test_the_stylesheet_is_served_without_comments_and_indentation(
    anonymous: Browser,
) -> None:
    page = read(await anonymous.get("/signup"))
    served = (await anonymous.get(page.one("link", rel="stylesheet").attrs["href"])).text
    source = (STATIC / "app.css").read_text()
    assert [served.count(bracket) for bracket in "{}"] == [
        source.count(bracket) for bracket in "{}"
    ]
    assert "/*" not in served
    assert "\n" not in served
    assert re.findall(r" [{},;]|[{},;:] |;}", re.sub(r'"[^"]*"', "text", served)) == []
    expected = re.sub(r"/\*[^*]*\*/", "", source)
    assert "".join(served.split()) == re.sub(r";}", "}", "".join(expected.split()))


async def test_the_script_is_served_without_comment_lines_and_indentation(
    anonymous: Browser,
) -> None:
    page = read(await anonymous.get("/signup"))
    served = (await anonymous.get(page.all("script")[1].attrs["src"])).text
    source = [line.strip() for line in (STATIC / "app.js").read_text().splitlines()]
    assert served.splitlines() == [line for line in source if line and not line.startswith("//")]


async def test_the_stylesheet_has_at_most_9_kb_and_the_scripts_18_kb(
    anonymous: Browser, alice: Browser
) -> None:
    anonymous_page, page = read(await anonymous.get("/signup")), read(await alice.get("/account"))
    styles = [link.attrs["href"] for link in page.all("link", rel="stylesheet")]
    first_scripts = [script.attrs["src"] for script in anonymous_page.all("script")]
    all_scripts = [script.attrs["src"] for script in page.all("script")]

    async def size(paths: list[str], **headers: str) -> int:
        return sum([len((await raw(anonymous, path, **headers))[1]) for path in paths])

    assert (len(styles), len(first_scripts), len(all_scripts)) == (1, 2, 3)
    assert await size(styles, **ACCEPT_GZIP) <= 9 * KB
    assert await size(first_scripts, **ACCEPT_GZIP) <= 18 * KB
    assert await size(all_scripts, **{"Accept-Encoding": "br"}) <= 18 * KB


async def test_a_live_check_response_has_at_most_1024_bytes(
    alice: Browser, anonymous: Browser
) -> None:
    for field, text in (
        ("name", ""),
        ("name", "Charlie"),
        ("email", "x"),
        ("email", alice.email),
        ("email", "a@b.com"),
    ):
        assert len((await anonymous.post(f"/signup/check/{field}", {field: text})).content) <= 1024


async def test_a_first_view_takes_at_most_four_requests(anonymous: Browser) -> None:
    page = read(await anonymous.get("/signup"))
    assert (
        1 + len(page.all("script")) + len(page.all("link", rel="stylesheet")) + len(page.all("img"))
        <= 4
    )
