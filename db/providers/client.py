"""The client of one identity provider: the URL that starts a log-in, and the exchange of its answer
for a verified identity.

`db.providers.providers` imports this module when a provider is used for the first time.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

import httpx2
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from joserfc.jwk import KeySet

from db.crypto.secret import Secret
from db.errors import ProviderRefused, ProviderUnavailable, Unavailable
from db.providers.answers import ProviderAnswer, StartedFlow
from db.providers.apple import make_client_secret
from db.providers.asserted import Asserted, issue_asserted
from db.providers.documents import Documents
from db.providers.id_token import read_claims, read_sid, require_subject
from db.providers.logout_token import LoggedOut, read_logout_token
from db.providers.metadata import Metadata, issuer_host
from db.providers.profile import (
    find_primary_email,
    read_claim,
    read_email,
    read_name,
    read_role,
)
from db.providers.provider import Provider
from db.providers.transport import open_client

T = TypeVar("T")

# The user waits, and a request of a browser has seven seconds.
DEADLINE_SECONDS: Final = 5.0
MAX_CONCURRENT: Final = 10
MAX_CODE_CHARS: Final = 4096
MAX_AUTH_TIME: Final = 253_402_300_799  # The last second of the year 9999.
ERROR_CODE: Final = re.compile(r"[a-z_]{1,40}")
FAILURE_IS_REMEMBERED_FOR: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class _Tokens:
    access_token: str = field(repr=False)
    id_token: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProviderDocuments:
    """What a provider publishes.

    `clock_difference` is how much its clock is ahead of that of this machine, None if it sent no
    time.
    """

    metadata: Metadata
    key_count: int
    clock_difference: timedelta | None


class ProviderClient:
    """Requests to one provider. One process has one client for each provider.

    All requests of a callback have one deadline, and at most ten callbacks run at once. After a
    failure that no single user can cause, every request to the same URL fails for ten seconds
    without being sent.
    """

    def __init__(
        self,
        provider: Provider,
        now: Callable[[], datetime],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self.provider = provider
        self._now = now
        self._deadline_seconds = deadline_seconds
        self._issuer_host = issuer_host(provider)
        self._documents = Documents(provider, now, self._fetch_document)
        self._running = 0
        self._failed_at: dict[str, datetime] = {}
        self._clock_difference: timedelta | None = None

    async def make_authorization_url(
        self, *, state: str, nonce: str, verifier: Secret[str], asks_again: bool = False
    ) -> str:
        """Returns the URL of the provider's log-in. With `asks_again`, the provider is asked not to
        use a session that it has.

        Raises ProviderUnavailable, and Unavailable if too many requests run.
        """
        async with self._limits():
            metadata = await self._documents.get_metadata()
        parameters: dict[str, str] = {"nonce": nonce} if self._has_id_tokens else {}
        if self.provider.response_mode:
            parameters["response_mode"] = self.provider.response_mode
        if asks_again:
            parameters |= {"prompt": "login", "max_age": "0"}
        async with self._open() as client:
            url, _ = client.create_authorization_url(
                metadata.authorization_endpoint,
                state=state,
                code_verifier=verifier.reveal(),
                **parameters,
            )
        return str(url)

    async def fetch_identity(self, flow: StartedFlow, answer: ProviderAnswer) -> Asserted:
        """Exchanges the code for tokens, verifies them, and returns the identity.

        Raises ProviderRefused, ProviderUnavailable, and Unavailable if too many requests run.
        """
        async with self._limits():
            metadata = await self._documents.get_metadata()
            self._require_issuer(metadata, answer.issuer)
            if answer.error:
                raise ProviderRefused(
                    answer.error if ERROR_CODE.fullmatch(answer.error) else "unknown_error"
                )
            if not 0 < len(answer.code) <= MAX_CODE_CHARS:
                raise ProviderRefused("no_code")
            tokens = await self._exchange_code(metadata, answer.code, flow.verifier)
            if not self._has_id_tokens:
                return await self._fetch_github_user(tokens)
            claims = await self._verify(tokens, flow.nonce)
            profile = await self._fetch_profile(metadata, claims, tokens)
        return self._assert(claims, profile, answer.user)

    async def read_logout(self, logout_token: str) -> LoggedOut:
        """Verifies a logout token with the keys of ID tokens, and returns the log-out.

        Only one request at a time fetches keys, so the limit of callbacks does not apply. Raises
        ProviderRefused and ProviderUnavailable.
        """
        if not self._has_id_tokens:
            raise ProviderRefused("no_logout_tokens")

        def read(keys: KeySet) -> LoggedOut | None:
            return read_logout_token(self.provider, logout_token, keys, now=self._now().timestamp())

        async with self._deadline():
            return await self._read_with_keys(read, "logout_token_signature")

    async def read_documents(self) -> ProviderDocuments:
        """Returns what the provider publishes, for the command that checks it.

        Raises ProviderUnavailable.
        """
        async with self._limits():
            metadata = await self._documents.get_metadata()
            keys = await self._documents.get_keys() if metadata.jwks_uri else KeySet([])
        return ProviderDocuments(metadata, len(keys.keys), self._clock_difference)

    @property
    def _has_id_tokens(self) -> bool:
        return self.provider.protocol == "openid"

    @asynccontextmanager
    async def _limits(self) -> AsyncIterator[None]:
        """Applies the deadline, and the limit of callbacks that run at once."""
        if self._running >= MAX_CONCURRENT:
            raise Unavailable
        self._running += 1
        try:
            async with self._deadline():
                yield
        finally:
            self._running -= 1

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_seconds):
                yield
        except TimeoutError:
            raise ProviderUnavailable("timeout") from None

    @asynccontextmanager
    async def _request_to(self, url: str, *, is_of_user: bool) -> AsyncIterator[None]:
        """Turns the failure of a request into ProviderUnavailable, and remembers it for its URL.

        With `is_of_user`, the request contains the code or the token of one user. A response that
        cannot be used is then not remembered: one user could otherwise stop the log-ins of all.
        """
        failed_at = self._failed_at.pop(url, None)
        if failed_at and self._now() - failed_at < FAILURE_IS_REMEMBERED_FOR:
            self._failed_at[url] = failed_at
            raise ProviderUnavailable("failed_before")
        try:
            yield
        except asyncio.CancelledError:  # The deadline cancels the request.
            self._failed_at[url] = self._now()
            raise
        except ProviderUnavailable:
            if not is_of_user:
                self._failed_at[url] = self._now()
            raise
        except httpx2.HTTPStatusError as error:  # Authlib raises it at the token endpoint.
            raise ProviderUnavailable(f"status_{error.response.status_code}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
            self._failed_at[url] = self._now()
            raise ProviderUnavailable("unreachable") from None

    async def _fetch_document(self, url: str) -> Mapping[str, Any]:
        """Returns the metadata or the keys. Takes at most half of the deadline, so that the rest is
        left for the log-in with a cached document.
        """
        try:
            async with asyncio.timeout(self._deadline_seconds / 2):
                return _require_object(await self._fetch_json(url))
        except TimeoutError:
            raise ProviderUnavailable("timeout") from None

    async def _fetch_json(self, url: str, access_token: str = "") -> Any:
        """Returns a JSON document. Raises ProviderUnavailable, also for a redirect."""
        headers = {"Accept": "application/json"}
        if access_token:
            headers["Authorization"] = f"Bearer {access_token}"
        is_of_user = bool(access_token)
        async with self._request_to(url, is_of_user=is_of_user), self._open() as client:
            response = await client.request("GET", url, withhold_token=True, headers=headers)
            if response.status_code != 200:
                raise ProviderUnavailable(f"status_{response.status_code}")
            sent_at = _read_date(response.headers.get("date", ""))
            if sent_at is not None:
                self._clock_difference = sent_at - self._now()
            return _read_json(response.content)

    def _open(self, auth_method: str = "") -> AsyncOAuth2Client:
        return open_client(
            self.provider,
            self._issuer_host,
            secret=self._client_secret() if auth_method else None,
            timeout_seconds=self._deadline_seconds,
            auth_method=auth_method,
        )

    def _client_secret(self) -> Secret[str] | None:
        if self.provider.apple_key is None:
            return self.provider.client_secret
        return make_client_secret(self.provider, self.provider.apple_key, self._now())

    def _require_issuer(self, metadata: Metadata, issuer: str) -> None:
        """Raises ProviderRefused unless the answer is of this provider (RFC 9207, section 2.4).

        Otherwise a provider could have its own code sent to the token endpoint of another, or the
        reverse (mix-up, RFC 9700, section 4.4).
        """
        if (issuer and not self.provider.has_issuer(issuer)) or (
            metadata.promises_issuer and not issuer
        ):
            raise ProviderRefused("callback_iss")

    async def _exchange_code(self, metadata: Metadata, code: str, verifier: Secret[str]) -> _Tokens:
        """Returns the tokens for a code. Raises ProviderRefused and ProviderUnavailable."""
        url = metadata.token_endpoint
        auth_method = metadata.auth_method
        async with self._request_to(url, is_of_user=True), self._open(auth_method) as client:
            try:
                response = await client.fetch_token(
                    url,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=verifier.reveal(),
                    redirect_uri=self.provider.redirect_uri,
                )
            except OAuthError as error:
                code = str(error.error)
                raise ProviderRefused(
                    f"token_{code}" if ERROR_CODE.fullmatch(code) else "token_error"
                ) from None
            except httpx2.HTTPStatusError as error:
                if error.response.status_code >= 500:
                    raise
                raise ProviderRefused("token_status") from None
            except (ValueError, RecursionError):
                raise ProviderRefused("token_no_json") from None
        return _read_tokens(response)

    async def _verify(self, tokens: _Tokens, nonce: str) -> Mapping[str, Any]:
        """Returns the claims of the ID token. Raises ProviderRefused and ProviderUnavailable."""

        def read(keys: KeySet) -> Mapping[str, Any] | None:
            return read_claims(
                self.provider,
                tokens.id_token,
                keys,
                nonce=nonce,
                access_token=tokens.access_token,
                now=self._now().timestamp(),
            )

        return await self._read_with_keys(read, "id_token_signature")

    async def _read_with_keys(self, read: Callable[[KeySet], T | None], code: str) -> T:
        """Returns what `read` returns. Fetches new keys if none of the known ones fits.

        `code` is that of ProviderRefused if none of the new keys fits either.
        """
        found = read(await self._documents.get_keys())
        if found is None:
            newer = await self._documents.find_newer_keys()
            found = read(newer) if newer else None
        if found is None:
            raise ProviderRefused(code)
        return found

    async def _fetch_profile(
        self, metadata: Metadata, claims: Mapping[str, Any], tokens: _Tokens
    ) -> Mapping[str, Any]:
        """Returns the claims about the user: those of the ID token, or without an email or a role
        in it, those of the userinfo endpoint as well.

        The subject must be the same (Core, section 5.3.2); otherwise the access token may be that
        of another user.
        """
        has_role = not self.provider.role_claim or read_claim(claims, self.provider.role_claim)
        if (claims.get("email") and has_role) or not metadata.userinfo_endpoint:
            return claims
        found = await self._fetch_json(metadata.userinfo_endpoint, tokens.access_token)
        profile = _require_object(found)
        if profile.get("sub") != claims["sub"]:
            raise ProviderRefused("userinfo_sub")
        # The claims of the ID token are signed, so they replace the others.
        merged = {**profile, **{name: value for name, value in claims.items() if value}}
        if claims.get("email"):
            # The userinfo endpoint may have verified another email than that of the ID token.
            merged["email_verified"] = claims.get("email_verified")
        return merged

    def _assert(self, claims: Mapping[str, Any], profile: Mapping[str, Any], user: str) -> Asserted:
        email, is_verified = read_email(self.provider, profile)
        return issue_asserted(
            self.provider.name,
            str(claims["iss"]),
            str(claims["sub"]),
            email=email,
            has_trusted_email=is_verified and self.provider.trusts_email,
            name=read_name(profile, user),
            authenticated_at=_read_auth_time(claims.get("auth_time")),
            sid=read_sid(claims.get("sid")),
            role=read_role(self.provider, profile),
        )

    async def _fetch_github_user(self, tokens: _Tokens) -> Asserted:
        """Returns the identity of a GitHub user: the number of the account, which never changes."""
        endpoints = self.provider.github
        user = _require_object(await self._fetch_json(endpoints.user, tokens.access_token))
        number = user.get("id")
        if isinstance(number, bool) or not isinstance(number, int):
            raise ProviderRefused("subject")
        emails = await self._fetch_json(endpoints.emails, tokens.access_token)
        email = find_primary_email(emails)
        return issue_asserted(
            self.provider.name,
            self.provider.issuer,
            require_subject(str(number)),
            email=email,
            has_trusted_email=bool(email) and self.provider.trusts_email,
            name=read_name({"name": user.get("name") or user.get("login")}, ""),
        )


def _read_date(value: str) -> datetime | None:
    """Returns the time of the header `Date`; None if it is absent or malformed."""
    try:
        return parsedate_to_datetime(value).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _read_auth_time(value: object) -> float | None:
    """Returns the claim `auth_time`; None if it is absent. Raises ProviderRefused."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ProviderRefused("id_token_auth_time")
    if not 0 <= value <= MAX_AUTH_TIME:  # Also refuses NaN, which Python's JSON parser accepts.
        raise ProviderRefused("id_token_auth_time")
    return float(value)


def _read_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise ProviderUnavailable("no_json") from None


def _require_object(document: object) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise ProviderUnavailable("no_object")
    return document


def _read_tokens(response: Mapping[str, Any]) -> _Tokens:
    """Returns the tokens of a response (RFC 6749, section 5.1). Raises ProviderRefused."""
    access_token, token_type = response.get("access_token"), response.get("token_type")
    # The token becomes a header, which must not contain other characters.
    if not isinstance(access_token, str) or not re.fullmatch(r"[!-~]{1,16000}", access_token):
        raise ProviderRefused("no_access_token")
    if str(token_type).lower() != "bearer":
        raise ProviderRefused("token_type")
    return _Tokens(access_token, response.get("id_token"))
