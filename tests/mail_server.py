"""Contains an SMTP server for the tests, with TLS, AUTH and programmable faults.

It runs in its own thread, so that tests with and without an event loop can use it.
"""

import asyncio
import ssl
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final, Literal

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.processes import write_certificate

USERNAME: Final = "mailer@example.com"
PASSWORD: Final = "p@ss/word No.9"
Phase = Literal["CONNECT", "MAIL", "RCPT", "DATA", "DOT", "NOOP"]


@dataclass
class ReceivedMail:
    """A mail that the server has accepted, and what the client said about it."""

    sender: str
    recipients: list[str]
    content: bytes
    is_encrypted: bool
    username: str
    hostname: str

    @property
    def message(self) -> EmailMessage:
        parsed = message_from_bytes(self.content, policy=policy.SMTP)
        assert isinstance(parsed, EmailMessage)
        return parsed


@dataclass
class MailServer:
    """The server's port, the mails that it has accepted, and its faults.

    A fault is the reply to a command, such as `450 Try later`, or `hang`, or `drop` to close the
    connection. `DATA` is the fault before the content, `DOT` the one after it. A fault that is a
    list is used up one by one; an empty text in it means no fault.
    """

    tls: Literal["none", "starttls", "tls"]
    requires_login: bool
    folder: Path
    port: int = 0
    mails: list[ReceivedMail] = field(default_factory=list)
    faults: dict[Phase, str | list[str]] = field(default_factory=dict)
    connections: int = 0
    commands: list[str] = field(default_factory=list)
    log_ins: list[bytes] = field(default_factory=list)
    limit: int | None = None  # mails on one connection, then 421

    def fault(self, phase: Phase) -> str:
        planned = self.faults.get(phase, "")
        if isinstance(planned, list):
            return planned.pop(0) if planned else ""
        return planned

    def url(self, scheme: str = "", credentials: str = "", options: str = "") -> str:
        scheme = scheme or ("smtps" if self.tls == "tls" else "smtp")
        if not options and self.tls != "none":
            options = f"?ca={self.folder}/fullchain.pem"
            options += "&tls=starttls" if scheme == "smtp" else ""
        at = f"{credentials}@" if credentials else ""
        return f"{scheme}://{at}localhost:{self.port}{options}"


class FaultySMTP(SMTP):
    """aiosmtpd's server, which can fail at each command."""

    def __init__(self, server: MailServer, context: ssl.SSLContext | None) -> None:
        self.mail_server = server
        self.mail_count = 0
        warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")
        super().__init__(
            Handler(server),
            hostname="mail.test",
            ident="a test server",
            tls_context=context if server.tls == "starttls" else None,
            require_starttls=server.tls == "starttls",
            auth_required=server.requires_login,
            auth_require_tls=server.tls == "starttls",
            authenticator=self.check_password,
            timeout=60,
        )

    def check_password(self, server: Any, session: Session, *arguments: Any) -> AuthResult:
        login = arguments[-1]
        assert isinstance(login, LoginPassword)
        self.mail_server.log_ins.append(login.login)
        right = login == LoginPassword(USERNAME.encode(), PASSWORD.encode())
        # With `handled`, aiosmtpd would send no reply of its own.
        return AuthResult(success=right, handled=False, auth_data=login)

    async def _handle_client(self) -> None:
        self.mail_server.connections += 1
        fault = self.mail_server.fault("CONNECT")
        if fault:
            await self.push({"drop": "DROP", "hang": "HANG"}.get(fault, fault))
            self.drop()
        else:
            await super()._handle_client()

    async def push(self, status: str | bytes) -> None:
        text = status.decode() if isinstance(status, bytes) else status
        if text == "DROP":
            self.drop()
            return
        if text == "HANG":
            await asyncio.sleep(3600)
        await super().push(status)
        if text.startswith("421"):
            self.drop()

    def drop(self) -> None:
        assert self.transport is not None
        self.transport.abort()

    async def smtp_NOOP(self, arg: str) -> None:
        self.mail_server.commands.append("NOOP")
        fault = self.mail_server.fault("NOOP")
        if fault:
            await self.push({"drop": "DROP", "hang": "HANG"}.get(fault, fault))
        else:
            await super().smtp_NOOP(arg)

    async def smtp_DATA(self, arg: str) -> None:
        fault = self.mail_server.fault("DATA")
        if fault in ("drop", "hang"):
            await self.push("354 Go on")
            await asyncio.sleep(0.02)  # The client has begun to send the content.
            await self.push(fault.upper())
        elif fault:
            await self.push(fault)
        else:
            await super().smtp_DATA(arg)


class Handler:
    """Accepts mails, or replies with a fault."""

    def __init__(self, server: MailServer) -> None:
        self.server = server

    def reply(self, phase: Phase, ok: str) -> str:
        fault = self.server.fault(phase)
        return {"drop": "DROP", "hang": "HANG"}.get(fault, fault) or ok

    async def handle_MAIL(
        self, server: FaultySMTP, session: Session, envelope: Envelope, address: str, options: list
    ) -> str:
        self.server.commands.append("MAIL")
        if self.server.limit is not None and server.mail_count >= self.server.limit:
            return "421 Too many mails on this connection"
        reply = self.reply("MAIL", "250 OK")
        if reply == "250 OK":
            envelope.mail_from = address
        return reply

    async def handle_RCPT(
        self, server: FaultySMTP, session: Session, envelope: Envelope, address: str, options: list
    ) -> str:
        reply = self.reply("RCPT", "250 OK")
        if reply == "250 OK":
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: FaultySMTP, session: Session, envelope: Envelope) -> str:
        reply = self.reply("DOT", "250 OK, queued")
        # A server that stops answering after the content may have accepted the mail.
        if reply.startswith("250") or reply in ("DROP", "HANG"):
            login = session.auth_data
            server.mail_count += 1
            self.server.mails.append(
                ReceivedMail(
                    envelope.mail_from or "",
                    envelope.rcpt_tos,
                    bytes(envelope.original_content or b""),
                    session.ssl is not None or self.server.tls == "tls",
                    login.login.decode() if isinstance(login, LoginPassword) else "",
                    session.host_name or "",
                )
            )
        return reply


@contextmanager
def mail_server(
    folder: Path,
    *,
    tls: Literal["none", "starttls", "tls"] = "none",
    requires_login: bool = False,
    port: int = 0,
) -> Iterator[MailServer]:
    """Runs a server with a self-signed certificate for localhost, which is in `folder`."""
    server = MailServer(tls, requires_login, folder, port)
    context = None
    if tls != "none":
        if not (folder / "fullchain.pem").exists():
            write_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "fullchain.pem", folder / "privkey.pem")
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # Dropped connections are expected.
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(
        loop.create_server(
            lambda: FaultySMTP(server, context),
            "localhost",
            port,
            ssl=context if tls == "tls" else None,
            family=2,  # IPv4
        ),
        loop,
    ).result()
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_stop(listening), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def _stop(listening: asyncio.Server) -> None:
    listening.close()
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
