"""Contains the functions that read, check and, on loopback, create SESSION_SECRET."""

import os
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

from db.crypto.secret import Secret
from web.settings.environment import Environment, InvalidSetting

MIN_SECRET_BYTES: Final = 32  # This is the minimum for HS256 (RFC 7518, section 3.2).
PLACEHOLDER_SECRETS: Final = (
    b"your_secret_key",
    b"your-secret-key",
    b"changeme",
    b"change-me",
    b"change_me",
)
MIN_DISTINCT_BYTES: Final = 8  # 32 random bytes in base64 have about 27 distinct characters.


def read_session_secrets(
    env: Environment, loopback: bool, data: Path, *, make_secret: bool = True
) -> tuple[Secret[bytes], ...]:
    """Returns the session secrets. The first one signs, and all of them verify.

    On loopback, creates a missing secret and stores it in `data`. Without `make_secret`, returns a
    random one that is not stored, for commands that only read. Raises InvalidSetting.
    """
    value = env.secret("SESSION_SECRET")
    path = data / "session_secret"
    if value is None and loopback:
        value = (
            _load_or_create_secret(env, path)
            if make_secret or path.exists()
            else Secret(token_urlsafe(32))
        )
    if value is None:
        raise InvalidSetting("SESSION_SECRET", "is not set: make one with `latchkey secret`")
    secrets = [part.strip().encode() for part in value.reveal().split(",")]
    for secret in secrets:
        _require_strong(secret, env, loopback)
    if len(set(secrets)) < len(secrets):
        raise InvalidSetting("SESSION_SECRET", "contains the same secret twice: remove one")
    return tuple(Secret(secret) for secret in secrets)


def _require_strong(secret: bytes, env: Environment, loopback: bool) -> None:
    """Raises InvalidSetting for a secret that is short, a placeholder, or of few distinct bytes.

    On loopback, few distinct bytes cause only a warning.
    """
    if len(secret) < MIN_SECRET_BYTES:
        raise InvalidSetting(
            "SESSION_SECRET",
            f"must be at least {MIN_SECRET_BYTES} bytes: make one with `latchkey secret`",
        )
    if any(placeholder in secret.lower() for placeholder in PLACEHOLDER_SECRETS):
        raise InvalidSetting("SESSION_SECRET", "is a placeholder: make one with `latchkey secret`")
    if len(set(secret)) < MIN_DISTINCT_BYTES:
        if not loopback:
            raise InvalidSetting("SESSION_SECRET", "is too weak: make one with `latchkey secret`")
        env.notices.append("warning: SESSION_SECRET is too weak: make one with `latchkey secret`")


def _load_or_create_secret(env: Environment, path: Path) -> Secret[str]:
    """Returns the secret of the file. Creates the file with mode 0600 if it does not exist."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "x", opener=_owner_only) as file:
            file.write(token_urlsafe(32))
        env.notices.append(f"created a session secret and saved it in {path}")
    except FileExistsError:
        pass
    except OSError as error:
        raise InvalidSetting(
            "SESSION_SECRET", f"is not set, and {path} cannot be written: {error.strerror}"
        ) from None
    return Secret(env.read("SESSION_SECRET", path))


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
