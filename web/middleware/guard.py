"""Contains the guard of a route, which decides by the session cookie alone."""

from collections.abc import Awaitable
from enum import Enum

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from db.errors import NoClaim, NotLoggedIn
from web.http.claim import has_claim
from web.http.methods import SAFE_METHODS
from web.http.session import (
    is_session_live,
    read_bearer,
    read_claims,
    require_matching_document,
)
from web.rendering.responses import redirect_across_login, url_path


class RouteAccess(Enum):
    """The users who may call a route."""

    ANYONE = "anyone"
    GUESTS = "guests"
    # Users whose first step of a log-in was verified.
    CLAIMANTS = "claimants"
    MEMBERS = "members"
    ADMINS = "admins"
    # Users with one role, and administrators. `AppRoute.role` is the role.
    ROLE = "requires"
    # The endpoint decides: it accepts local requests and requests with the metrics token.
    OPERATORS = "operators"


class Guard:
    """Redirects by the cookie alone: anonymous users to /login, logged-in users away from guest
    pages.

    The guard never refuses by role, because the cookie of a user with a new role still contains the
    old one. The data access layer checks the role.

    A request with an access token passes; the endpoint verifies the token in the database. A route
    for claimants needs the cookie of a log-in that waits for its second step.

    An exception is a form of a guest page: the guard reads the session from the database first. The
    input of a user whose session has ended is then not lost.
    """

    def __init__(self, app: ASGIApp, access: RouteAccess) -> None:
        self.app = app
        self.requires_session = access in (
            *(RouteAccess.MEMBERS, RouteAccess.ADMINS, RouteAccess.ROLE),
        )
        self.requires_claim = access is RouteAccess.CLAIMANTS
        self.guests_only = access is RouteAccess.GUESTS or self.requires_claim

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        claims = read_claims(scope)
        if claims is not None:
            require_matching_document(scope, claims)
        elif self.requires_session and read_bearer(scope) is None:
            raise NotLoggedIn
        elif self.requires_claim and not has_claim(scope):
            raise NoClaim
        app = self._redirect_to_dashboard if self.guests_only and claims is not None else self.app
        return app(scope, receive, send)

    async def _redirect_to_dashboard(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in SAFE_METHODS or await is_session_live(Request(scope, receive)):
            request = Request(scope)
            await redirect_across_login(request, to=url_path(request, "dashboard"))(
                scope, receive, send
            )
        else:
            await self.app(scope, receive, send)
