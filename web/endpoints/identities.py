"""Contains the endpoints that connect identities of other providers to the viewer's account."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from db.access import identities, providers
from db.errors import ProviderUnavailable
from db.messages import Message
from web.forms.form import read_fields
from web.http.client_info import get_client_info
from web.http.provider_cookies import (
    delete_identity,
    find_identity,
    read_flow_cookie,
    set_flow_cookie,
)
from web.http.sudo import verify_sudo
from web.rendering.factor_changes import redirect_after_change
from web.rendering.responses import depart, redirect_across_login, url_path
from web.state import app_state

DEPARTURE_TITLE = Message("Going to {label}")


async def begin(request: Request) -> Response:
    """Starts a log-in at a provider, whose identity is then connected to the account."""
    sudo = await verify_sudo(request)
    fields = await read_fields(request) or {}
    store = app_state(request.scope).store
    provider = await providers.get_provider(store, fields.get("provider", ""))
    try:
        departure = await providers.begin(
            store,
            provider.name,
            next_page="",
            client=get_client_info(request),
            cookie=read_flow_cookie(request),
            sid_hash=sudo.sid_hash,
        )
    except ProviderUnavailable:
        return _redirect_to_security(request, "down", provider.name)
    set_flow_cookie(request, departure.cookie)
    return depart(
        request,
        "providers/departing.html",
        DEPARTURE_TITLE.format(label=provider.label),
        to=departure.url,
        label=provider.label,
    )


async def connect(request: Request) -> Response:
    """Connects the identity that waits in the cookie."""
    sudo = await verify_sudo(request)
    fields = await read_fields(request) or {}
    # The form names the provider that its text is about. Another tab may have replaced the cookie.
    asserted = await find_identity(request, fields.get("provider", ""))
    if asserted is None:
        return _redirect_to_security(request, "expired", fields.get("provider", ""))
    result = await identities.connect(sudo, asserted)
    delete_identity(request)
    if isinstance(result, str):
        return _redirect_to_security(request, result, asserted.provider)
    return redirect_after_change(request, "identity-added", result)


async def remove(request: Request) -> Response:
    sudo = await verify_sudo(request)
    await read_fields(request)
    change = await identities.remove(sudo, str(request.path_params["id"]))
    return redirect_after_change(request, "identity-removed", change)


def _redirect_to_security(request: Request, trouble: str, name: str) -> Response:
    query = urlencode({"trouble": trouble, "with": name})
    return redirect_across_login(request, to=f"{url_path(request, 'account-security')}?{query}")
