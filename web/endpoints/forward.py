"""Contains the endpoints for applications behind the same reverse proxy: the check of a forwarded
request, the identity token, and the public keys.
"""

from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from db.access import identity
from db.access.identity import Identity
from db.errors import NotLoggedIn
from db.viewer import Viewer
from web.forms.form import Form, read_fields
from web.forms.schemas import TokenRequest
from web.http.redirects import application_origin, forwarded_login_page
from web.http.session import delete_session_cookie, verify_session
from web.rendering.formatting import iso
from web.rendering.problem_details import problem
from web.state import app_state

# Every printable ASCII character but `%`, so that most names need no decoding.
HEADER_SAFE: Final = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
# Applications may use a cached key for this long. They request an unknown `kid` at once.
JWKS_HEADERS: Final = {"Cache-Control": "public, max-age=300"}
UNKNOWN_PARAMETER: Final = "The parameter must be role or login."
WRONG_AUDIENCE: Final = "Audience must be this site or an origin that RETURN_TO lists."


async def check(request: Request) -> Response:
    """Returns 204 with the identity headers, 401 with the log-in URL, or 403 for another role.

    A reverse proxy sends this request before it forwards one to an application.
    """
    errors = _query_errors(request)
    if errors:
        return problem(422, "The query is not valid.", errors=errors)
    try:
        viewer = await verify_session(request, identity.PRELOAD)
        found = await identity.get_identity(viewer)
    except NotLoggedIn as error:
        return _refuse(request, error)
    roles = request.query_params.getlist("role")
    if roles and viewer.role != "admin" and viewer.role not in roles:
        return problem(403, "Your role does not give access to this application.")
    return Response(status_code=204, headers=_identity_headers(request, viewer, found))


async def issue_token(request: Request) -> Response:
    """Returns an identity token for this site or, with `audience`, for another application."""
    viewer = await verify_session(request, identity.PRELOAD)
    settings = app_state(request.scope).settings
    form = Form.check(TokenRequest, await read_fields(request))
    if form.data is None:
        return problem(422, "The form is not valid.", errors=form.errors)
    audience = form.data.audience or settings.base_url
    if audience not in (settings.base_url, *settings.forward.return_origins):
        errors = {"audience": [WRONG_AUDIENCE]}
        return problem(422, "The form is not valid.", errors=errors)
    token = await identity.issue_token(viewer, issuer=settings.public_url, audience=audience)
    return JSONResponse({"token": token.value.reveal(), "expires_at": iso(token.expires_at)})


async def show_keys(request: Request) -> Response:
    """Returns the public keys that verify identity tokens (RFC 7517)."""
    keys = identity.public_keys(app_state(request.scope).store)
    return JSONResponse(keys, headers=JWKS_HEADERS, media_type="application/jwk-set+json")


def _query_errors(request: Request) -> dict[str, list[str]]:
    """Returns the errors of the query, which the configuration of the proxy contains.

    Another parameter is an error, because with a typo in `role` every role would pass.
    """
    query = request.query_params
    errors = {name: [UNKNOWN_PARAMETER] for name in query if name not in ("role", "login")}
    if query.get("login", "redirect") != "redirect":
        errors["login"] = ["Login must be redirect."]
    return errors


def _refuse(request: Request, error: NotLoggedIn) -> Response:
    """Returns 401 with `X-Login-URL`, or with `?login=redirect` a redirect for a navigation.

    Deletes a cookie whose session has ended, because the log-in page would redirect it away.
    """
    if error.ended:
        delete_session_cookie(request)
    login_url = forwarded_login_page(request)
    # The redirect of a fetch() to another origin would fail without a readable status.
    is_navigation = request.headers.get("sec-fetch-mode", "navigate") == "navigate"
    if request.query_params.get("login") == "redirect" and is_navigation:
        return RedirectResponse(login_url, 303)
    return problem(
        401, "There is no valid session. Log in first.", headers={"X-Login-URL": login_url}
    )


def _identity_headers(request: Request, viewer: Viewer, found: Identity) -> dict[str, str]:
    """Returns the headers for the application, without control characters and in ASCII.

    Other characters are percent-encoded UTF-8, because frameworks decode header bytes differently.
    """
    settings = app_state(request.scope).settings
    audience = application_origin(request) or settings.base_url
    token = identity.sign_identity(viewer, found, issuer=settings.public_url, audience=audience)
    values = {
        "Remote-User": found.id,
        "Remote-Email": found.email or "",
        "Remote-Name": found.name,
        "Remote-Role": found.role,
    }
    headers = {name: quote(value, safe=HEADER_SAFE) for name, value in values.items() if value}
    groups = ",".join(found.groups)  # `db.access.identity` has encoded the team.
    return {**headers, "Remote-Groups": groups, "Remote-Token": token.value.reveal()}
