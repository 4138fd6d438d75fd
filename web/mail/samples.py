"""Contains a sample message of each type, for the page of all mails and the tests."""

from datetime import UTC, datetime, timedelta
from typing import Final

from db.access.outbox import Message
from db.crypto.secret import Secret
from db.mail.outbox import MAIL_TYPES
from web.mail.rendering import LINK_PATHS

SAMPLE_PREFIX: Final = "sample-"
CREATED_AT: Final = datetime(2026, 11, 24, 9, 12, tzinfo=UTC)
TIME: Final = "24 November 2026, 09:12 UTC"
CLIENT: Final = {"time": TIME, "browser": "Firefox on Linux", "ip_address": "203.0.113.88"}
FACTS: Final = {
    "verify": {"until": "25 November 2026, 09:12 UTC"},
    "exists": {"until": "24 November 2026, 10:12 UTC"},
    "reset": {**CLIENT, "until": "24 November 2026, 10:12 UTC"},
    "change": {"until": "24 November 2026, 10:12 UTC"},
    "moved": {**CLIENT, "masked": "a…@example.org", "until": "1 December 2026, 09:12 UTC"},
    "arrived": {},
    "new-device": CLIENT,
    "password": {"time": TIME, "by": "you"},
    "token": CLIENT,
    "factor": {**CLIENT, "change": "passkey-added"},
    "second-step": CLIENT,
    "locked": {"until": "24 November 2026, 10:12 UTC"},
    "guesses": {},
    "invite": {"inviter": "Ada Lovelace", "until": "1 December 2026, 09:12 UTC"},
    "added": {},
    "leaving": {"date": "1 December 2026, 09:12 UTC"},
    "removal": {"date": "1 December 2026, 09:12 UTC"},
    "deleted": {},
}
UNPROVEN: Final = ("verify", "change", "invite")


def make_samples(language: str = "") -> list[Message]:
    """Returns one message of each type, in the order of MAIL_TYPES. Their links do not work."""
    return [
        Message(
            id=f"{SAMPLE_PREFIX}{message_type}",
            message_type=message_type,
            user_id="",
            recipient="alice@example.com",
            facts={**FACTS[message_type], "proven": "" if message_type in UNPROVEN else "yes"},
            created_at=CREATED_AT,
            expires_at=CREATED_AT + timedelta(hours=1),
            attempts=1,
            sent_at=CREATED_AT,
            error="",
            token=Secret("sample" * 7 + "s") if message_type in LINK_PATHS else None,
            language=language,
        )
        for message_type in MAIL_TYPES
    ]
