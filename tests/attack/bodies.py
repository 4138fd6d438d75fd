"""Hypothesis strategies for malformed words, forms, cookies, headers and HTTP framing."""

import base64
import json
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

ODD = "aZ1é🔑 \t\r\n\0'\"<>&%+=@.-_;\u200b\u202e\ufeff\ud800\udfff"
OWN = [
    "viewer",
    "next",
    "role",
    "is_admin",
    "id",
    "q",
    "page",
    "sort",
    "user_id",
    "__proto__",
    "a[b]",
    "",
]
TYPES = [
    *([b"application/x-www-form-urlencoded"] * 8),
    *(
        b"application/x-www-form-urlencoded; charset=utf-16",
        b"multipart/form-data; boundary=x",
        b"application/json",
    ),
    *(b"text/plain", b"", b"\xff/\xfe"),
]
# The program reads these headers, or its server or a proxy in front of it may act on them.
HEADERS = [
    *(
        b"User-Agent",
        b"X-Forwarded-For",
        b"Forwarded",
        b"X-Forwarded-Host",
        b"X-Forwarded-Proto",
        b"Referer",
    ),
    *(
        b"Accept",
        b"Accept-Encoding",
        b"Accept-Language",
        b"Authorization",
        b"Cookie",
        b"If-None-Match",
        b"Range",
    ),
    *(
        b"HX-Request",
        b"HX-Current-URL",
        b"HX-Target",
        b"Document-Viewer",
        b"Sec-Purpose",
        b"Expect",
        b"Upgrade",
    ),
    *(
        b"Sec-Fetch-Mode",
        b"Sec-Fetch-Dest",
        b"X-HTTP-Method-Override",
        b"X-Original-URL",
        b"Connection",
        b"X",
    ),
]
HEADER_PIECES = [
    *(
        b"Mozilla/5.0",
        b" (Linux; Android 9;  )",
        b" AppleWebKit/537.36",
        b" Firefox/",
        b"(",
        b")",
        b";",
        b"/",
        b"9" * 20,
    ),
    *(
        b"127.0.0.1",
        b"[::1]",
        b":",
        b",",
        b" ",
        b"\t",
        b"=",
        b'"',
        b"*",
        b"q=",
        b"bytes=0-",
        b"\xa0",
        b"\x85",
        b"\xff",
    ),
    *(
        b"true",
        b"prefetch",
        b"gzip",
        b"text/html",
        b"application/json",
        b"http://",
        b"../",
        b"%00",
        b"100-continue",
    ),
]
FOREIGN_HOSTS = [
    *(
        [],
        [b"Host:"],
        [b"Host: evil.example"],
        [b"Host: 0.0.0.0"],
        [b"Host: 2130706433"],
        [b"Host: [::]"],
    ),
    *(
        [b"Host: 127.0.0.1.evil.example"],
        [b"Host: localhost.evil.example"],
        [b"Host: evil.example#@127.0.0.1"],
    ),
    *(
        [b"Host: 127.0.0.1, evil.example"],
        [b"Host: 127.0.0.1", b"Host: evil.example"],
        [b"Host: 127.0.0.1/x"],
    ),
]
FOREIGN_SITES = [
    *(
        [b"Origin: http://evil.example"],
        [b"Origin: null"],
        [b"Origin:"],
        [b"Sec-Fetch-Site: cross-site"],
    ),
    *(
        [b"Sec-Fetch-Site: same-site"],
        [b"Sec-Fetch-Site: same-origin", b"Origin: http://evil.example"],
    ),
    *(
        [b"Sec-Fetch-Site: none", b"Origin: https://127.0.0.1"],
        [b"Sec-Fetch-Site:"],
        [b"Sec-Fetch-Site: SAME-ORIGIN"],
    ),
]
LENGTHS = [
    *(
        b"Transfer-Encoding: chunked",
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked, chunked",
    ),
    *(
        b"Content-Length : 5",
        b"Content-Length: +5",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: identity",
    ),
]
OFFERS = [
    *(
        b"Upgrade: h2c",
        b"Upgrade: websocket",
        b"Upgrade: TLS/1.2",
        b"Connection: Upgrade, HTTP2-Settings",
    ),
    *(
        b"Connection: close",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"Trailer: Cookie",
        b"TE: trailers",
    ),
]
words = (
    st.text(st.characters(exclude_categories=()), max_size=60)
    | st.text(ODD, max_size=30)
    | st.sampled_from(["x", "é", "\0", "ﬁ", "٣", "\u202e"]).flatmap(
        lambda letter: st.sampled_from([255, 257, 4_000, 20_000]).map(
            lambda number: letter * number
        )
    )
    | st.sampled_from(
        [
            "bob@example.com",
            "BOB@EXAMPLE.COM",
            "admin",
            "user",
            "-1",
            "1e9",
            "9" * 40,
            "../..",
            "NaN",
        ]
    )
)
percents = st.lists(
    st.sampled_from(["%00", "%ff", "%ed%a0%80", "%", "%zz", "%c3", "a", "+", "&", "=", ";"]),
    max_size=40,
)


def encode(text: str) -> bytes:
    """Encodes surrogates too, which no decoder may accept."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="").encode()


def segments() -> SearchStrategy[bytes]:
    return words.map(lambda text: encode(text)[:4_000] or b"x")


def forms(names: list[str]) -> SearchStrategy[bytes]:
    """Generates forms with repeated, unknown and missing fields, and bodies that are not forms."""
    field = st.tuples(
        st.sampled_from([*names, *names, *OWN]),
        words.map(encode) | percents.map("".join).map(str.encode),
    )
    whole = st.lists(field, max_size=8).map(
        lambda pairs: b"&".join(name.encode() + b"=" + value for name, value in pairs)
    )
    many = st.sampled_from([b"a&", b"a=b&", b"=&", b";", b"email=x&"]).map(
        lambda piece: piece * 5_000
    )
    return whole | whole | whole | st.binary(max_size=200) | many | st.just(b"x" * 70_000)


def cookies(real: list[str]) -> SearchStrategy[bytes]:
    """Generates Cookie headers from noise, forged tokens and modified real tokens."""
    values = [cookie.partition("=")[2] for cookie in real]
    noise = st.binary(max_size=300).map(no_line_ends)
    some = noise | forged(values) | bent(values) | mixed(values)
    one = some.map(lambda value: b"session=" + value)
    several = st.lists(one | noise, min_size=1, max_size=4).map(b"; ".join)
    return one | one | several | noise


def headers() -> SearchStrategy[list[bytes]]:
    """Generates header lines whose values are long, repeated or not text."""
    pieces = st.lists(st.sampled_from(HEADER_PIECES) | st.binary(max_size=6), max_size=12).map(
        b"".join
    )
    long = st.sampled_from([b";", b"(", b"a,", b"\xff", b"9."]).map(lambda piece: piece * 900)
    line = st.builds(
        lambda name, value: name + b": " + no_line_ends(value),
        st.sampled_from(HEADERS),
        pieces | long,
    )
    return st.lists(line, max_size=6)


def framed(opening: bytes, trailer: bytes) -> SearchStrategy[bytes]:
    """Generates requests with valid or invalid framing and trailers.

    Another request may be in the body or after it. `opening` is the request line with the fixed
    headers, and `trailer` is one line.
    """
    inner = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    chunk = st.sampled_from([b"x=123", inner, b""]).map(
        lambda data: b"%x\r\n%s\r\n" % (len(data), data)
    )
    odd = st.sampled_from(
        [b"5;x=y\r\nx=123\r\n", b"5 \r\nx=123\r\n", b"0x5\r\nx=123\r\n", b"-1\r\n", b"5\nx=123\n"]
    )
    trailers = st.lists(
        st.sampled_from([trailer, b"Host: evil.example", b"Content-Length: 5", b"X:"]), max_size=4
    )
    end = trailers.map(
        lambda lines: b"0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    )
    pieces = st.lists(chunk | chunk | odd, max_size=3).map(b"".join)
    chunks = st.builds(bytes.__add__, pieces, end | end | st.just(b""))
    heads = st.lists(st.sampled_from([*LENGTHS[:2] * 4, *LENGTHS, *OFFERS]), max_size=4)
    body = chunks | chunks | st.sampled_from([b"x=123", inner])
    behind = st.sampled_from([b"", b"", inner, b"\r\n" + inner])
    return st.builds(
        lambda lines, sent, rest: b"\r\n".join([opening, *lines, b"", b""]) + sent + rest,
        heads,
        body,
        behind,
    )


def forged(values: list[str]) -> SearchStrategy[bytes]:
    """Generates tokens with real and other claims and with invalid signatures."""
    head, claims, _ = (json_of(part) for part in values[0].split("."))
    algorithms = st.sampled_from(["none", "None", "HS256", "HS512", "RS256", "ES256", "", None, 1])
    extra = st.dictionaries(
        st.sampled_from(["jwk", "jku", "x5c", "crit", "b64", "kid", "cty", "zip"]),
        jsons,
        max_size=3,
    )
    heads = st.builds(lambda algorithm, more: {**head, "alg": algorithm, **more}, algorithms, extra)
    bodies = st.dictionaries(
        st.sampled_from(["sid", "sub", "role", "iat", "exp"]), jsons, max_size=5
    )
    bodies = bodies.map(lambda other: {**claims, **other})
    signatures = st.sampled_from([b"", b"AAAA", values[0].split(".")[2].encode()]) | st.binary(
        max_size=40
    ).map(b64)
    return st.builds(lambda *parts: b".".join(parts), heads.map(pack), bodies.map(pack), signatures)


def bent(values: list[str]) -> SearchStrategy[bytes]:
    """Generates real tokens in which bytes are inserted, removed or replaced."""

    def bend(value: str, at: int, until: int, put: bytes) -> bytes:
        raw = value.encode()
        start, end = sorted((at % len(raw), until % len(raw)))
        return raw[:start] + put + raw[end:]

    places = st.integers(0, 2_000)
    letters = st.sampled_from(
        [b"A", b".", b"=", b"%2e", b'"', b"\xff", b"..", b"-", b"_"]
    ) | st.binary(max_size=3)
    return st.builds(bend, st.sampled_from(values), places, places, letters.map(no_line_ends))


def mixed(values: list[str]) -> SearchStrategy[bytes]:
    """Generates tokens from parts of several real ones, such as claims with another signature."""
    parts = [part.encode() for value in values for part in value.split(".")]
    return st.lists(st.sampled_from(parts), min_size=1, max_size=5).map(b".".join)


jsons = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(ODD, max_size=8)
    | st.sampled_from(["admin", 9e15]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


def json_of(part: str) -> Any:
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=="))
    except ValueError:
        return None


def pack(value: object) -> bytes:
    return b64(json.dumps(value).encode())


def b64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def no_line_ends(raw: bytes) -> bytes:
    return raw.replace(b"\r", b"").replace(b"\n", b"")
