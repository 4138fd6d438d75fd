"""Attack by hydra, which guesses the password of one user from a list of words repeatedly."""

import time
from pathlib import Path

from tests.attack import tools
from tests.attack.outcome import Attack, Finding, NotRun, Seen
from tests.attack.program import Program

PLANTED = "sunflower-7 by the gate"  # The attacker's list contains this weak password.
PLACE = 50
WORDS = 60
SECONDS = 75  # The guessing ends after this time.
FORM = "/login:email=^USER^&password=^PASS^:S=data-dashboard"


def version() -> str:
    return tools.debian_version("hydra")


def prove(folder: Path) -> str:
    """Checks that hydra finds the password without rate limits. Raises NotRun if it does not."""
    program = Program(folder / "unlimited", "off")
    program.folder.mkdir()
    try:
        program.open()
        program.create("walter", PLANTED)
        if not found(guess(program, 60)):
            raise NotRun("hydra does not find the planted password with RATE_LIMITS=off")
    finally:
        program.close()
    return f"with RATE_LIMITS=off it finds the planted password, word {PLACE} of {WORDS}"


def strike(program: Program) -> Seen:
    program.create("walter", PLANTED)
    before, until, runs, was_found = program.counted(), time.monotonic() + SECONDS, 0, False
    while not was_found and (left := until - time.monotonic()) > 0:
        was_found = found(guess(program, left))
        runs += 1
    answers = program.counted() - before
    did = f"{runs} runs through {WORDS} words in {SECONDS} s, the right password at position {PLACE}: "
    did += f"{answers[422]:,} guesses verified, {answers[429]:,} refused with 429"
    findings = (
        [Finding("the password was found", f"after {answers[422]:,} guesses")] if was_found else []
    )
    status, headers, _ = program.ask(
        "POST", "/login", {"email": "walter@example.com", "password": "wrong-password-1"}
    )
    if status == 429 and not headers.get("retry-after", "").isdigit():
        findings.append(Finding("429 without Retry-After", str(headers)))
    return Seen(did, findings)


def guess(program: Program, seconds: float) -> tools.Done:
    words = [f"sunflower-7 by gate {number}" for number in range(WORDS)]
    words[PLACE - 1] = PLANTED
    (program.folder / "words").write_text("\n".join(words) + "\n")
    command: list[str | Path] = [
        "hydra",
        "-I",
        "-f",
        "-t",
        "4",
        "-l",
        "walter@example.com",
        "-P",
        program.folder / "words",
    ]
    return tools.run(
        [*command, "-s", str(program.port), "127.0.0.1", "http-post-form", FORM],
        seconds,
        program.folder,
    )


def found(done: tools.Done) -> bool:
    return f"password: {PLANTED}" in done.said


ATTACK = Attack("hydra", "enforce", version, strike, prove)
