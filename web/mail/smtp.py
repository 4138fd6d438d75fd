"""Contains the SMTP client with one reused connection, and the classification of its errors.

Only this module imports aiosmtplib, and only when the first mail is sent, because the start of the
program does not need it.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from web.delivery.channel import Attempt
from web.settings.mail_settings import MailSettings

if TYPE_CHECKING:
    from email.message import EmailMessage

    import aiosmtplib

COMMAND_SECONDS: Final = 60.0
ATTEMPT_SECONDS: Final = 150.0  # A claim of the outbox lasts twice as long.
IDLE_SECONDS: Final = 30.0
# A connection that was idle for longer is checked, because the server may have ended it.
UNCHECKED_SECONDS: Final = 1.0
QUIT_SECONDS: Final = 5.0
FIRST_PERMANENT_CODE: Final = 500
MAX_ERROR_CHARS: Final = 300


class SmtpTransport:
    """Sends mails through one connection, which it opens when needed.

    After an error or a cancelation it closes the connection, because aiosmtplib would pair the next
    command with a late response to an earlier one.
    """

    def __init__(
        self,
        settings: MailSettings,
        sender: str,
        local_hostname: str,
        *,
        command_seconds: float = COMMAND_SECONDS,
        attempt_seconds: float = ATTEMPT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._sender = sender
        self._local_hostname = local_hostname
        self._command_seconds = command_seconds
        self._attempt_seconds = attempt_seconds
        self._idle_seconds = idle_seconds
        self._now = now
        self._client: aiosmtplib.SMTP | None = None
        self._tls_context: ssl.SSLContext | None = None
        self._used_at = 0.0

    async def send(self, mail: "EmailMessage", recipient: str) -> Attempt:
        """Sends a mail to one recipient, within `attempt_seconds`."""
        is_sending = False
        try:
            async with asyncio.timeout(self._attempt_seconds):
                client, is_reused = await self._connected_client()
                is_sending = True
                attempt = await self._transfer(client, mail, recipient)
                if is_reused and attempt.outcome == "down":
                    # Many servers accept only a number of mails on one connection.
                    is_sending = False
                    client, _ = await self._connected_client()
                    is_sending = True
                    attempt = await self._transfer(client, mail, recipient)
                return attempt
        except TimeoutError:
            self.abort()
            text = f"no answer within {self._attempt_seconds:g} seconds"
            return Attempt("later" if is_sending else "down", text)
        except ConnectFailed as failure:
            self.abort()
            return Attempt("down", failure.reason)
        except BaseException:
            self.abort()
            raise

    async def find_problem(self) -> str:
        """Connects and logs in without sending a mail.

        Returns why that failed, or an empty string.
        """
        try:
            async with asyncio.timeout(self._attempt_seconds):
                await self._connected_client()
        except TimeoutError:
            self.abort()
            return f"no answer within {self._attempt_seconds:g} seconds"
        except ConnectFailed as failure:
            self.abort()
            return failure.reason
        await self.close()
        return ""

    async def close_if_idle(self) -> None:
        if self._client is not None and self._now() - self._used_at >= self._idle_seconds:
            await self.close()

    async def close(self) -> None:
        """Sends QUIT and closes the connection, within QUIT_SECONDS."""
        client, self._client = self._client, None
        if client is None:
            return
        try:
            # An error no longer matters: the mails of this connection have their responses.
            with contextlib.suppress(Exception):
                async with asyncio.timeout(QUIT_SECONDS):
                    await client.quit()
        finally:
            client.close()

    def abort(self) -> None:
        """Closes the connection without another command."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    async def _connected_client(self) -> tuple["aiosmtplib.SMTP", bool]:
        """Returns a client with a working connection, and whether it has sent a mail before.

        Raises ConnectFailed.
        """
        client = self._client
        if (
            client is not None
            and client.is_connected
            and (self._now() - self._used_at < UNCHECKED_SECONDS or await _answers(client))
        ):
            return client, True
        self.abort()
        if self._settings.tls != "none" and self._tls_context is None:
            # Loading the certificates of the system takes some 20 ms.
            self._tls_context = await asyncio.to_thread(make_tls_context, self._settings)
        self._client = client = self._make_client()
        try:
            await client.connect()
        except Exception as error:
            raise ConnectFailed(describe_connect_error(error, self._settings)) from error
        return client, False

    def _make_client(self) -> "aiosmtplib.SMTP":
        from aiosmtplib import SMTP

        settings = self._settings
        return SMTP(
            hostname=settings.host,
            port=settings.port,
            username=settings.username or None,
            password=settings.password.reveal() if settings.password else None,
            local_hostname=self._local_hostname,
            timeout=self._command_seconds,
            use_tls=settings.tls == "tls",
            # Without a value, aiosmtplib sends the password unencrypted to a server without TLS.
            start_tls=settings.tls == "starttls",
            tls_context=self._tls_context,
        )

    async def _transfer(
        self, client: "aiosmtplib.SMTP", mail: "EmailMessage", recipient: str
    ) -> Attempt:
        try:
            await client.send_message(mail, sender=self._sender, recipients=[recipient])
        except Exception as error:
            attempt = classify(error)
            if not _is_about_this_mail(error) or not client.is_connected:
                self.abort()
        else:
            attempt = Attempt("sent")
        self._used_at = self._now()
        return attempt


class ConnectFailed(Exception):
    """Raised when no connection could be opened or the log-in failed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def _answers(client: "aiosmtplib.SMTP") -> bool:
    """Returns whether the server still answers on this connection."""
    try:
        await client.noop()
    except Exception:
        return False
    return True


def make_tls_context(settings: MailSettings) -> ssl.SSLContext:
    """Returns a context that verifies the certificate of the server and its host name."""
    context = ssl.create_default_context(cafile=settings.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_about_this_mail(error: Exception) -> bool:
    """Returns whether the server has refused one mail in a regular reply."""
    from aiosmtplib import SMTPDataError, SMTPRecipientsRefused

    return isinstance(error, SMTPDataError | SMTPRecipientsRefused)


def classify(error: Exception) -> Attempt:
    """Returns what an error after the connection was opened means for the mail."""
    import aiosmtplib as smtp

    if isinstance(error, smtp.SMTPRecipientsRefused):
        first = error.recipients[0]
        return _by_code(first.code, first.message)
    if isinstance(error, smtp.SMTPDataError):
        return _by_code(error.code, error.message)
    if isinstance(error, smtp.SMTPServerDisconnected | smtp.SMTPReadTimeoutError):
        # The server may have accepted the mail before it stopped answering.
        return Attempt("later", _one_line(error.message))
    if isinstance(error, smtp.SMTPNotSupported | ValueError):  # UnicodeError is a ValueError.
        return Attempt("dead", f"the mail cannot be sent: {type(error).__name__}")
    if isinstance(error, smtp.SMTPResponseException):
        return Attempt("down", _response(error.code, error.message))
    if isinstance(error, smtp.SMTPException | OSError):
        return Attempt("down", _one_line(str(error)))
    raise error


def _by_code(code: int, message: str) -> Attempt:
    """Returns the outcome of a reply to RCPT or DATA (RFC 5321, section 4.2.1)."""
    return Attempt("dead" if code >= FIRST_PERMANENT_CODE else "later", _response(code, message))


def describe_connect_error(error: Exception, settings: MailSettings) -> str:
    """Returns why no connection was possible, with the server's words and what to change."""
    import aiosmtplib as smtp

    where = f"{settings.host}, port {settings.port}"
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _one_line(
            f"the certificate of {where} is not valid: {cause.verify_message}; "
            "for a private CA, add ?ca=/path/to/ca.pem"
        )
    if isinstance(cause, ssl.SSLError):
        return _one_line(
            f"TLS failed at {where}: {cause.reason or cause}; a port with STARTTLS (587) needs "
            "smtp://, a port with TLS (465) needs smtps://"
        )
    if isinstance(error, smtp.SMTPAuthenticationError):
        text = _response(error.code, error.message)
        return f"the user name or password was refused by {where}: {text}"
    if isinstance(error, smtp.SMTPConnectTimeoutError):
        return _one_line(
            f"no answer from {where}: check the host, the port and the firewall; "
            "a port with TLS (465) needs smtps://"
        )
    if isinstance(error, smtp.SMTPConnectResponseError):
        return f"{where} refused the connection: {_response(error.code, error.message)}"
    if isinstance(error, smtp.SMTPConnectError) and isinstance(cause, OSError):
        return _one_line(f"no connection to {where}: {cause.strerror or cause}")
    if isinstance(error, smtp.SMTPResponseException):
        return f"{where} answered {_response(error.code, error.message)}"
    text = str(error) if isinstance(error, smtp.SMTPException | OSError) else type(error).__name__
    return _one_line(f"no connection to {where}: {text}")


def _response(code: int, message: str) -> str:
    return _one_line(f"{code} {message}")


def _one_line(text: str) -> str:
    """Returns the text on one line, without control characters and shortened."""
    text = " ".join(text.split())
    return "".join(c if c.isprintable() else "?" for c in text)[:MAX_ERROR_CHARS]
