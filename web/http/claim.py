"""Contains the functions that read, set and delete the cookie of a log-in that waits for its second
step.
"""

from starlette.requests import Request
from starlette.types import Scope

from db.crypto.secret import Secret
from db.sessions.claimants import Claimant, NewClaim, get_claimant, is_claim
from web.http.client_info import get_client_info
from web.http.cookies import delete_sent_cookie, queue_cookie, read_cookie
from web.state import app_state


async def verify_claimant(request: Request) -> Claimant:
    """Returns the claimant, read from the database. Raises NoClaim."""
    cookie = read_cookie(request.scope, "claim")
    store = app_state(request.scope).store
    return await get_claimant(store, Secret(cookie) if cookie else None, get_client_info(request))


def has_claim(scope: Scope) -> bool:
    """Returns whether the request has a claim that has not expired, without a query."""
    return is_claim(app_state(scope).store, read_cookie(scope, "claim"))


def set_claim_cookie(request: Request, claim: NewClaim) -> None:
    queue_cookie(request.scope, "claim", claim.cookie)


def delete_claim_cookie(scope: Scope) -> None:
    delete_sent_cookie(scope, "claim")
