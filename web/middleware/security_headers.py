"""Contains the security headers and the middleware that adds them to every response."""

import random
from collections.abc import Awaitable, Mapping, Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.observability.logs import request_id
from web.rendering.responses import VARY
from web.state import app_state, request_state

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), "
    "publickey-credentials-get=(self), publickey-credentials-create=(self)",
}
NO_STORE: Final = [(b"cache-control", b"no-store"), (b"vary", VARY.encode())]
REQUEST_IDS: Final = random.Random()  # noqa: S311  (no secret; os.urandom would release the GIL)  # nosec B311
# The keys are values of the setting HSTS (RFC 6797).
HSTS: Final[Mapping[str, Mapping[str, str]]] = {
    "off": {},
    "host": {"Strict-Transport-Security": "max-age=31536000"},
    "subdomains": {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"},
}


class SecurityHeaders:
    """Adds the security headers and the queued cookies to every response, errors included.

    A header that a response already has, such as the policy of a mail, is not added. `form_targets`
    are the origins that a log-in may return to.
    """

    def __init__(self, app: ASGIApp, *, hsts: str, form_targets: Sequence[str] = ()) -> None:
        self.app = app
        # Chromium also applies form-action to the redirect that answers a form.
        form_action = " ".join(("form-action 'self'", *form_targets))
        csp = CSP.replace("form-action 'self'", form_action)
        fixed = {**HEADERS, "Content-Security-Policy": csp, **HSTS[hsts]}
        self.fixed = [(name.lower().encode(), value.encode()) for name, value in fixed.items()]

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        state = request_state(scope)
        state["request_id"] = f"{REQUEST_IDS.getrandbits(64):016x}"
        request_id.set(state["request_id"])

        def send_with_headers(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                # Outer middleware reads the status to see that the response has started.
                state["status"] = message["status"]
                message["headers"] = [
                    *message["headers"],
                    *self._headers_to_add(scope, message["headers"]),
                ]
            return send(message)

        return self.app(scope, receive, send_with_headers)

    def _headers_to_add(
        self, scope: Scope, present: list[tuple[bytes, bytes]]
    ) -> list[tuple[bytes, bytes]]:
        names = {name for name, _ in present}
        added = [header for header in self.fixed if header[0] not in names]
        if b"cache-control" not in names:
            added += NO_STORE
        if app_state(scope).draining:
            # The server closes idle connections soon, and the client's next request must not fail.
            added.append((b"connection", b"close"))
        cookies = request_state(scope).get("set_cookies", {})
        added.extend((b"set-cookie", cookie) for cookie in cookies.values())
        return added
