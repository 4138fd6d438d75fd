"""Contains the functions that read the settings of webhooks: WEBHOOK_URL, WEBHOOK_SECRET and
WEBHOOK_EVENTS.
"""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Container
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Final
from urllib.parse import urlsplit

from db.crypto.secret import Secret
from db.ip_addresses import is_loopback
from web.settings.environment import Environment, InvalidSetting

ALL_EVENTS: Final = "*"
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  (a prefix)
# Standard Webhooks 1.0.0, "Signature scheme".
MIN_SECRET_BYTES: Final = 24
MAX_SECRET_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class WebhookSettings:
    """The receiver of webhooks. Each secret makes a signature.

    `events` are the names of the events that are sent; `*` stands for all.
    """

    url: Secret[str] = field(repr=False)
    secrets: tuple[Secret[bytes], ...] = field(repr=False)
    events: frozenset[str] = frozenset((ALL_EVENTS,))


def make_webhook_secret() -> str:
    """Returns a new secret for WEBHOOK_SECRET, of 32 random bytes."""
    return SECRET_PREFIX + b64encode(token_bytes(32)).decode()


def read_webhook_settings(env: Environment) -> WebhookSettings | None:
    """Returns the receiver of webhooks, or None without WEBHOOK_URL. Raises InvalidSetting.

    The message of an error never contains the URL or a secret.
    """
    url, secret = env.secret("WEBHOOK_URL"), env.secret("WEBHOOK_SECRET")
    events = env.text("WEBHOOK_EVENTS", ALL_EVENTS)
    if url is None:
        if secret is not None:
            raise InvalidSetting("WEBHOOK_SECRET", "is set, but WEBHOOK_URL is not")
        return None
    _require_url(url.reveal())
    if secret is None:
        raise InvalidSetting(
            "WEBHOOK_SECRET", "is required with WEBHOOK_URL: run `latchkey secret --webhook`"
        )
    names = frozenset(part.strip() for part in events.split(",") if part.strip())
    return WebhookSettings(url, _read_secrets(secret.reveal()), names or frozenset((ALL_EVENTS,)))


def require_known_events(settings: WebhookSettings, known: Container[str]) -> None:
    """Raises InvalidSetting if WEBHOOK_EVENTS names an event that does not exist."""
    for name in sorted(settings.events):
        if name != ALL_EVENTS and name not in known:
            raise InvalidSetting("WEBHOOK_EVENTS", f"there is no event {name[:40]!r}")


def _require_url(text: str) -> None:
    problem = "must be an https URL, or http on loopback, without a user name and a password"
    try:
        url = urlsplit(text)
        port = url.port  # Raises ValueError if the port is not a number.
    except ValueError:
        raise InvalidSetting("WEBHOOK_URL", problem) from None
    is_allowed = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname or ""))
    if (
        not is_allowed
        or not url.hostname
        or port == 0
        or "@" in url.netloc
        or url.fragment
        or not re.fullmatch(r"[!-~]{1,2000}", text)
    ):
        raise InvalidSetting("WEBHOOK_URL", problem)


def _read_secrets(text: str) -> tuple[Secret[bytes], ...]:
    """Returns the secrets, which are separated by spaces or commas. Raises InvalidSetting."""
    return tuple(Secret(_decode(part)) for part in re.split(r"[\s,]+", text.strip(" ,")))


def _decode(text: str) -> bytes:
    problem = (
        f"must be {SECRET_PREFIX} and the base64 of {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes"
    )
    try:
        # Other implementations accept a secret without padding.
        content = text.removeprefix(SECRET_PREFIX)
        secret = b64decode(content + "=" * (-len(content) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidSetting("WEBHOOK_SECRET", problem) from None
    if not text.startswith(SECRET_PREFIX) or not (
        MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES
    ):
        raise InvalidSetting("WEBHOOK_SECRET", problem)
    return secret
