"""Rotates the secret by a restart while users are logged in."""

from tests.faults.client import Client, logged_in_client
from tests.faults.program import SECRET, Run
from tests.faults.verdict import fault, main, require

NEW = "the next secret of the fault tests 8vK1"


@fault(
    "R16",
    "the secret is rotated by a restart",
    "no user is logged out with SESSION_SECRET=new,old",
    is_test=True,
)
async def rotate(run: Run) -> str:
    program = run.program(SESSION_SECRET=SECRET)
    program.start()
    members = [
        await logged_in_client(program, f"alice{number}")
        for number in range(2 if run.short else 50)
    ]
    program.end()
    program.environ["SESSION_SECRET"] = f"{NEW},{SECRET}"
    restarted = program.start()
    seen = [(await client.ask("/dashboard")).status for client in members]
    require(
        set(seen) == {200},
        f"{sum(status != 200 for status in seen)} of {len(seen)} were logged out",
    )
    fresh = Client(program.port, (await Client(program.port).log_in("alice0")).cookie)
    if run.short:
        return f"{len(seen)} of {len(seen)} sessions continue"
    program.end()
    program.environ["SESSION_SECRET"] = NEW
    program.start()
    require(
        (await fresh.ask("/dashboard")).status == 200, "the new secret did not sign the new session"
    )
    require(
        (await members[0].ask("/dashboard")).status == 303,
        "a session of the removed secret is still valid",
    )
    return f"{len(seen)} of {len(seen)} sessions continue after {restarted:.1f} s; without the old secret its sessions are refused"


if __name__ == "__main__":
    main(rotate)
