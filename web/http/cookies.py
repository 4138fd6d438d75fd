"""The cookies that a browser sends, and those that it is sent: names, attributes, and nothing of
what they mean.
"""

from typing import Final

from starlette.types import Scope

from db.sessions.claims import NewCookie
from web.settings.settings import Settings

# What browsers strip around a name. To one of them `\xa0__Host-session` is another cookie, which
# any subdomain may set.
BLANKS: Final = b" \t"
ATTRIBUTES: Final = "Path=/; HttpOnly; SameSite=Lax"


def full_name(settings: Settings, name: str) -> str:
    """`__Host-` binds it to this host, https and `/` (RFC 6265bis, section 4.1.3.2); loopback http
    cannot have it.
    """
    return f"__Host-{name}" if settings.https else name


def read(scope: Scope, name: str) -> str | None:
    """The cookie's value, from the raw header: two of the name are none, for one of them is not
    ours.
    """
    wanted = full_name(scope["app"].state.settings, name).encode()
    values = []
    for key, header in scope["headers"]:
        if key == b"cookie":
            pairs = [part.partition(b"=") for part in header.split(b";")]
            values += [value for found, _, value in pairs if found.strip(BLANKS) == wanted]
    return values[0].strip(BLANKS).decode("latin-1") if len(values) == 1 else None


def put(scope: Scope, name: str, cookie: NewCookie | None) -> None:
    """Have the answer set the cookie, or delete it.

    `web.middleware.security_headers.Headers` writes it.
    """
    settings: Settings = scope["app"].state.settings
    value = f"{cookie.value.reveal()}; Max-Age={cookie.max_age}" if cookie else "; Max-Age=0"
    secure = "; Secure" if settings.https else ""
    scope["state"].setdefault("set_cookies", {})[name] = (
        f"{full_name(settings, name)}={value}; {ATTRIBUTES}{secure}".encode("latin-1")
    )
