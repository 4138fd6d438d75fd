"""Who may ask for a URL, decided by the cookie alone before the endpoint runs."""

from collections.abc import Awaitable
from enum import Enum

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from db.errors import NotLoggedIn
from web.http.methods import SAFE_METHODS
from web.http.session import is_live, peek, require_own_document
from web.rendering.responses import leave, path_of


class Kind(Enum):
    """Who may ask for a URL."""

    ANYONE = "anyone"
    GUESTS = "guests"
    MEMBERS = "members"
    ADMINS = "admins"
    OPERATORS = "operators"  # of this machine, or with a token: the endpoint decides


class Guard:
    """Turns strangers away from members' pages and members from guests', by the cookie alone, with
    no query.

    It never refuses by role: who was promoted a minute ago still carries the old cookie. Data
    access decides. Of a form for guests that was sent the database is asked: what was typed is not
    thrown away for a session that is over.
    """

    def __init__(self, app: ASGIApp, kind: Kind) -> None:
        self.app = app
        self.for_members = kind in (Kind.MEMBERS, Kind.ADMINS)
        self.for_guests = kind is Kind.GUESTS

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        claims = peek(scope)
        if claims is not None:
            require_own_document(scope, claims)
        elif self.for_members:
            raise NotLoggedIn
        app = self._redirect_to_dashboard if self.for_guests and claims is not None else self.app
        return app(scope, receive, send)

    async def _redirect_to_dashboard(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] in SAFE_METHODS or await is_live(Request(scope, receive)):
            request = Request(scope)
            await leave(request, to=path_of(request, "dashboard"))(scope, receive, send)
        else:
            await self.app(scope, receive, send)
