"""Contains the table that maps exceptions to responses, and its middleware."""

from typing import Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from db import errors
from db.messages import Message
from web.http.claim import delete_claim_cookie
from web.http.link_cookie import delete_link_cookie
from web.http.methods import SAFE_METHODS
from web.http.redirects import login_page, same_page, wanted_page
from web.http.session import delete_session_cookie, record_missing_permission
from web.http.sudo import find_action, make_draft
from web.middleware.allowed_hosts import WrongHost
from web.middleware.cross_origin import ForeignOrigin
from web.observability.logs import log_failure, log_unavailable
from web.rendering.confirmation_page import confirmation_page
from web.rendering.error_pages import (
    FOREIGN_ORIGIN_TEXT,
    LAST_ADMIN_TEXT,
    LAST_FACTOR_TEXT,
    LAST_WAY_IN_TEXT,
    ROLE_IN_USE_TEXT,
    STATE_CHANGED_TEXT,
    UNKNOWN_ROLE_TEXT,
    WRONG_ROLE_TEXT,
    ErrorText,
    error_response,
    refused_text,
    viewer_mismatch_text,
)
from web.rendering.link_errors import (
    MISMATCH_TEXT,
    OTHER_USER_TEXT,
    dead_link_response,
    not_verified_response,
)
from web.rendering.problem_details import is_api, problem
from web.rendering.responses import (
    redirect_across_login,
    redirect_to_login,
    refuse_with_redirect,
    url_path,
)
from web.state import app_state, request_state

# RFC 6750, section 3
CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
INVALID_TOKEN_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer error="invalid_token"'}

NOT_CONFIRMED: Final = (
    "Confirm that it's you in the browser within ten minutes before this, or use an access token."
)
# The routes of files that need a confirmation, and those of the pages that link to them.
PAGES_OF_FILES: Final = {"admin-audit-export": "admin-audit"}


class ErrorHandler:
    """Turns every exception into a response.

    The transaction of the request has been rolled back by then.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            # The response has started, so its status cannot change anymore.
            if "status" in request_state(scope):
                raise
            response = await respond_to_error(Request(scope, receive), error)
            await response(scope, receive, send)


async def respond_to_error(request: Request, error: Exception) -> Response:
    """Returns the response to an exception.

    Only NotLoggedIn may delete the session cookie. An internal error must not log users out.
    """
    match error:
        case errors.NotLoggedIn():
            return _redirect_to_login(request, error)
        case errors.InvalidToken():
            return problem(401, "The access token is not valid.", INVALID_TOKEN_CHALLENGE)
        case errors.MissingScope():
            challenge = f'Bearer error="insufficient_scope", scope="{error.scope}"'
            detail = f"The access token does not have the scope {error.scope}."
            return problem(403, detail, {"WWW-Authenticate": challenge})
        case errors.Forbidden():
            await record_missing_permission(request, error)
            return error_response(
                request, 403, None if error.needed == "admin" else WRONG_ROLE_TEXT
            )
        case errors.NotFound():
            return error_response(request, 404)
        case errors.ViewerMismatch():
            return error_response(request, 409, viewer_mismatch_text(error.name))
        case errors.StaleDocument():
            return redirect_across_login(request, to=same_page(request))
        case errors.LinkInvalid():
            delete_link_cookie(request.scope)
            return dead_link_response(request)
        case errors.LinkOfOtherUser():
            return error_response(request, 410, OTHER_USER_TEXT)
        case errors.LinkMismatch():
            return error_response(request, 409, MISMATCH_TEXT)
        case errors.NotVerified():
            return not_verified_response(request)
        case errors.NoClaim():
            delete_claim_cookie(request.scope)
            return redirect_to_login(request, f"{url_path(request, 'login')}?again=1")
        case errors.NotConfirmed():
            return await _ask_for_confirmation(request)
        case errors.NeedsFactor():
            return _redirect_to_security_page(request)
        case errors.LastWayIn():
            return error_response(request, 409, LAST_WAY_IN_TEXT)
        case errors.LastFactor():
            return error_response(request, 409, LAST_FACTOR_TEXT)
        case errors.LastAdmin():
            return error_response(request, 409, LAST_ADMIN_TEXT)
        case errors.StateChanged():
            return error_response(request, 409, STATE_CHANGED_TEXT)
        case errors.RoleInUse():
            return error_response(request, 409, ROLE_IN_USE_TEXT)
        case errors.UnknownRole():
            return error_response(request, 422, UNKNOWN_ROLE_TEXT)
        case errors.Refused():
            return error_response(request, 422, refused_text(error.message))
        case errors.RateLimited():
            return error_response(request, 429, retry_after=error.retry_after)
        case errors.Unavailable():
            log_unavailable(request, error)
            return error_response(request, 503, retry_after=error.retry_after)
        case TimeoutError():
            return error_response(request, 503, retry_after=5)
        case ForeignOrigin():
            return error_response(request, 403, FOREIGN_ORIGIN_TEXT)
        case WrongHost():
            public_url = app_state(request.scope).settings.public_url
            return error_response(
                request,
                400,
                ErrorText(
                    Message("This site has another URL"),
                    (Message("This site is at {url}. Open it there.").format(url=public_url),),
                    "holes",
                ),
            )
        case HTTPException(status_code=422):
            return error_response(request, 422, refused_text(error.detail))
        case HTTPException():
            return error_response(request, error.status_code, headers=error.headers)
    log_failure(request, error)
    return error_response(request, 500)


async def _ask_for_confirmation(request: Request) -> Response:
    """Redirects a page to the page that confirms; a form gets that page with its draft.

    A file has no page to continue on, so the user returns to the one that links to it.
    """
    if is_api(request):
        return problem(403, NOT_CONFIRMED)
    if request.method in SAFE_METHODS:
        to = same_page(request)
        for file, linking_page in PAGES_OF_FILES.items():
            to = to.replace(url_path(request, file), url_path(request, linking_page))
        confirm = f"{url_path(request, 'confirm')}?next={quote(to, safe='/')}"
        return refuse_with_redirect(request, confirm)
    draft = await make_draft(request)
    return await confirmation_page(
        request,
        request_state(request.scope)["viewer"],
        action=find_action(request, request.scope["path"], request.method),
        next_page=wanted_page(request),
        draft=draft,
        must_type_again=draft is None,
        status=403,
    )


def _redirect_to_security_page(request: Request) -> Response:
    """Redirects an administrator who needs a second step to the page that adds one."""
    if is_api(request):
        return problem(403, "Administrators need a second step here. Add one in the browser.")
    return refuse_with_redirect(request, f"{url_path(request, 'account-security')}?required=1")


def _redirect_to_login(request: Request, error: errors.NotLoggedIn) -> Response:
    """Returns a redirect to the log-in page, which leads back to the requested page.

    Deletes a cookie whose session is not in the database, because /login would redirect back. Keeps
    a cookie that no key can decode, because a server with newer keys may accept it.
    """
    if error.ended:
        delete_session_cookie(request)
    if is_api(request):
        return problem(401, "There is no valid session. Log in first.", CHALLENGE)
    return redirect_to_login(request, login_page(request, ended=error.ended, guessed=error.guessed))
