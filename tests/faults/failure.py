"""Causes an unexpected error in one request: a trigger makes the database refuse an UPDATE."""

import re

from tests.faults.client import Client, logged_in_client
from tests.faults.program import Run
from tests.faults.verdict import fault, main, require

TRIGGER = (
    "CREATE TRIGGER fault BEFORE UPDATE ON users BEGIN SELECT RAISE(FAIL, 'injected fault'); END"
)


@fault(
    "R21",
    "an unexpected error in one request",
    "one 500 with a reference that the log contains; other requests work",
    is_test=True,
)
async def unforeseen(run: Run) -> str:
    program = run.program()
    program.start()
    alice, before = await logged_in_client(program, "alice"), program.process.pid
    program.sql(TRIGGER)
    answer = await Client(program.port).log_in("alice")
    page = await alice.ask("/dashboard")
    program.sql("DROP TRIGGER fault")
    again = await Client(program.port).log_in("alice")
    reference = re.search(rb"[0-9a-f]{16}", answer.body)
    require(answer.status == 500, f"the log-in returns {answer.status}")
    require(reference, "the page has no reference")
    lines = [line for line in program.logged().splitlines() if reference[0].decode() in line]
    require(lines, "the reference is not in the log")
    require("alice" not in program.logged(), "the log contains personal data")
    require(
        page.status == 200 and again.status == 303,
        f"later: dashboard {page.status}, log-in {again.status}",
    )
    require(
        program.process.poll() is None and program.process.pid == before, "the process has ended"
    )
    return f"500 with a reference, in {len(lines)} line of the log; dashboard 200 in the meantime, next log-in 303"


if __name__ == "__main__":
    main(unforeseen)
