"""Contains the endpoint that starts a log-in at a provider which confirms the user's identity."""

from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from db.access import confirmation, provider_confirmation
from db.errors import ProviderUnavailable
from db.messages import Message
from web.forms.form import read_fields
from web.http.provider_cookies import read_flow_cookie, set_flow_cookie
from web.http.redirects import carried_page
from web.http.session import verify_session
from web.http.sudo import get_sid_hash
from web.rendering.provider_texts import provider_label, trouble_url
from web.rendering.responses import depart, redirect_across_login, url_path

DEPARTURE_TITLE: Final = Message("Going to {label}")


async def begin(request: Request) -> Response:
    """Leads to the provider, or to the form of an account that has something stronger."""
    viewer = await verify_session(request, preload=confirmation.PRELOAD)
    fields = await read_fields(request) or {}
    next_page, name = (
        carried_page(request, fields.get("next")),
        str(request.path_params["provider"]),
    )
    try:
        departure = await provider_confirmation.begin(
            viewer,
            name,
            next_page=next_page,
            cookie=read_flow_cookie(request),
            sid_hash=get_sid_hash(request),
        )
    except ProviderUnavailable:
        to = trouble_url(request, "account-security", "down")
        return redirect_across_login(request, to=to)
    if departure is None:
        query = f"?{urlencode({'next': next_page})}" if next_page else ""
        return redirect_across_login(request, to=f"{url_path(request, 'confirm')}{query}")
    set_flow_cookie(request, departure.cookie)
    label = await provider_label(request, name)
    return depart(
        request,
        "providers/departing.html",
        DEPARTURE_TITLE.format(label=label),
        to=departure.url,
        label=label,
    )
