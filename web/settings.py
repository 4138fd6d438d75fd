"""The settings: read once from the environment, checked, frozen."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import SplitResult, urlsplit

from db.secret import Secret
from web.environment import BadSetting, Environment

ROOT: Final = Path(__file__).resolve().parent.parent
DATA: Final = ROOT / "data"
SHORTEST_SECRET: Final = 32  # bytes, the length of an HS256 key (RFC 7518, section 3.2)
PLACEHOLDERS: Final = (b"your_secret_key", b"your-secret-key", b"changeme", b"change-me", b"change_me")
FEWEST_BYTES: Final = 8  # different ones: 32 random bytes in base64 have about 27


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, as CONTRACT says. `notices` are lines that the start should print."""

    host: str
    port: int
    base_url: str
    database_url: Secret[str] = field(repr=False)
    session_secrets: tuple[Secret[bytes], ...] = field(repr=False)
    stateless: bool = False
    encrypted: bool = False
    password_policy: str = "guide"  # noqa: S105  (a policy's name, no password)
    workers: int = 1
    trusted_proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def https(self) -> bool:
        return self.base_url.startswith("https:")

    @property
    def strategy(self) -> Literal["database", "stateless"]:
        return "stateless" if self.stateless else "database"


def read_settings(environ: Mapping[str, str], *, data: Path = DATA) -> Settings:
    """Settings from the environment. Raises BadSetting; touches no file but those that are named in it and `data`."""
    env = Environment(environ)
    port = env.number("PORT", 8000, 1, 65535)
    base_url = _base_url(env.text("BASE_URL", f"http://localhost:{port}"))
    loopback = is_loopback(urlsplit(base_url).hostname or "")
    secrets = _session_secrets(env, loopback, data)
    env.choice("SIGNUP_PRIVACY", ("open",))
    env.choice("RATE_LIMITS", ("enforce", "observe", "off"))
    return Settings(
        host=env.text("HOST", "127.0.0.1" if loopback else "0.0.0.0"),  # noqa: S104  (CONTRACT, HOST)
        port=port,
        base_url=base_url,
        database_url=_database_url(env.secret("DATABASE_URL") or Secret("sqlite:///data/latchkey.db")),
        session_secrets=secrets,
        stateless=env.choice("SESSION_STRATEGY", ("database", "stateless")) == "stateless",
        encrypted=env.choice("SESSION_COOKIE", ("signed", "encrypted")) == "encrypted",
        password_policy=env.choice("PASSWORD_POLICY", ("guide", "length")),
        workers=env.number("WEB_CONCURRENCY", 1, 1, 64),
        trusted_proxies=_networks(env.text("TRUSTED_PROXIES", "")),
        notices=tuple(env.notices),
    )


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _base_url(text: str) -> str:
    """The origin. Plain http is for loopback alone: a session cookie on an open wire is anybody's."""
    url = _split("BASE_URL", text)
    if url.scheme not in ("http", "https") or not url.hostname or url.path.strip("/") or url.query or url.fragment:
        raise BadSetting("BASE_URL", f"must be an origin such as https://example.com, not {text[:80]!r}")
    if url.username or url.password:
        raise BadSetting("BASE_URL", "must not hold a user name or password")
    if url.scheme == "http" and not is_loopback(url.hostname):
        raise BadSetting("BASE_URL", f"must be https outside this machine, not {text[:80]!r}")
    return f"{url.scheme}://{url.netloc}"


def _split(name: str, text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        _ = url.port  # raises where it is no number
    except ValueError:
        raise BadSetting(name, "is no URL") from None
    return url


def _database_url(value: Secret[str]) -> Secret[str]:
    """SQLite's relative path is taken from the checkout, never from the working directory."""
    url = _split("DATABASE_URL", value.reveal())
    if url.scheme in ("postgresql", "postgres"):
        if not url.path.strip("/"):
            raise BadSetting("DATABASE_URL", "names no database")
        return value
    if url.scheme != "sqlite" or url.netloc or len(url.path) < 2:
        raise BadSetting("DATABASE_URL", "must be sqlite:///path or postgresql://user:password@host/database")
    path = ROOT / url.path[1:]  # an absolute path, `sqlite:////srv/…`, stays as it is
    if not path.parent.is_dir() and path.parent != DATA:
        raise BadSetting("DATABASE_URL", f"there is no folder {path.parent}")
    return Secret(f"sqlite:///{path}")


def _session_secrets(env: Environment, loopback: bool, data: Path) -> tuple[Secret[bytes], ...]:
    """The signing keys, the first of which signs. On loopback one is made once and kept."""
    value = env.secret("SESSION_SECRET")
    if value is None and loopback:
        value = _kept_secret(env, data / "session_secret")
    if value is None:
        raise BadSetting("SESSION_SECRET", "is not set: make one with `latchkey secret`")
    secrets = [part.strip().encode() for part in value.reveal().split(",")]
    for secret in secrets:
        _require_strong(secret, env, loopback)
    if len(set(secrets)) < len(secrets):
        raise BadSetting("SESSION_SECRET", "has the same secret twice")
    return tuple(Secret(secret) for secret in secrets)


def _require_strong(secret: bytes, env: Environment, loopback: bool) -> None:
    """Long enough, no placeholder, and not made by leaning on the keyboard; for that, loopback gets a warning."""
    if len(secret) < SHORTEST_SECRET:
        raise BadSetting("SESSION_SECRET", f"must be at least {SHORTEST_SECRET} bytes: make one with `latchkey secret`")
    if any(placeholder in secret.lower() for placeholder in PLACEHOLDERS):
        raise BadSetting("SESSION_SECRET", "is a placeholder: make one with `latchkey secret`")
    if len(set(secret)) < FEWEST_BYTES:
        if not loopback:
            raise BadSetting("SESSION_SECRET", "can be guessed: make one with `latchkey secret`")
        env.notices.append("warning: SESSION_SECRET can be guessed: make one with `latchkey secret`")


def _kept_secret(env: Environment, path: Path) -> Secret[str]:
    """The development secret: made at the first start, mode 0600, the same ever after."""
    from secrets import token_urlsafe

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", opener=_owner_only) as file:
            file.write(token_urlsafe(32))
        env.notices.append(f"made a session secret for this machine and kept it in {path}")
    except FileExistsError:
        pass
    except OSError:
        raise BadSetting("SESSION_SECRET", f"is not set, and {path} cannot be written") from None
    return Secret(env.read("SESSION_SECRET", path))


def _owner_only(path: str, flags: int) -> int:
    import os

    return os.open(path, flags, 0o600)


def _networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise BadSetting("TRUSTED_PROXIES", f"must be addresses or networks, with commas, not {text[:80]!r}") from None
