"""Contains the lookup of a mail's link for the page that it opens. It changes nothing."""

from dataclasses import dataclass

from db.crypto.secret import Secret
from db.mail.tokens import Purpose, find_token
from db.store import Store


@dataclass(frozen=True, slots=True)
class Link:
    """What the page of a link shows: the email of the account, and of `change` the new one.

    `event` is the type of the mail that a `not-me` link came in.
    """

    email: str
    user_id: str
    event: str


async def find_link(store: Store, purpose: Purpose, token: Secret[str] | None) -> Link:
    """Returns the live link of this token. Raises LinkInvalid."""
    found = await find_token(store, purpose, token)
    return Link(found.email, found.user_id, found.event)
