"""Password hashes of other systems, which are verified as they are until the next log-in.

Their format and their cost are checked when accounts are imported, so that no hash can occupy a
thread for long or exhaust the memory.
"""

import binascii
import hashlib
import hmac
import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Final

from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError

from db.crypto.secret import Secret

MAX_HASH_CHARS: Final = 512
# Each maximum takes one to two seconds on a slow core.
MAX_BCRYPT_COST: Final = 14
MAX_PBKDF2_ITERATIONS: Final = 2_000_000
MAX_SCRYPT_MEMORY: Final = 160 * 1024 * 1024  # N = 2**17 and r = 8 need 128 MiB.
MAX_SCRYPT_WORK: Final = 2**21  # N * r * p
MAX_ARGON2_KIB: Final = 256 * 1024
MAX_ARGON2_WORK: Final = 2**21  # KiB * passes
MAX_ARGON2_LANES: Final = 16  # Each lane is a thread of its own.
BCRYPT_BYTES: Final = 72  # bcrypt ignores the rest of a password.
DIGESTS: Final = ("sha1", "sha256", "sha512")

BCRYPT: Final = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")
# Each pattern has the digest, the iterations, the salt and the hash.
DJANGO_PBKDF2: Final = re.compile(r"pbkdf2_(sha1|sha256)\$([0-9]{1,9})\$([^$]+)\$([^$]+)")
WERKZEUG_PBKDF2: Final = re.compile(r"pbkdf2:(\w+):([0-9]{1,9})\$([^$]+)\$([0-9a-f]+)")
PASSLIB_PBKDF2: Final = re.compile(r"\$pbkdf2-(\w+)\$([0-9]{1,9})\$([^$]+)\$([^$]+)")
DJANGO_SCRYPT: Final = re.compile(
    r"scrypt\$(?P<n>[0-9]{1,10})\$(?P<salt>[^$]+)\$(?P<r>[0-9]{1,4})\$(?P<p>[0-9]{1,4})"
    r"\$(?P<hash>[^$]+)"
)
WERKZEUG_SCRYPT: Final = re.compile(
    r"scrypt:(?P<n>[0-9]{1,10}):(?P<r>[0-9]{1,4}):(?P<p>[0-9]{1,4})\$(?P<salt>[^$]+)"
    r"\$(?P<hash>[0-9a-f]+)"
)
PASSLIB_SCRYPT: Final = re.compile(
    r"\$scrypt\$ln=(?P<ln>[0-9]{1,2}),r=(?P<r>[0-9]{1,4}),p=(?P<p>[0-9]{1,4})\$(?P<salt>[^$]+)"
    r"\$(?P<hash>[^$]+)"
)


class UnusableHash(Exception):
    """Raised for a hash that cannot be imported. The message has the reason, never the hash."""


@dataclass(frozen=True, slots=True, repr=False)
class _Bcrypt:
    """bcrypt, or bcrypt of the SHA-256 of the password in hex."""

    text: str
    is_prehashed: bool = False

    @property
    def is_too_costly(self) -> bool:
        return int(self.text[4:6]) > MAX_BCRYPT_COST

    def matches(self, password: bytes) -> bool:
        import bcrypt  # It is needed only for accounts that were imported.

        if self.is_prehashed:
            password = binascii.hexlify(hashlib.sha256(password).digest())
        try:
            return bcrypt.checkpw(password[:BCRYPT_BYTES], self.text.encode())
        except ValueError:
            return False


@dataclass(frozen=True, slots=True, repr=False)
class _Pbkdf2:
    digest: str
    iterations: int
    salt: bytes
    expected: bytes

    @property
    def is_too_costly(self) -> bool:
        # SHA-512 takes twice the time.
        weight = 2 if self.digest == "sha512" else 1
        return not 1 <= self.iterations * weight <= MAX_PBKDF2_ITERATIONS

    def matches(self, password: bytes) -> bool:
        computed = hashlib.pbkdf2_hmac(
            self.digest, password, self.salt, self.iterations, len(self.expected)
        )
        return hmac.compare_digest(computed, self.expected)


@dataclass(frozen=True, slots=True, repr=False)
class _Scrypt:
    """scrypt (RFC 7914). N is a power of two."""

    n: int
    r: int
    p: int
    salt: bytes
    expected: bytes

    @property
    def memory(self) -> int:
        return 128 * self.r * (self.n + self.p + 2)

    @property
    def is_too_costly(self) -> bool:
        return self.memory > MAX_SCRYPT_MEMORY or self.n * self.r * self.p > MAX_SCRYPT_WORK

    def matches(self, password: bytes) -> bool:
        computed = hashlib.scrypt(
            password,
            salt=self.salt,
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=self.memory + 1024 * 1024,
            dklen=len(self.expected),
        )
        return hmac.compare_digest(computed, self.expected)


ForeignHash = _Bcrypt | _Pbkdf2 | _Scrypt


def is_foreign(stored: Secret[str]) -> bool:
    """Returns whether the stored hash is of another algorithm than argon2."""
    return not stored.reveal().startswith("$argon2")


def matches(stored: Secret[str], password: Secret[str]) -> bool:
    """Returns whether the password matches the hash of another system; False for any other text."""
    parsed = _parse(stored.reveal())
    if parsed is None or parsed.is_too_costly:
        return False
    return parsed.matches(password.reveal().encode())


def normalize(text: str) -> Secret[str]:
    """Returns a hash of another system as it is stored. Raises UnusableHash."""
    if len(text) > MAX_HASH_CHARS:
        raise UnusableHash("the password hash is too long")
    # Django's names of algorithms precede the standard format of these two.
    text = re.sub(r"^(?:argon2(?=\$argon2)|bcrypt\$(?=\$2))", "", text)
    if text.startswith("$argon2"):
        _require_cheap_argon2(text)
        return Secret(text)
    parsed = _parse(text)
    if parsed is None:
        raise UnusableHash(
            "the format of the password hash is unknown: argon2, bcrypt, PBKDF2 and scrypt are "
            "known (leave it empty, and the user chooses a new password by mail)"
        )
    if parsed.is_too_costly:
        raise UnusableHash("the password hash costs too much time or memory to verify")
    return Secret(text)


def _require_cheap_argon2(text: str) -> None:
    try:
        found = extract_parameters(text)
    except (InvalidHashError, ValueError):
        raise UnusableHash("the argon2 hash is damaged") from None
    if (
        found.memory_cost > MAX_ARGON2_KIB
        or found.memory_cost * found.time_cost > MAX_ARGON2_WORK
        or not 1 <= found.parallelism <= MAX_ARGON2_LANES
        or not 4 <= found.hash_len <= 128
        or not 8 <= found.salt_len <= 128
    ):
        raise UnusableHash("the password hash costs too much time or memory to verify")


def _parse(text: str) -> ForeignHash | None:
    """Returns the hash, or None for a text of no known format."""
    bare = text.removeprefix("bcrypt_sha256$")
    if BCRYPT.fullmatch(bare):
        return _Bcrypt(bare, is_prehashed=bare != text)
    try:
        return _parse_pbkdf2(text) or _parse_scrypt(text)
    except ValueError:  # The salt or the hash is not base64 or hex.
        return None


def _parse_pbkdf2(text: str) -> _Pbkdf2 | None:
    if found := DJANGO_PBKDF2.fullmatch(text):
        salt, expected = found[3].encode(), b64decode(found[4], validate=True)
    elif found := WERKZEUG_PBKDF2.fullmatch(text):
        salt, expected = found[3].encode(), bytes.fromhex(found[4])
    elif found := PASSLIB_PBKDF2.fullmatch(text):
        salt, expected = _decode_passlib(found[3]), _decode_passlib(found[4])
    else:
        return None
    if found[1] not in DIGESTS or not _is_digest(expected):
        return None
    return _Pbkdf2(found[1], int(found[2]), salt, expected)


def _parse_scrypt(text: str) -> _Scrypt | None:
    if found := DJANGO_SCRYPT.fullmatch(text):
        n, salt = int(found["n"]), found["salt"].encode()
        expected = b64decode(found["hash"], validate=True)
    elif found := WERKZEUG_SCRYPT.fullmatch(text):
        n, salt = int(found["n"]), found["salt"].encode()
        expected = bytes.fromhex(found["hash"])
    elif found := PASSLIB_SCRYPT.fullmatch(text):
        n, salt = 1 << int(found["ln"]), _decode_passlib(found["salt"])
        expected = _decode_passlib(found["hash"])
    else:
        return None
    r, p = int(found["r"]), int(found["p"])
    if n < 2 or n & (n - 1) or r < 1 or p < 1 or not _is_digest(expected):
        return None
    return _Scrypt(n, r, p, salt, expected)


def _is_digest(expected: bytes) -> bool:
    """Returns whether the length is that of a hash. Any password would match an empty one."""
    return 16 <= len(expected) <= 128


def _decode_passlib(text: str) -> bytes:
    """Decodes passlib's base64, which has `.` instead of `+` and no padding."""
    return b64decode(text.replace(".", "+") + "=" * (-len(text) % 4), validate=True)
