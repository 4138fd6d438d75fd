"""Injects an unexpected error in one request: a trigger makes the database refuse an UPDATE."""

import re

from tests.faults.client import Client, sign_up_client
from tests.faults.program import Run
from tests.faults.result import fault, main, require

TRIGGER = (
    "CREATE TRIGGER fault BEFORE UPDATE ON users BEGIN SELECT RAISE(FAIL, 'injected fault'); END"
)


@fault(
    "R21",
    "an unexpected error in one request",
    "one 500 with a reference that the log contains; other requests work",
    is_test=True,
)
async def unexpected_error(run: Run) -> str:
    program = run.program()
    program.start()
    pid = program.process.pid
    alice = await sign_up_client(program, "alice")
    program.execute_sql(TRIGGER)
    response = await Client(program.port).log_in("alice")
    dashboard = await alice.request("/dashboard")
    program.execute_sql("DROP TRIGGER fault")
    second = await Client(program.port).log_in("alice")
    reference = re.search(rb"[0-9a-f]{16}", response.body)
    require(response.status == 500, f"the log-in returns {response.status}")
    require(reference, "the page has no reference")
    lines = [line for line in program.read_log().splitlines() if reference[0].decode() in line]
    require(lines, "the reference is not in the log")
    require("alice" not in program.read_log(), "the log contains personal data")
    require(
        dashboard.status == 200 and second.status == 303,
        f"later: dashboard {dashboard.status}, log-in {second.status}",
    )
    require(program.process.poll() is None and program.process.pid == pid, "the process has ended")
    return f"500 with a reference, in {len(lines)} line of the log; dashboard 200 in the meantime, next log-in 303"


if __name__ == "__main__":
    main(unexpected_error)
