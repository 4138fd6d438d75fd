"""Contains the sentences about log-ins at other providers that have failed."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request

from db.access import providers
from db.messages import Message
from web.rendering.responses import url_path
from web.state import app_state

DEFAULT_LABEL: Final = Message("The provider")
TROUBLES: Final[Mapping[str, Message]] = {
    "cancelled": Message("You canceled at {label}. Nothing was changed."),
    "expired": Message("That took too long, or it started in another browser. Try again."),
    "refused": Message("{label} didn't finish the log-in. Try again, or log in another way."),
    "down": Message("{label} isn't answering. Try again in a minute, or log in another way."),
    "limited": Message("Too many log-ins from your network. Wait a minute and try again."),
    "busy": Message("We're busy. Try again in a few seconds."),
    "taken": Message(
        "This {label} account is connected to another account here. Disconnect it there first."
    ),
    "many": Message("Your account has too many connections. Disconnect one first."),
    "other": Message(
        "This {label} account isn't connected to your account here. Use the one that is."
    ),
    "closed": Message("This {label} account can't log in here. Ask an administrator."),
}


async def trouble_text(request: Request) -> str:
    """Returns the sentence that the query parameter `trouble` selects; empty for any other value.

    The parameter `with` is the name of the provider, whose label the sentence contains.
    """
    query = request.query_params
    text = TROUBLES.get(query.get("trouble", ""))
    if text is None:
        return ""
    return text.format(label=await provider_label(request, query.get("with", "")))


async def link_text(request: Request) -> str:
    """Returns the sentence for users who have an account and have come back from a provider."""
    name = request.query_params.get("link", "")
    label = await providers.find_label(app_state(request.scope).store, name) if name else ""
    if not label:
        return ""
    return Message(
        "You already have an account with this email. Log in as usual, and we'll offer to "
        "connect {label}."
    ).format(label=label)


def trouble_url(request: Request, page_name: str, trouble: str, name: str = "") -> str:
    """Returns the URL of a page that displays the sentence of this trouble.

    `name` is that of the provider, by default the one in the path of the request.
    """
    query = urlencode({"trouble": trouble, "with": name or request.path_params["provider"]})
    return f"{url_path(request, page_name)}?{query}"


def login_to_connect(request: Request, name: str) -> str:
    """Returns the URL of the log-in that leads to the form which connects the kept identity."""
    target = f"{url_path(request, 'account-security')}?connect=1"
    return f"{url_path(request, 'login')}?{urlencode({'link': name, 'next': target})}"


async def provider_label(request: Request, name: str) -> str:
    """Returns the label of a provider, or words that stand for it."""
    return await providers.find_label(app_state(request.scope).store, name) or DEFAULT_LABEL
