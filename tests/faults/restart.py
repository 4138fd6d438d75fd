"""Stops the program under load, and restarts two processes in turn without failed requests."""

import asyncio
import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable
from itertools import count

from tests.faults.client import Answer, Client, logged_in_client, statuses
from tests.faults.program import Program, Run
from tests.faults.verdict import fault, main, require


class Balancer:
    """A load balancer that sends requests to each ready program in turn.

    It tries the next program if one refuses the connection.
    """

    def __init__(self, programs: list[Program]) -> None:
        self.programs = programs
        self.ready = set(range(len(programs)))
        self.turn = count()
        self.passed_over = 0

    async def watch(self) -> None:
        """Requests the readiness of each program every 100 ms."""
        while True:
            for number, program in enumerate(self.programs):
                with contextlib.suppress(OSError, EOFError):
                    client = Client(program.port)
                    ready = (await client.ask("/readyz")).status == 200
                    client.close()
                    (self.ready.add if ready else self.ready.discard)(number)
            await asyncio.sleep(0.1)

    async def ask(self, send: Callable[[Client], object]) -> Answer:
        for _ in range(1000):
            ready = sorted(self.ready) or list(range(len(self.programs)))
            client = Client(self.programs[ready[next(self.turn) % len(ready)]].port)
            try:
                return await send(client)
            except ConnectionRefusedError:
                self.passed_over += 1
                await asyncio.sleep(0.01)
            finally:
                client.close()
        raise EOFError("no process accepts a connection")


async def keep(
    balancer: Balancer, send: Callable[[Client], object], found: Counter, stop: asyncio.Event
) -> None:
    while not stop.is_set():
        try:
            found[(await balancer.ask(send)).status] += 1
        except (OSError, EOFError) as error:
            found[f"lost ({type(error).__name__})"] += 1
        await asyncio.sleep(0.01)


@fault(
    "R17", "rolling restart of two processes, twice, under load", "no request fails; exit code 0"
)
async def rolling(run: Run) -> str:
    first = run.program(DRAIN_SECONDS="1")
    second = run.program(f"sqlite:///{first.database}", DRAIN_SECONDS="1")
    for program in (first, second):
        program.start()
    cookie = (await logged_in_client(first, "alice")).cookie
    # Another user logs in often, because an account has at most fifty sessions.
    await logged_in_client(first, "bob")

    async def see_page(client: Client) -> Answer:
        client.cookie = cookie
        return await client.ask("/dashboard")

    balancer, stop, pages, log_ins = (
        Balancer([first, second]),
        asyncio.Event(),
        Counter(),
        Counter(),
    )
    watch = asyncio.create_task(balancer.watch())
    load = [asyncio.create_task(keep(balancer, see_page, pages, stop)) for _ in range(4)]
    load += [
        asyncio.create_task(keep(balancer, lambda c: c.log_in("bob"), log_ins, stop))
        for _ in range(2)
    ]
    codes = []
    for program in (first, second, first, second):
        codes.append(await asyncio.to_thread(program.end))
        await asyncio.to_thread(program.start)
        await asyncio.sleep(1)
    stop.set()
    await asyncio.gather(*load)
    watch.cancel()
    told = f"dashboards {dict(pages)}, log-ins {dict(log_ins)}, {balancer.passed_over} connections refused and retried elsewhere"
    require(set(pages) <= {200, 503} and set(log_ins) <= {303, 503}, told)
    require(codes == [0] * 4, f"exit codes {codes}; {told}")
    return f"{told}; exit codes {codes}"


@fault(
    "R17",
    "SIGTERM while 20 log-ins are in flight",
    "they complete within 10 s; exit code 0; no new ones start",
)
async def in_flight(run: Run) -> str:
    program = run.program()
    program.start()
    await logged_in_client(program, "alice")
    guests = [Client(program.port) for _ in range(20)]
    for guest in guests:
        await guest.ask("/healthz")
    going = asyncio.gather(*(guest.log_in("alice") for guest in guests))
    await asyncio.sleep(0.02)
    began = time.monotonic()
    program.process.send_signal(signal.SIGTERM)
    answers = await going
    ended = await asyncio.to_thread(program.process.wait, 15)
    seconds = time.monotonic() - began
    told = f"{statuses(answers)}; exit code {ended} after {seconds:.1f} s"
    require(all(answer.status == 303 for answer in answers) and ended == 0 and seconds < 10, told)
    return told


if __name__ == "__main__":
    main(in_flight, rolling)
