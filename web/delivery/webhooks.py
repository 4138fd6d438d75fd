"""Contains the channel of webhooks: signed HTTP requests as of Standard Webhooks 1.0.0
(https://www.standardwebhooks.com).
"""

import asyncio
import hashlib
import hmac
import json
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from db.access.outbox import Message
from db.crypto.secret import Secret, unlogged_urls
from db.mail.outbox import EventType
from web.delivery.channel import Attempt
from web.observability.logs import printable
from web.settings.webhook_settings import WebhookSettings

if TYPE_CHECKING:
    import httpx

ATTEMPT_SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 5.0
# More than a short answer has, which is read so that the connection can be used again.
MAX_RESPONSE_BYTES: Final = 4096
MAX_RETRY_AFTER_SECONDS: Final = 86_400
GONE: Final = 410
MAX_ERROR_CHARS: Final = 300


class WebhookChannel:
    """Sends webhooks to one URL.

    The URL may contain a secret, so neither errors nor the log contain it. Redirects are not
    followed, because they would send the events to another server.
    """

    subject: str = "webhooks"
    types: tuple[EventType, ...] = ("webhook",)

    def __init__(
        self,
        settings: WebhookSettings,
        now: Callable[[], datetime],
        *,
        seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._settings = settings
        self._now = now
        self._seconds = seconds
        self._client: httpx.AsyncClient | None = None

    async def deliver(self, message: Message) -> Attempt:
        """Sends a webhook within `seconds`. Each 2xx status is a success, and 410 the end."""
        if self._client is None:
            self._client = await asyncio.to_thread(_create_client)
        import httpx  # _create_client has imported it in a thread, because that takes long.

        try:
            with unlogged_urls():
                async with asyncio.timeout(self._seconds):
                    return await self._send(self._client, message)
        except TimeoutError:
            return Attempt("later", f"no answer within {self._seconds:g} seconds")
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return Attempt("down", _describe(error))
        except httpx.HTTPError as error:
            return Attempt("later", _describe(error))

    async def close_if_idle(self) -> None: ...  # httpx closes idle connections after five seconds.

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _send(self, client: "httpx.AsyncClient", message: Message) -> Attempt:
        body = build_body(message.facts)
        headers = sign(self._settings.secrets, str(message.facts["id"]), self._now(), body)
        url = self._settings.url.reveal()
        async with client.stream("POST", url, content=body, headers=headers) as answer:
            read = 0
            async for chunk in answer.aiter_raw():
                read += len(chunk)
                if read > MAX_RESPONSE_BYTES:
                    break
        if answer.is_success:
            return Attempt("sent")
        error = f"status {answer.status_code}"
        if answer.status_code == GONE:
            return Attempt("dead", error)
        return Attempt("later", error, _retry_after(answer.headers.get("Retry-After", "")))


def build_body(facts: Any) -> bytes:
    """Returns the body: the type and the time of the event, and its data without personal data."""
    at = datetime.fromisoformat(facts["at"]).astimezone(UTC)
    data = {name: facts[name] for name in ("id", "actor_type", "actor_id", "target_id", "detail")}
    timestamp = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    payload = {"type": facts["name"], "timestamp": timestamp, "data": data}
    return json.dumps(payload, separators=(",", ":")).encode()


def sign(
    secrets: Sequence[Secret[bytes]], event_id: str, now: datetime, body: bytes
) -> dict[str, str]:
    """Returns the headers with the id, the time of the attempt, and a signature by each secret."""
    timestamp = str(int(now.timestamp()))
    signed = b".".join((event_id.encode(), timestamp.encode(), body))
    signatures = [hmac.digest(secret.reveal(), signed, hashlib.sha256) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{b64encode(each).decode()}" for each in signatures),
    }


def _retry_after(value: str) -> float:
    """Returns the seconds of a Retry-After header, and 0 for a date."""
    if not re.fullmatch(r"[0-9]{1,9}", value):
        return 0.0
    return float(min(int(value), MAX_RETRY_AFTER_SECONDS))


def _describe(error: Exception) -> str:
    text = str(error) or type(error).__name__
    return printable(text)[:MAX_ERROR_CHARS]


def _create_client() -> "httpx.AsyncClient":
    """Creates the HTTP client. It ignores the environment, which could name a proxy."""
    import httpx

    return httpx.AsyncClient(
        verify=httpx.create_ssl_context(trust_env=False),
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(ATTEMPT_SECONDS, connect=CONNECT_SECONDS),
        headers={"User-Agent": "Latchkey", "Accept-Encoding": "identity"},
    )
