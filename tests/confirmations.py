"""Contains a function that makes viewers whose identity was just confirmed, without a request."""

from typing import TypeVar

from db.crypto.secret import Secret
from db.sessions.sudo import Sudo, confirm_now, encode_sudo, require_sudo
from db.viewer import Claims, Viewer

V = TypeVar("V", bound=Viewer)


def confirmed(viewer: V) -> Sudo[V]:
    """Returns the viewer as one who has just confirmed by the password."""
    claims = Claims(Secret("sid"), viewer.id, viewer.role, 0, 0)
    cookie = encode_sudo(viewer.store, claims, confirm_now(viewer.store, "password"))
    return require_sudo(viewer, claims, cookie.value.reveal())
