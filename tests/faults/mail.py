"""Injects faults of the mail server while users sign up."""

import asyncio
import statistics
from collections.abc import Callable

from tests.faults.client import Client
from tests.faults.clock import Clock
from tests.faults.program import Program, Run, free_port
from tests.faults.result import fault, main, require
from tests.mail_server import MailServer, mail_server

REQUIREMENT = "every sign-up succeeds at once; its mail arrives once the server works, and no mail is sent twice"
DELIVERY_SECONDS = 60
SIGN_UPS = 10
MAX_SECONDS = 1.0  # of a sign-up while the mail server does not work
SLOW_SECONDS = 10.0  # of a sign-up in a program whose clock libfaketime changes


def start_program(run: Run, port: int, **environ: str) -> Program:
    program = run.program(SMTP_URL=f"smtp://127.0.0.1:{port}", **environ)
    program.environ["MAIL_FROM"] = "Latchkey <no-reply@localhost>"
    program.start()
    return program


async def sign_up_all(
    program: Program, prefix: str = "user", max_seconds: float = MAX_SECONDS
) -> list[float]:
    """Signs up users one after the other and returns the seconds of each sign-up."""
    seconds = []
    for number in range(SIGN_UPS):
        response = await Client(program.port).sign_up(f"{prefix}{number}")
        require(response.status == 303, f"a sign-up returns {response.status}")
        seconds.append(response.seconds)
    require(max(seconds) < max_seconds, f"a sign-up takes {max(seconds):.2f} s")
    return seconds


async def wait_for(condition: Callable[[], bool], problem: str) -> None:
    """Requires that the condition becomes true within DELIVERY_SECONDS."""
    for _ in range(DELIVERY_SECONDS * 10):
        if condition():
            return
        await asyncio.sleep(0.1)
    require(False, problem)


async def require_all_delivered(server: MailServer, program: Program, extra: int = 0) -> str:
    """Requires that each user has received one mail, and at most `extra` mails came twice."""
    await wait_for(
        lambda: len({mail.recipients[0] for mail in server.mails}) >= SIGN_UPS,
        f"{len(server.mails)} of {SIGN_UPS} mails after {DELIVERY_SECONDS} s: {program.read_log()[-300:]}",
    )
    await asyncio.sleep(1)
    ids = [mail.message["Message-ID"] for mail in server.mails]
    repeated = len(ids) - len(set(ids))
    require(len(set(ids)) == SIGN_UPS, f"{len(set(ids))} different mails for {SIGN_UPS} users")
    require(repeated <= extra, f"{repeated} mails came twice")
    return f"{len(ids)} mails for {SIGN_UPS} users, {repeated} twice"


def hasten_retries(program: Program) -> None:
    """Makes every message due now, so that the run need not wait for the back-off."""
    program.execute_sql("UPDATE outbox SET due_at = created_at WHERE due_at IS NOT NULL")


@fault("R14", "the mail server refuses connections, then works", REQUIREMENT, is_test=True)
async def refusing(run: Run) -> str:
    port = free_port()
    program = start_program(run, port)
    seconds = await sign_up_all(program)
    await asyncio.sleep(1)
    require(program.execute_sql("SELECT 1 FROM outbox WHERE sent_at IS NOT NULL") == [], "sent")
    with mail_server(run.folder, port=port) as server:
        hasten_retries(program)
        delivered = await require_all_delivered(server, program)
    return f"sign-up median {statistics.median(seconds):.3f} s; {delivered}"


@fault("R14", "the mail server accepts connections and does not answer", REQUIREMENT)
async def hanging(run: Run) -> str:
    with mail_server(run.folder) as server:
        server.faults["EHLO"] = server.faults["CONNECT"] = "hang"
        program = start_program(run, server.port)
        seconds = await sign_up_all(program)
        for number in range(20):
            response = await Client(program.port).request("/login")
            require(response.seconds < MAX_SECONDS, f"page {number}: {response.seconds:.2f} s")
        stopped = await asyncio.to_thread(program.stop)
        require(stopped == 0, f"exit code {stopped}")
        server.faults.clear()
        program.start()
        hasten_retries(program)
        delivered = await require_all_delivered(server, program)
    return f"sign-up median {statistics.median(seconds):.3f} s; {delivered}"


@fault("R14", "the mail server answers 421 to every third mail", REQUIREMENT)
async def busy(run: Run) -> str:
    with mail_server(run.folder) as server:
        server.limit = 2
        program = start_program(run, server.port)
        await sign_up_all(program)
        hasten_retries(program)
        return await require_all_delivered(server, program)


@fault("R14", "the mail server drops the connection within DATA", REQUIREMENT)
async def dropping(run: Run) -> str:
    with mail_server(run.folder) as server:
        server.faults["DATA"] = ["drop"] * 4
        program = start_program(run, server.port)
        await sign_up_all(program)
        for _ in range(8):
            await asyncio.sleep(1)
            hasten_retries(program)
        return await require_all_delivered(server, program)


@fault(
    "R14",
    "the program is killed while it sends",
    "no mail is lost; a mail that was being sent may come twice, with the same Message-ID",
)
async def killed(run: Run) -> str:
    with mail_server(run.folder) as server:
        program = start_program(run, server.port)
        for number in range(SIGN_UPS):
            await Client(program.port).sign_up(f"user{number}")
            if number % 3 == 2:
                await asyncio.sleep(0.02)
                program.kill()
                program.start()
        hasten_retries(program)
        return await require_all_delivered(server, program, extra=SIGN_UPS // 3)


@fault(
    "R14",
    "the mail server is down for a day",
    "links that have expired are not sent; notices are; new mails go out",
)
async def a_day(run: Run) -> str:
    clock = Clock(run.folder)
    port = free_port()
    program = start_program(run, port, **clock.environ)
    await sign_up_all(program, max_seconds=SLOW_SECONDS)
    await clock.jump("+1d")
    with mail_server(run.folder, port=port) as server:
        await sign_up_all(program, "later", SLOW_SECONDS)
        hasten_retries(program)
        await wait_for(
            lambda: len(server.mails) >= SIGN_UPS,
            f"{len(server.mails)} mails: {program.read_log()}",
        )
        await asyncio.sleep(1)
        late = [mail.recipients[0] for mail in server.mails if "later" not in mail.recipients[0]]
        require(not late, f"mails with expired links were sent to {late}")
    expired = program.execute_sql("SELECT count(*) FROM outbox WHERE error = 'expired'")[0][0]
    require(expired == SIGN_UPS, f"{expired} of {SIGN_UPS} messages are marked as expired")
    return f"{expired} expired links not sent, {len(server.mails)} new mails sent"


if __name__ == "__main__":
    main(refusing, hanging, busy, dropping, killed, a_day)
