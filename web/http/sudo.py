"""Contains the functions that verify a recent confirmation of the user's identity."""

from starlette.requests import Request

from db.sessions.claims import NewSession, decode_claims
from db.sessions.lifecycle import get_viewer
from db.sessions.sudo import Confirmation, Sudo, read_confirmation, require_sudo
from db.viewer import Admin, Viewer
from web.http.client_info import get_client_info
from web.http.cookies import delete_sent_cookie, read_cookie
from web.http.session import read_claims, verify_admin, verify_session
from web.state import app_state, request_state


async def verify_sudo(request: Request) -> Sudo[Viewer]:
    """Returns the viewer, who confirmed their identity within the last ten minutes.

    Raises the errors of `verify_session`, then NotConfirmed.
    """
    viewer = await verify_session(request)
    return require_sudo(viewer, read_claims(request.scope), _read_sudo_cookie(request))


async def verify_sudo_admin(request: Request) -> Sudo[Admin]:
    """Returns the administrator, who confirmed their identity within the last ten minutes.

    Raises the errors of `verify_admin`, then NotConfirmed.
    """
    admin = await verify_admin(request)
    return require_sudo(admin, read_claims(request.scope), _read_sudo_cookie(request))


async def verify_new_session(request: Request, session: NewSession) -> Sudo[Viewer]:
    """Returns the viewer of the session that has replaced that of the request.

    The forms of the response belong to it. Raises NotLoggedIn and NotConfirmed.
    """
    store = app_state(request.scope).store
    claims = decode_claims(store, session.session.value.reveal())
    viewer = await get_viewer(store, claims, client=get_client_info(request))
    return require_sudo(viewer, claims, session.sudo.value.reveal() if session.sudo else None)


def find_confirmation(request: Request) -> Confirmation | None:
    """Returns the recent confirmation of the session; None if there is none."""
    store = app_state(request.scope).store
    return read_confirmation(store, read_claims(request.scope), _read_sudo_cookie(request))


def delete_sudo_cookie(request: Request) -> None:
    delete_sent_cookie(request.scope, "sudo")


def _read_sudo_cookie(request: Request) -> str | None:
    """Returns the cookie; for a form that is sent again after a confirmation, the new one."""
    confirmed = request_state(request.scope).get("confirmed")
    return confirmed.reveal() if confirmed else read_cookie(request.scope, "sudo")
