"""Contains the attack by hydra, which repeatedly tries a list of passwords for one user."""

import time
from pathlib import Path

from tests.attack import tools
from tests.attack.outcome import Attack, Finding, NotRun, ToolResult
from tests.attack.program import Program

WEAK_PASSWORD = "sunflower-7 by the gate"  # The attacker's list contains this password.
POSITION = 50
WORDS = 60
ATTACK_SECONDS = 75
CHECK_SECONDS = 60
FORM = "/login:email=^USER^&password=^PASS^:S=data-dashboard"


def read_version() -> str:
    return tools.debian_version("hydra")


def check_tool(folder: Path) -> str:
    """Checks that hydra finds the password without rate limits. Raises NotRun if it does not."""
    program = Program(folder / "unlimited", "off")
    program.folder.mkdir()
    try:
        program.start()
        program.create_user("walter", WEAK_PASSWORD)
        if not has_found_password(guess(program, CHECK_SECONDS)):
            raise NotRun("hydra does not find the planted password with RATE_LIMITS=off")
    finally:
        program.stop()
    return f"with RATE_LIMITS=off it finds the planted password, word {POSITION} of {WORDS}"


def attack(program: Program) -> ToolResult:
    program.create_user("walter", WEAK_PASSWORD)
    before = program.count_responses()
    deadline = time.monotonic() + ATTACK_SECONDS
    runs = 0
    is_found = False
    while not is_found and (seconds_left := deadline - time.monotonic()) > 0:
        is_found = has_found_password(guess(program, seconds_left))
        runs += 1
    responses = program.count_responses() - before
    summary = (
        f"{runs} runs through {WORDS} words in {ATTACK_SECONDS} s, the right password at position "
        f"{POSITION}: {responses[422]:,} guesses verified, {responses[429]:,} refused with 429"
    )
    findings = []
    if is_found:
        findings.append(Finding("the password was found", f"after {responses[422]:,} guesses"))
    status, headers, _ = program.request(
        "POST", "/login", {"email": "walter@example.com", "password": "wrong-password-1"}
    )
    if status == 429 and not headers.get("retry-after", "").isdigit():
        findings.append(Finding("429 without Retry-After", str(headers)))
    return ToolResult(summary, findings)


def guess(program: Program, seconds: float) -> tools.ToolOutput:
    """Runs hydra through the list of passwords, for at most `seconds`."""
    words = [f"sunflower-7 by gate {number}" for number in range(WORDS)]
    words[POSITION - 1] = WEAK_PASSWORD
    list_file = program.folder / "words"
    list_file.write_text("\n".join(words) + "\n")
    options: list[str | Path] = ["-I", "-f", "-t", "4", "-l", "walter@example.com", "-P", list_file]
    target = ["-s", str(program.port), "127.0.0.1", "http-post-form", FORM]
    return tools.run(["hydra", *options, *target], seconds, program.folder)


def has_found_password(output: tools.ToolOutput) -> bool:
    return f"password: {WEAK_PASSWORD}" in output.text


ATTACK = Attack("hydra", "enforce", read_version, attack, check_tool)
