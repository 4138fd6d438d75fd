"""Contains functions that read and write cookies: names, attributes and raw values."""

from typing import Final

from starlette.types import Scope

from db.sessions.claims import NewCookie
from web.settings.settings import Settings
from web.state import app_state, request_state

# Browsers strip these bytes from cookie names. str.strip() would also strip `\xa0`, and a
# subdomain could then set `\xa0__Host-session`, which browsers treat as another cookie.
BLANKS: Final = b" \t"
COOKIE_ATTRIBUTES: Final = "Path=/; HttpOnly; SameSite=Lax"


def cookie_name(settings: Settings, name: str) -> str:
    """Returns the name of the cookie with the prefix `__Host-` over HTTPS.

    The prefix binds the cookie to this host, HTTPS and the path `/` (RFC 6265bis, section 4.1.3.2).
    Browsers refuse it over HTTP.
    """
    return f"__Host-{name}" if settings.https else name


def read_cookie(scope: Scope, name: str) -> str | None:
    """Returns the value of the cookie, or None unless the request contains it exactly once.

    If there are two cookies of one name, another site on the domain may have set one of them.
    """
    wanted = cookie_name(app_state(scope).settings, name).encode()
    values = []
    for key, header in scope["headers"]:
        if key == b"cookie":
            pairs = [part.partition(b"=") for part in header.split(b";")]
            values += [value for found, _, value in pairs if found.strip(BLANKS) == wanted]
    return values[0].strip(BLANKS).decode("latin-1") if len(values) == 1 else None


def queue_cookie(scope: Scope, name: str, cookie: NewCookie | None) -> None:
    """Queues a cookie for the response. None deletes the cookie.

    `web.middleware.security_headers.SecurityHeaders` adds the Set-Cookie header.
    """
    settings = app_state(scope).settings
    value = f"{cookie.value.reveal()}; Max-Age={cookie.max_age}" if cookie else "; Max-Age=0"
    secure = "; Secure" if settings.https else ""
    request_state(scope).setdefault("set_cookies", {})[name] = (
        f"{cookie_name(settings, name)}={value}; {COOKIE_ATTRIBUTES}{secure}".encode("latin-1")
    )
