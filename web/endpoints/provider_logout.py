"""Contains the endpoint that takes the logout tokens of identity providers (OpenID Connect
Back-Channel Logout 1.0, sections 2.5 to 2.8).
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from db.access import provider_logout
from db.errors import ProviderRefused, ProviderUnavailable
from web.forms.form import read_fields
from web.http.client_info import get_client_info
from web.state import app_state

NO_STORE: Final = {"Cache-Control": "no-store"}


async def receive(request: Request) -> Response:
    """Ends the sessions that the provider's token names.

    The provider's server sends the form, without cookies and without the headers by which
    `CrossOriginCheck` recognizes a browser.
    """
    fields = await read_fields(request) or {}
    try:
        await provider_logout.end_sessions(
            app_state(request.scope).store,
            str(request.path_params["provider"]),
            str(fields.get("logout_token", "")),
            client=get_client_info(request),
        )
    except (ProviderRefused, ProviderUnavailable) as error:
        refusal = {"error": "invalid_request", "error_description": error.code}
        return JSONResponse(refusal, 400, headers=NO_STORE)
    return Response(headers=NO_STORE)
