"""Contains the functions that read and set the cookies of log-ins at other providers."""

from starlette.requests import Request

from db.access import providers
from db.providers.asserted import Asserted
from db.sessions.claims import NewCookie
from web.http.cookies import delete_sent_cookie, queue_cookie, read_cookie
from web.http.session import read_claims
from web.http.sudo import get_sid_hash
from web.state import app_state


def read_flow_cookie(request: Request) -> str | None:
    """Returns the cookie of the log-ins that the browser has started."""
    return read_cookie(request.scope, "flow")


def set_flow_cookie(request: Request, cookie: NewCookie) -> None:
    queue_cookie(request.scope, "flow", cookie)


async def find_identity(request: Request, provider: str = "") -> Asserted | None:
    """Returns the verified identity that waits for its user's decision; None if there is none, or
    it is of another provider than the given one.
    """
    store = app_state(request.scope).store
    asserted = await providers.find_kept_identity(
        store, read_cookie(request.scope, "identity"), sid_hash=_find_sid_hash(request)
    )
    is_wanted = asserted is not None and provider in ("", asserted.provider)
    return asserted if is_wanted else None


def keep_identity(request: Request, asserted: Asserted, *, connects: bool = False) -> None:
    """Keeps the identity until its user has decided: with `connects`, in this session only."""
    store = app_state(request.scope).store
    sid_hash = _find_sid_hash(request) if connects else ""
    cookie = providers.keep_identity(store, asserted, sid_hash=sid_hash)
    queue_cookie(request.scope, "identity", cookie)


def delete_identity(request: Request) -> None:
    delete_sent_cookie(request.scope, "identity")


def _find_sid_hash(request: Request) -> str:
    """Returns the hash that identifies the session, empty without one."""
    return get_sid_hash(request) if read_claims(request.scope) else ""
