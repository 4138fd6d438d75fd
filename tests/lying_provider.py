"""Contains an identity provider for tests, which answers correctly or tells one lie at a time.

It is an ASGI application. `serving()` runs it on a free port of 127.0.0.1, in a thread.
"""

import asyncio
import gzip
import hmac
import json
import threading
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from hashlib import sha256
from socket import socket
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import uvicorn
from authlib.oidc.core.util import create_half_hash
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from tests.environment import work_settings

CLIENT_ID = "latchkey-at-the-provider"
CLIENT_SECRET = "canary-of-the-client-secret"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
MEGABYTE = 1024 * 1024
Claims = dict[str, Any]


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Grant:
    """What one code stands for."""

    challenge: str
    nonce: str
    redirect_uri: str
    auth_time: int | None


@dataclass
class LyingProvider:
    """The state of the provider, which a test changes.

    `user` are the claims about the user who logs in. `change_claims`, `change_header`,
    `change_tokens`, `change_metadata` and `change_userinfo` change an answer in place. `sign`
    replaces the function that makes the ID token. `answers` maps a path to a response that replaces
    the correct one.
    """

    port: int = 0
    path: str = ""
    now: Callable[[], datetime] = utc_now
    user: Claims = field(default_factory=lambda: {"sub": "user-1", "name": "Alice Example"})
    claims_in_id_token: bool = True
    sends_iss: bool = True
    auth_methods: tuple[str, ...] = ("client_secret_basic", "client_secret_post")
    key: RSAKey | ECKey | OKPKey = field(
        default_factory=lambda: RSAKey.generate_key(2048, {"kid": "first"})
    )
    published: list[Any] | None = None
    algorithm: str = "RS256"
    change_claims: Callable[[Claims], None] = lambda claims: None
    change_header: Callable[[Claims], None] = lambda header: None
    change_tokens: Callable[[Claims], None] = lambda tokens: None
    change_metadata: Callable[[Claims], None] = lambda metadata: None
    change_userinfo: Callable[[Claims], None] = lambda claims: None
    change_answer: Callable[[Claims], None] = lambda answer: None
    sign: Callable[[Claims, Claims], str] | None = None
    answers: dict[str, Response | Callable[[], Response]] = field(default_factory=dict)
    delay_seconds: float = 0
    requests: list[str] = field(default_factory=list)
    grants: dict[str, Grant] = field(default_factory=dict)
    logout_count: int = 0

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"

    @property
    def settings(self) -> dict[str, str]:
        """Returns the settings of Latchkey for this provider, with the name `work`."""
        return work_settings(self.issuer, CLIENT_ID, CLIENT_SECRET)

    def authorize(self, url: str) -> dict[str, str]:
        """Returns the parameters that the browser of a user brings back from this URL."""
        query = dict(parse_qsl(urlsplit(url).query))
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = f"canary-code-{len(self.grants)}"
        self.grants[code] = Grant(
            query["code_challenge"],
            query.get("nonce", ""),
            query["redirect_uri"],
            int(self.now().timestamp()) if query.get("max_age") == "0" else None,
        )
        answer = {"code": code, "state": query["state"]}
        if self.sends_iss:
            answer["iss"] = self.issuer
        self.change_answer(answer)
        return answer

    def callback_of(self, url: str) -> str:
        """Returns path and query of the callback that a log-in at this URL leads to."""
        redirect_uri = dict(parse_qsl(urlsplit(url).query))["redirect_uri"]
        return f"{urlsplit(redirect_uri).path}?{urlencode(self.authorize(url))}"

    def logout_token(self, *, header: Claims | None = None, **changes: Any) -> str:
        """Returns a logout token for the user, without a `sid`.

        `changes` replace claims, and None leaves one out. `header` changes the header.
        """
        now = int(self.now().timestamp())
        self.logout_count += 1
        claims: Claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": f"canary-jti-{self.logout_count}",
            "sub": self.user["sub"],
            "events": {LOGOUT_EVENT: {}},
            **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        parts = {"alg": self.algorithm, "typ": "logout+jwt", "kid": self.key.kid, **(header or {})}
        if self.sign is not None:
            return self.sign(parts, claims)
        return jwt.encode(parts, claims, self.key, [parts["alg"]])

    def rotate(self, kid: str) -> None:
        """Signs with a new key from now on."""
        self.key = RSAKey.generate_key(2048, {"kid": kid})

    @property
    def app(self) -> Starlette:
        routes = [
            Route(f"{self.path}/.well-known/openid-configuration", self._answer(self._metadata)),
            Route(f"{self.path}/authorize", self._redirect_back),
            Route(f"{self.path}/jwks", self._answer(self._jwks)),
            Route(f"{self.path}/token", self._answer(self._token), methods=["POST"]),
            Route(f"{self.path}/userinfo", self._answer(self._userinfo)),
            Route("/user", self._answer(self._github_user)),
            Route("/user/emails", self._answer(self._github_emails)),
            Route("/elsewhere", self._answer(self._metadata)),
        ]
        return Starlette(routes=routes)

    def _answer(self, respond: Callable[[Claims], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            path = request.url.path.removeprefix(self.path)
            self.requests.append(path)
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if path in self.answers:
                answer = self.answers[path]
                return answer() if callable(answer) and not isinstance(answer, Response) else answer
            form = dict(parse_qsl((await request.body()).decode()))
            response = respond({"headers": request.headers, "form": form})
            response.headers["Date"] = format_datetime(self.now(), usegmt=True)
            return response

        return endpoint

    async def _redirect_back(self, request: Request) -> Response:
        """Logs the user in without a question, and leads back to the callback."""
        redirect_uri = request.query_params["redirect_uri"]
        answer = self.authorize(str(request.url))
        if request.query_params.get("response_mode") == "form_post":
            return _form_page(redirect_uri, answer)
        return redirect(f"{redirect_uri}?{urlencode(answer)}")

    def _metadata(self, _: Claims) -> Response:
        metadata: Claims = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "jwks_uri": f"{self.issuer}/jwks",
            "token_endpoint_auth_methods_supported": list(self.auth_methods),
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": [self.algorithm],
            "authorization_response_iss_parameter_supported": self.sends_iss,
        }
        self.change_metadata(metadata)
        return JSONResponse(metadata)

    def _jwks(self, _: Claims) -> Response:
        own = [self.key.as_dict(private=False)]
        return JSONResponse({"keys": own if self.published is None else self.published})

    def _token(self, sent: Claims) -> Response:
        form = sent["form"]
        if not self._is_authenticated(sent["headers"], form):
            return JSONResponse({"error": "invalid_client"}, 401)
        grant = self.grants.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "").encode()
        challenge = urlsafe_b64encode(sha256(verifier).digest()).rstrip(b"=").decode()
        if (
            grant is None
            or not hmac.compare_digest(grant.challenge, challenge)
            or grant.redirect_uri != form.get("redirect_uri")
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        access_token = "canary-access-token"
        tokens = {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self._id_token(grant, access_token),
        }
        self.change_tokens(tokens)
        return JSONResponse(tokens)

    def _is_authenticated(self, headers: Any, form: Claims) -> bool:
        name, secret = form.get("client_id", ""), form.get("client_secret", "")
        basic = headers.get("authorization", "")
        if basic.startswith("Basic ") and "client_secret_basic" in self.auth_methods:
            name, _, secret = b64decode(basic[6:]).decode().partition(":")
        return (name, secret) == (CLIENT_ID, CLIENT_SECRET)

    def _id_token(self, grant: Grant, access_token: str) -> str:
        now = int(self.now().timestamp())
        hash_name = "EdDSA" if self.algorithm == "Ed25519" else self.algorithm
        claims: Claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": grant.nonce,
            "at_hash": create_half_hash(access_token, hash_name).decode().rstrip("="),
        }
        if grant.auth_time is not None:
            claims["auth_time"] = grant.auth_time
        claims |= self.user if self.claims_in_id_token else {"sub": self.user["sub"]}
        self.change_claims(claims)
        header: Claims = {"alg": self.algorithm, "kid": self.key.kid}
        self.change_header(header)
        if self.sign is not None:
            return self.sign(header, claims)
        return jwt.encode(header, claims, self.key, [header["alg"]])

    def _userinfo(self, sent: Claims) -> Response:
        if sent["headers"].get("authorization") != "Bearer canary-access-token":
            return JSONResponse({"error": "invalid_token"}, 401)
        claims = dict(self.user)
        self.change_userinfo(claims)
        return JSONResponse(claims)

    def _github_user(self, _: Claims) -> Response:
        return JSONResponse({"id": 583_231, "login": "alice", "name": self.user.get("name")})

    def _github_emails(self, _: Claims) -> Response:
        return JSONResponse(
            [
                {"email": "other@example.com", "primary": False, "verified": True},
                {"email": self.user.get("email"), "primary": True, "verified": True},
            ]
        )


def unsigned(header: Claims, claims: Claims) -> str:
    """Returns a token without a signature (RFC 7519, section 6)."""
    parts = [{**header, "alg": "none"}, claims]
    texts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return f"{texts[0]}.{texts[1]}."


def signed_with_secret(secret: bytes) -> Callable[[Claims, Claims], str]:
    """Returns a function that signs with HS256 and this secret, such as a public key."""

    def sign(header: Claims, claims: Claims) -> str:
        body = f"{_encoded({**header, 'alg': 'HS256'})}.{_encoded(claims)}"
        tag = hmac.digest(secret, body.encode(), "sha256")
        return f"{body}.{urlsafe_b64encode(tag).rstrip(b'=').decode()}"

    return sign


def signed_by_hand(key: RSAKey, added: Claims) -> Callable[[Claims, Claims], str]:
    """Returns a function that signs with RS256, and adds to the header what joserfc would refuse."""

    def sign(header: Claims, claims: Claims) -> str:
        body = f"{_encoded({**header, **added})}.{_encoded(claims)}"
        signature = key.private_key.sign(body.encode(), PKCS1v15(), SHA256())
        return f"{body}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    return sign


def _encoded(part: Claims) -> str:
    return urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def gzip_bomb() -> Response:
    """Returns 48 kB that expand to 50 MB."""
    return Response(_bomb(), headers={"Content-Encoding": "gzip"}, media_type="application/json")


@cache
def _bomb() -> bytes:
    return gzip.compress(b'{"keys": [' + b" " * 50 * MEGABYTE + b"]}")


def huge() -> Response:
    """Returns 50 MB without a Content-Length."""

    async def body() -> Any:
        for _ in range(50):
            yield b" " * MEGABYTE

    return StreamingResponse(body(), media_type="application/json")


def trickling() -> Response:
    """Returns a response that sends one byte every 50 ms, without an end."""

    async def body() -> Any:
        while True:
            yield b" "
            await asyncio.sleep(0.05)

    return StreamingResponse(body(), media_type="application/json")


def _form_page(url: str, fields: Claims) -> Response:
    """Returns a page that sends the answer by a form (OAuth 2.0 Form Post Response Mode)."""
    inputs = "".join(
        f'<input type="hidden" name="{name}" value="{value}">' for name, value in fields.items()
    )
    return HTMLResponse(
        f'<!doctype html><title>Provider</title><form method="post" action="{url}">{inputs}'
        "<button>Go back</button></form>"
    )


def redirect(url: str) -> Response:
    return RedirectResponse(url, 302)


@contextmanager
def serving(provider: LyingProvider) -> Iterator[LyingProvider]:
    """Serves the provider on a free port until the block ends."""
    with socket() as listener:
        listener.bind(("127.0.0.1", 0))
        provider.port = listener.getsockname()[1]
        config = uvicorn.Config(
            provider.app,
            log_level="error",
            lifespan="off",
            timeout_graceful_shutdown=1,
            date_header=False,
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        ready = threading.Event()

        def run() -> None:
            async def serve() -> None:
                ready.set()
                await server.serve(sockets=[listener])

            asyncio.run(serve())

        listener.listen(64)
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        ready.wait(5)
        try:
            yield provider
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(5)
