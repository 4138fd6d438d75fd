"""Functions that read the mails an application has written, for tests over HTTP."""

import httpx

from db.access import outbox
from db.access.outbox import Message
from db.mail.outbox import MessageType
from db.mail.state import OutboxState
from db.mail.tokens import link_id
from db.viewer import Mailer
from tests.browser_client import Browser, read
from tests.conftest import TestApp

PATHS: dict[str, str] = {
    "verify": "/verify",
    "exists": "/reset",
    "reset": "/reset",
    "locked": "/reset",
    "change": "/change-email",
    "moved": "/not-me",
    "new-device": "/not-me",
    "password": "/not-me",
    "invite": "/join",
    "leaving": "/keep",
    "token": "/not-me",
    "factor": "/not-me",
    "second-step": "/not-me",
}


def enabled_outbox(*, requires_verification: bool = False) -> OutboxState:
    """Returns the state of an outbox that keeps the content of sent messages."""
    return OutboxState(
        is_enabled=True, keeps_content=True, requires_verification=requires_verification
    )


async def deliver(app: TestApp) -> list[Message]:
    """Marks every due message as sent and returns them, the oldest first."""
    mailer, sent = Mailer(app.store), []
    while await outbox.resolve_next(mailer):
        pass
    while message := await outbox.claim(mailer):
        assert await outbox.mark_sent(mailer, message)
        sent.append(message)
    return sent


async def receive(app: TestApp, message_type: MessageType, recipient: str = "") -> Message:
    """Delivers everything and returns the newest message of this type to this recipient."""
    await deliver(app)
    return next(
        message
        for message in await outbox.list_messages(Mailer(app.store))
        if message.message_type == message_type and recipient in ("", message.recipient)
    )


def url_of(message: Message) -> str:
    """Returns the path of the link in a mail."""
    assert message.token is not None
    return f"{PATHS[message.message_type]}/{message.token.reveal()}"


def link_field(message: Message) -> dict[str, str]:
    """Returns the hidden field that the form of this link contains."""
    assert message.token is not None
    return {"link": link_id(message.token)}


async def open_link(browser: Browser, message: Message) -> None:
    """Opens the link of a mail, which sets the link cookie of the browser."""
    answer = await browser.get(url_of(message))
    assert (answer.status_code, answer.headers["location"]) == (303, PATHS[message.message_type])


async def confirm_email(app: TestApp, user: Browser) -> None:
    """Confirms the email of a logged-in user by the link in the mail."""
    message = await receive(app, "verify", user.email)
    await open_link(user, message)
    answer = await user.post("/verify", link_field(message))
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")


async def change_email(app: TestApp, user: Browser, email: str) -> None:
    """Changes the email of a logged-in user by the link in the mail."""
    await user.post("/account/email", {"email": email})
    message = await receive(app, "change", email)
    await open_link(user, message)
    answer = await user.post("/change-email", link_field(message))
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    user.email = email


def main_text(answer: httpx.Response) -> str:
    """Returns the text of the main part of a page, or of a fragment."""
    page = read(answer)
    main = page.all(id="main")
    return " ".join((main[0] if main else page).text.split())
