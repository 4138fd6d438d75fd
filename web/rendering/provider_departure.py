"""Contains the function that starts a log-in at a provider and leads to it."""

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import providers
from db.errors import ProviderUnavailable
from db.messages import Message
from db.providers.provider import Provider
from web.http.client_info import get_client_info
from web.http.provider_cookies import read_flow_cookie, set_flow_cookie
from web.http.redirects import carried_page
from web.http.remember import read_choice
from web.rendering.provider_texts import trouble_url
from web.rendering.responses import depart, redirect_across_login
from web.state import app_state

TITLE: Final = Message("Going to {label}")


async def start_log_in(request: Request, provider: Provider, fields: Mapping[str, str]) -> Response:
    """Starts a log-in at a provider with the fields `next` and `remember` of a form."""
    try:
        departure = await providers.begin(
            app_state(request.scope).store,
            provider.name,
            next_page=carried_page(request, fields.get("next")),
            client=get_client_info(request),
            cookie=read_flow_cookie(request),
            is_remembered=bool(read_choice(request, fields)),
        )
    except ProviderUnavailable:
        return redirect_across_login(
            request, to=trouble_url(request, "login", "down", provider.name)
        )
    set_flow_cookie(request, departure.cookie)
    title = TITLE.format(label=provider.label)
    return depart(
        request, "providers/departing.html", title, to=departure.url, label=provider.label
    )
