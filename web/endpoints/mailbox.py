"""Contains the development mailbox, which displays the mails of this program on loopback.

Only clients on this machine may read it, because the links in the mails give access to accounts.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import outbox
from db.access.outbox import Message
from db.errors import NotFound
from db.viewer import Mailer
from web.http.language import read_language
from web.mail.rendering import SUBJECTS, MailContent
from web.mail.samples import SAMPLE_PREFIX, make_samples
from web.middleware.local_clients import require_local_client
from web.middleware.security_headers import CSP
from web.rendering.responses import HtmlResponse, now, page
from web.state import app_state

LAYOUT: Final = "mailbox"
# The mail is displayed in a frame, because its style must not apply to the page.
PAGE_CSP: Final = f"{CSP}; frame-src 'self'"
MAIL_CSP: Final = (
    "default-src 'none'; style-src '{style_hash}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox allow-popups allow-popups-to-escape-sandbox"
)


@dataclass(frozen=True, slots=True)
class ListedMail:
    """A mail in the list."""

    id: str
    message_type: str
    subject: str
    recipient: str
    created_at: datetime
    is_sent: bool
    error: str


async def show(request: Request) -> Response:
    mails = [_listed(message) for message in await outbox.list_messages(_get_mailer(request))]
    title = "Development mailbox"
    return page(request, "mailbox/page.html", title, layout=LAYOUT, mails=mails, now=now(request))


async def show_message(request: Request) -> Response:
    message = await _get_message(request)
    content = _render(request, message)
    mail = _listed(message)
    response = page(
        request,
        "mailbox/message.html",
        mail.subject,
        layout=LAYOUT,
        mail=mail,
        sender=app_state(request.scope).mail_renderer.sender,
        text=content.text if content else "",
        link=content.link if content else "",
        now=now(request),
    )
    response.headers["Content-Security-Policy"] = PAGE_CSP
    return response


async def show_html(request: Request) -> Response:
    """Returns the HTML of a mail as the recipient gets it. Only its own style is applied."""
    content = _render(request, await _get_message(request))
    if content is None:
        raise NotFound
    response = HtmlResponse(content.html.encode())
    response.headers["Content-Security-Policy"] = MAIL_CSP.format(style_hash=content.style_hash)
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


async def show_samples(request: Request) -> Response:
    """Returns a page with every type of mail, with sample data."""
    require_local_client(request)
    mails = [_listed(message) for message in _make_samples(request)]
    response = page(request, "mailbox/samples.html", "All mails", layout=LAYOUT, mails=mails)
    response.headers["Content-Security-Policy"] = PAGE_CSP
    return response


def _get_mailer(request: Request) -> Mailer:
    """Returns the capability to read the outbox. Raises an HTTPException for other clients."""
    require_local_client(request)
    mailer = app_state(request.scope).mailer
    if mailer is None:
        raise NotFound
    return mailer


async def _get_message(request: Request) -> Message:
    """Returns the message or the sample of the path. Raises NotFound."""
    mailer, message_id = _get_mailer(request), request.path_params["id"]
    if message_id.startswith(SAMPLE_PREFIX):
        samples = {sample.id: sample for sample in _make_samples(request)}
        message = samples.get(message_id)
    else:
        message = await outbox.get_message(mailer, message_id)
    if message is None:
        raise NotFound
    return message


def _make_samples(request: Request) -> list[Message]:
    """Returns the samples in the language of the browser."""
    return make_samples(read_language(request.scope).code)


def _render(request: Request, message: Message) -> MailContent | None:
    """Returns the content, or None if the mail cannot be built. Its error is on its page."""
    try:
        return app_state(request.scope).mail_renderer.render(message)
    except ValueError:
        return None


def _listed(message: Message) -> ListedMail:
    return ListedMail(
        message.id,
        message.message_type,
        SUBJECTS[message.message_type],
        message.recipient,
        message.created_at,
        message.sent_at is not None,
        message.error,
    )
