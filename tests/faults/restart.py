"""Stops the program under load, and restarts two processes one after the other."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable
from itertools import count

from tests.faults.client import Client, Response, format_statuses, sign_up_client
from tests.faults.program import Program, Run
from tests.faults.result import fault, main, require


class Balancer:
    """A load balancer that sends requests to each ready program in turn.

    It tries the next program if one refuses the connection.
    """

    def __init__(self, programs: list[Program]) -> None:
        self.programs = programs
        self.ready = set(range(len(programs)))
        self.counter = count()
        self.refused = 0

    async def watch(self) -> None:
        """Requests the readiness of each program every 100 ms."""
        while True:
            for number, program in enumerate(self.programs):
                with contextlib.suppress(OSError, EOFError):
                    client = Client(program.port)
                    response = await client.request("/readyz")
                    client.close()
                    if response.status == 200:
                        self.ready.add(number)
                    else:
                        self.ready.discard(number)
            await asyncio.sleep(0.1)

    async def request(self, send: Callable[[Client], object]) -> Response:
        """Calls `send` with a client of the next program. Raises EOFError if all refuse."""
        for _ in range(1000):
            ready = sorted(self.ready) or list(range(len(self.programs)))
            number = ready[next(self.counter) % len(ready)]
            client = Client(self.programs[number].port)
            try:
                return await send(client)
            except ConnectionRefusedError:
                self.refused += 1
                await asyncio.sleep(0.01)
            finally:
                client.close()
        raise EOFError("no process accepts a connection")


async def send_repeatedly(
    balancer: Balancer, send: Callable[[Client], object], statuses: Counter, stop: asyncio.Event
) -> None:
    """Sends requests until `stop` is set, and counts the responses by status."""
    while not stop.is_set():
        try:
            response = await balancer.request(send)
            statuses[response.status] += 1
        except (OSError, EOFError) as error:
            statuses[f"connection lost ({type(error).__name__})"] += 1
        await asyncio.sleep(0.01)


@fault(
    "R17", "rolling restart of two processes, twice, under load", "no request fails; exit code 0"
)
async def rolling_restart(run: Run) -> str:
    first = run.program(DRAIN_SECONDS="1")
    second = run.program(f"sqlite:///{first.database}", DRAIN_SECONDS="1")
    for program in (first, second):
        program.start()
    cookie = (await sign_up_client(first, "alice")).cookie
    # The log-ins are Bob's, because an account has at most fifty sessions, and Alice's must stay.
    await sign_up_client(first, "bob")

    async def request_dashboard(client: Client) -> Response:
        client.cookie = cookie
        return await client.request("/dashboard")

    async def log_in(client: Client) -> Response:
        return await client.log_in("bob")

    balancer = Balancer([first, second])
    stop = asyncio.Event()
    dashboards, log_ins = Counter(), Counter()
    watch = asyncio.create_task(balancer.watch())
    senders = [send_repeatedly(balancer, request_dashboard, dashboards, stop) for _ in range(4)]
    senders += [send_repeatedly(balancer, log_in, log_ins, stop) for _ in range(2)]
    load = [asyncio.create_task(sender) for sender in senders]
    exit_codes = []
    for program in (first, second, first, second):
        exit_codes.append(await asyncio.to_thread(program.stop))
        await asyncio.to_thread(program.start)
        await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*load)
    watch.cancel()
    measured = (
        f"dashboards {dict(dashboards)}, log-ins {dict(log_ins)}, "
        f"{balancer.refused} connections refused and retried at the other process"
    )
    require(set(dashboards) <= {200, 503} and set(log_ins) <= {303, 503}, measured)
    require(exit_codes == [0] * 4, f"exit codes {exit_codes}; {measured}")
    return f"{measured}; exit codes {exit_codes}"


@fault(
    "R17",
    "SIGTERM while 20 log-ins are in flight",
    "they complete within 10 s; exit code 0; no new ones start",
)
async def in_flight(run: Run) -> str:
    program = run.program()
    program.start()
    await sign_up_client(program, "alice")
    clients = [Client(program.port) for _ in range(20)]
    for client in clients:
        await client.request("/healthz")
    log_ins = asyncio.gather(*(client.log_in("alice") for client in clients))
    await asyncio.sleep(0.02)
    started = time.monotonic()
    program.process.send_signal(signal.SIGTERM)
    responses = await log_ins
    exit_code = await asyncio.to_thread(program.process.wait, 15)
    seconds = time.monotonic() - started
    measured = f"{format_statuses(responses)}; exit code {exit_code} after {seconds:.1f} s"
    require(all(response.status == 303 for response in responses), measured)
    require(exit_code == 0 and seconds < 10, measured)
    return measured


if __name__ == "__main__":
    main(in_flight, rolling_restart)
