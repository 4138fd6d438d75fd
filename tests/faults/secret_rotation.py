"""Rotates the secret by a restart while users are logged in."""

from tests.faults.client import Client, sign_up_client
from tests.faults.program import SECRET, Run
from tests.faults.result import fault, main, require

NEW_SECRET = "the next secret of the fault tests 8vK1"


@fault(
    "R16",
    "the secret is rotated by a restart",
    "no user is logged out with SESSION_SECRET=new,old",
    is_test=True,
)
async def rotate(run: Run) -> str:
    program = run.program(SESSION_SECRET=SECRET)
    program.start()
    clients = [
        await sign_up_client(program, f"alice{number}") for number in range(2 if run.short else 50)
    ]
    program.stop()
    program.environ["SESSION_SECRET"] = f"{NEW_SECRET},{SECRET}"
    restart_seconds = program.start()
    statuses = [(await client.request("/dashboard")).status for client in clients]
    logged_out = sum(status != 200 for status in statuses)
    require(not logged_out, f"{logged_out} of {len(statuses)} were logged out")
    new_client = Client(program.port, (await Client(program.port).log_in("alice0")).cookie)
    if run.short:
        return f"{len(statuses)} of {len(statuses)} sessions continue"
    program.stop()
    program.environ["SESSION_SECRET"] = NEW_SECRET
    program.start()
    new_response = await new_client.request("/dashboard")
    require(new_response.status == 200, "the new secret did not sign the new session")
    old_response = await clients[0].request("/dashboard")
    require(old_response.status == 303, "a session of the removed secret is still valid")
    return (
        f"{len(statuses)} of {len(statuses)} sessions continue after {restart_seconds:.1f} s; "
        "without the old secret its sessions are refused"
    )


if __name__ == "__main__":
    main(rotate)
