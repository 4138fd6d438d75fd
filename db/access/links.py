"""Contains the lookup of a mail's link for the page that it opens. It changes nothing."""

from dataclasses import dataclass

from db.access.invitations import find_invitation
from db.crypto.secret import Secret
from db.errors import LinkInvalid
from db.mail.tokens import Purpose, find_token
from db.store import Store


@dataclass(frozen=True, slots=True)
class Link:
    """What the page of a link shows: the email of the account, and of `change` the new one.

    `event` is the type of the mail that a `not-me` link came in. `user_id` is empty for `invite`,
    whose user has no account yet.
    """

    email: str
    user_id: str
    event: str


async def find_link(store: Store, purpose: Purpose, token: Secret[str] | None) -> Link:
    """Returns the live link of this token. Raises LinkInvalid."""
    if purpose == "invite":
        if token is None:
            raise LinkInvalid(purpose)
        return Link(await find_invitation(store, token), user_id="", event="")
    found = await find_token(store, purpose, token)
    return Link(found.email, found.user_id, found.event)
