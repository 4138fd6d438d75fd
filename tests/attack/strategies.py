"""Contains Hypothesis strategies for malformed text, forms, cookies, headers and HTTP framing."""

import base64
import json
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

SPECIAL_CHARACTERS = "aZ1é🔑 \t\r\n\0'\"<>&%+=@.-_;\u200b\u202e\ufeff\ud800\udfff"
# Forms of the program have some of these fields, and an attacker may send them with any form.
FIELD_NAMES = [
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
CONTENT_TYPES = [
    *([b"application/x-www-form-urlencoded"] * 8),
    b"application/x-www-form-urlencoded; charset=utf-16",
    b"multipart/form-data; boundary=x",
    b"application/json",
    b"text/plain",
    b"",
    b"\xff/\xfe",
]
# The program, its server or a proxy reads these headers.
HEADER_NAMES = [
    b"User-Agent",
    b"X-Forwarded-For",
    b"Forwarded",
    b"X-Forwarded-Host",
    b"X-Forwarded-Proto",
    b"Referer",
    b"Accept",
    b"Accept-Encoding",
    b"Accept-Language",
    b"Authorization",
    b"Cookie",
    b"If-None-Match",
    b"Range",
    b"HX-Request",
    b"HX-Current-URL",
    b"HX-Target",
    b"Document-Viewer",
    b"Sec-Purpose",
    b"Expect",
    b"Upgrade",
    b"Sec-Fetch-Mode",
    b"Sec-Fetch-Dest",
    b"X-HTTP-Method-Override",
    b"X-Original-URL",
    b"Connection",
    b"X",
]
HEADER_PIECES = [
    b"Mozilla/5.0",
    b" (Linux; Android 9;  )",
    b" AppleWebKit/537.36",
    b" Firefox/",
    b"(",
    b")",
    b";",
    b"/",
    b"9" * 20,
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
    b"true",
    b"prefetch",
    b"gzip",
    b"text/html",
    b"application/json",
    b"http://",
    b"../",
    b"%00",
    b"100-continue",
]
FOREIGN_HOSTS = [
    [],
    [b"Host:"],
    [b"Host: evil.example"],
    [b"Host: 0.0.0.0"],
    [b"Host: 2130706433"],
    [b"Host: [::]"],
    [b"Host: 127.0.0.1.evil.example"],
    [b"Host: localhost.evil.example"],
    [b"Host: evil.example#@127.0.0.1"],
    [b"Host: 127.0.0.1, evil.example"],
    [b"Host: 127.0.0.1", b"Host: evil.example"],
    [b"Host: 127.0.0.1/x"],
]
FOREIGN_SITES = [
    [b"Origin: http://evil.example"],
    [b"Origin: null"],
    [b"Origin:"],
    [b"Sec-Fetch-Site: cross-site"],
    [b"Sec-Fetch-Site: same-site"],
    [b"Sec-Fetch-Site: same-origin", b"Origin: http://evil.example"],
    [b"Sec-Fetch-Site: none", b"Origin: https://127.0.0.1"],
    [b"Sec-Fetch-Site:"],
    [b"Sec-Fetch-Site: SAME-ORIGIN"],
]
FRAMING_HEADERS = [
    b"Transfer-Encoding: chunked",
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Transfer-Encoding: chunked, chunked",
    b"Content-Length : 5",
    b"Content-Length: +5",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: identity",
]
CONNECTION_HEADERS = [
    b"Upgrade: h2c",
    b"Upgrade: websocket",
    b"Upgrade: TLS/1.2",
    b"Connection: Upgrade, HTTP2-Settings",
    b"Connection: close",
    b"Connection: keep-alive",
    b"Expect: 100-continue",
    b"Trailer: Cookie",
    b"TE: trailers",
]
long_texts = st.builds(
    lambda letter, number: letter * number,
    st.sampled_from(["x", "é", "\0", "ﬁ", "٣", "\u202e"]),
    st.sampled_from([255, 257, 4_000, 20_000]),
)
texts = (
    st.text(st.characters(exclude_categories=()), max_size=60)
    | st.text(SPECIAL_CHARACTERS, max_size=30)
    | long_texts
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
percent_encodings = st.lists(
    st.sampled_from(["%00", "%ff", "%ed%a0%80", "%", "%zz", "%c3", "a", "+", "&", "=", ";"]),
    max_size=40,
)


def encode(text: str) -> bytes:
    """Returns the percent-encoded text, with surrogates, which a decoder must not accept."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="").encode()


def segments() -> SearchStrategy[bytes]:
    """Generates encoded path segments of 1 to 4,000 bytes."""
    return texts.map(lambda text: encode(text)[:4_000] or b"x")


def forms(names: list[str]) -> SearchStrategy[bytes]:
    """Generates forms with repeated, unknown and missing fields, and bodies that are not forms."""
    field = st.tuples(
        st.sampled_from([*names, *names, *FIELD_NAMES]),
        texts.map(encode) | percent_encodings.map("".join).map(str.encode),
    )
    form = st.lists(field, max_size=8).map(
        lambda fields: b"&".join(name.encode() + b"=" + value for name, value in fields)
    )
    many_fields = st.sampled_from([b"a&", b"a=b&", b"=&", b";", b"email=x&"]).map(
        lambda field: field * 5_000
    )
    too_long = st.just(b"x" * 70_000)
    return form | form | form | st.binary(max_size=200) | many_fields | too_long


def cookies(real_cookies: list[str]) -> SearchStrategy[bytes]:
    """Generates Cookie headers from random bytes, forged tokens and modified real tokens."""
    tokens = [cookie.partition("=")[2] for cookie in real_cookies]
    noise = st.binary(max_size=300).map(remove_line_ends)
    value = noise | forged_tokens(tokens) | modified_tokens(tokens) | mixed_tokens(tokens)
    session = value.map(lambda token: b"session=" + token)
    several = st.lists(session | noise, min_size=1, max_size=4).map(b"; ".join)
    return session | session | several | noise


def headers() -> SearchStrategy[list[bytes]]:
    """Generates header lines whose values are long, repeated or not text."""
    piece = st.sampled_from(HEADER_PIECES) | st.binary(max_size=6)
    value = st.lists(piece, max_size=12).map(b"".join)
    long_value = st.sampled_from([b";", b"(", b"a,", b"\xff", b"9."]).map(lambda piece: piece * 900)
    line = st.builds(
        lambda name, value: name + b": " + remove_line_ends(value),
        st.sampled_from(HEADER_NAMES),
        value | long_value,
    )
    return st.lists(line, max_size=6)


def framed_requests(head: bytes, trailer: bytes) -> SearchStrategy[bytes]:
    """Generates requests with valid or invalid framing and trailers.

    Another request may be in the body or after it. `head` is the request line with the fixed
    headers, and `trailer` is one line.
    """
    second_request = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    chunk = st.sampled_from([b"x=123", second_request, b""]).map(
        lambda data: b"%x\r\n%s\r\n" % (len(data), data)
    )
    malformed_chunk = st.sampled_from(
        [b"5;x=y\r\nx=123\r\n", b"5 \r\nx=123\r\n", b"0x5\r\nx=123\r\n", b"-1\r\n", b"5\nx=123\n"]
    )
    trailers = st.lists(
        st.sampled_from([trailer, b"Host: evil.example", b"Content-Length: 5", b"X:"]), max_size=4
    )
    last_chunk = trailers.map(
        lambda lines: b"0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"
    )
    chunks = st.lists(chunk | chunk | malformed_chunk, max_size=3).map(b"".join)
    chunked_body = st.builds(bytes.__add__, chunks, last_chunk | last_chunk | st.just(b""))
    body = chunked_body | chunked_body | st.sampled_from([b"x=123", second_request])
    # Valid framing is more frequent than malformed framing.
    header = st.sampled_from([*FRAMING_HEADERS[:2] * 4, *FRAMING_HEADERS, *CONNECTION_HEADERS])
    rest = st.sampled_from([b"", b"", second_request, b"\r\n" + second_request])
    return st.builds(
        lambda lines, body, rest: b"\r\n".join([head, *lines, b"", b""]) + body + rest,
        st.lists(header, max_size=4),
        body,
        rest,
    )


def forged_tokens(tokens: list[str]) -> SearchStrategy[bytes]:
    """Generates tokens with real and other claims and with invalid signatures."""
    header, claims, signature = tokens[0].split(".")
    algorithms = st.sampled_from(["none", "None", "HS256", "HS512", "RS256", "ES256", "", None, 1])
    extra = st.dictionaries(
        st.sampled_from(["jwk", "jku", "x5c", "crit", "b64", "kid", "cty", "zip"]),
        json_values,
        max_size=3,
    )
    other_claims = st.dictionaries(
        st.sampled_from(["sid", "sub", "role", "iat", "exp"]), json_values, max_size=5
    )
    real_header, real_claims = decode_json(header), decode_json(claims)
    headers = st.builds(
        lambda algorithm, extra: {**real_header, "alg": algorithm, **extra}, algorithms, extra
    )
    all_claims = other_claims.map(lambda other: {**real_claims, **other})
    signatures = st.sampled_from([b"", b"AAAA", signature.encode()]) | st.binary(max_size=40).map(
        encode_base64
    )
    return st.builds(
        lambda *parts: b".".join(parts),
        headers.map(encode_json),
        all_claims.map(encode_json),
        signatures,
    )


def modified_tokens(tokens: list[str]) -> SearchStrategy[bytes]:
    """Generates real tokens in which bytes are inserted, removed or replaced."""

    def modify(token: str, first: int, second: int, inserted: bytes) -> bytes:
        raw = token.encode()
        start, end = sorted((first % len(raw), second % len(raw)))
        return raw[:start] + inserted + raw[end:]

    positions = st.integers(0, 2_000)
    inserted = st.sampled_from(
        [b"A", b".", b"=", b"%2e", b'"', b"\xff", b"..", b"-", b"_"]
    ) | st.binary(max_size=3)
    return st.builds(
        modify, st.sampled_from(tokens), positions, positions, inserted.map(remove_line_ends)
    )


def mixed_tokens(tokens: list[str]) -> SearchStrategy[bytes]:
    """Generates tokens from parts of several real ones, such as claims with another signature."""
    parts = [part.encode() for token in tokens for part in token.split(".")]
    return st.lists(st.sampled_from(parts), min_size=1, max_size=5).map(b".".join)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(SPECIAL_CHARACTERS, max_size=8)
    | st.sampled_from(["admin", 9e15]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


def decode_json(part: str) -> Any:
    """Returns the decoded part of a token, or None if it is not JSON."""
    try:
        return json.loads(base64.urlsafe_b64decode(part + "=="))
    except ValueError:
        return None


def encode_json(value: object) -> bytes:
    return encode_base64(json.dumps(value).encode())


def encode_base64(raw: bytes) -> bytes:
    """Returns base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def remove_line_ends(raw: bytes) -> bytes:
    return raw.replace(b"\r", b"").replace(b"\n", b"")
