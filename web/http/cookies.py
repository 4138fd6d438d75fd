"""Contains functions that read and write cookies: names, attributes and raw values."""

from typing import Final
from urllib.parse import urlsplit

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
    Browsers refuse it over HTTP. With COOKIE_DOMAIN, the prefix of the session cookie is
    `__Secure-`, which only binds it to HTTPS.
    """
    if not settings.https:
        return name
    return f"__Secure-{name}" if _is_shared(settings, name) else f"__Host-{name}"


def read_cookie(scope: Scope, name: str) -> str | None:
    """Returns the value of the cookie, or None unless the request contains it exactly once.

    If there are two cookies of one name, another site on the domain may have set one of them.
    """
    return _only(_values(scope, cookie_name(app_state(scope).settings, name)))


def queue_cookie(scope: Scope, name: str, cookie: NewCookie | None) -> None:
    """Queues a cookie for the response. None deletes the cookie.

    `web.middleware.security_headers.SecurityHeaders` adds the Set-Cookie header.
    """
    settings = app_state(scope).settings
    value = f"{cookie.value.reveal()}; Max-Age={cookie.max_age}" if cookie else "; Max-Age=0"
    secure = "; Secure" if settings.https else ""
    domain = f"; Domain={settings.forward.cookie_domain}" if _is_shared(settings, name) else ""
    request_state(scope).setdefault("set_cookies", {})[name] = (
        f"{cookie_name(settings, name)}={value}; {COOKIE_ATTRIBUTES}{secure}{domain}".encode(
            "latin-1"
        )
    )


def delete_sent_cookie(scope: Scope, name: str) -> None:
    """Deletes a cookie if the request contains it."""
    if _values(scope, cookie_name(app_state(scope).settings, name)):
        queue_cookie(scope, name, None)


def read_replaced_session_cookie(scope: Scope) -> str | None:
    """Returns the session cookie of the other mode, if COOKIE_DOMAIN has been set or removed since
    the log-in. It is never accepted as a session.
    """
    return _only(_values(scope, _replaced_session_name(app_state(scope).settings)))


def queue_deletion_of_replaced_session(scope: Scope) -> None:
    """Deletes the session cookie of the other mode, if the request contains one.

    Otherwise it would be a session again after the setting has changed back.
    """
    settings = app_state(scope).settings
    name = _replaced_session_name(settings)
    if not _values(scope, name):
        return
    domains = [""] if settings.forward.cookie_domain else _parent_domains(settings)
    for domain in domains:
        request_state(scope).setdefault("set_cookies", {})[f"{name} {domain}"] = (
            f"{name}=; Max-Age=0; {COOKIE_ATTRIBUTES}; Secure{domain}".encode("latin-1")
        )


def _is_shared(settings: Settings, name: str) -> bool:
    """Returns whether the sub-domains of COOKIE_DOMAIN share the cookie."""
    return name == "session" and settings.forward.cookie_domain != ""


def _replaced_session_name(settings: Settings) -> str:
    return "__Host-session" if settings.forward.cookie_domain else "__Secure-session"


def _parent_domains(settings: Settings) -> list[str]:
    """Returns the attribute for each domain that COOKIE_DOMAIN may have been."""
    labels = (urlsplit(settings.base_url).hostname or "").split(".")
    return [f"; Domain={'.'.join(labels[at:])}" for at in range(len(labels) - 1)]


def _values(scope: Scope, name: str) -> list[bytes]:
    wanted = name.encode()
    values = []
    for key, header in scope["headers"]:
        if key == b"cookie":
            pairs = [part.partition(b"=") for part in header.split(b";")]
            values += [value for found, _, value in pairs if found.strip(BLANKS) == wanted]
    return values


def _only(values: list[bytes]) -> str | None:
    return values[0].strip(BLANKS).decode("latin-1") if len(values) == 1 else None
