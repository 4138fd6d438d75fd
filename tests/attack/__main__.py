"""Runs every attack and writes docs/attack.md.

`.venv/bin/python -m tests.attack hydra paths` runs only these attacks and updates their rows.
"""

import resource
import sys

from tests.attack import fuzz, hydra, paths, report, slow_clients, sqlmap, wapiti
from tests.attack.attack_runner import run_attack
from tests.attack.outcome import Attack, NotRun
from tests.attack.program import SetupFailed

ATTACKS = {attack.name: attack for attack in (
    wapiti.ATTACK, sqlmap.ATTACK, paths.ATTACK, hydra.ATTACK, slow_clients.ATTACK, fuzz.ATTACK,
)}  # fmt: skip
OPEN_FILES = 4_096  # The attacks open a thousand connections at once.


def main() -> None:
    """Exits with 1 if a finding is open, and with 2 if an attack was not run."""
    names = sys.argv[1:] or list(ATTACKS)
    if unknown := set(names) - set(ATTACKS):
        sys.exit(f"no such attack: {', '.join(sorted(unknown))}; there are {', '.join(ATTACKS)}")
    raise_file_limit()
    results = set()
    for name in names:
        new_entry = make_entry(ATTACKS[name])
        print(f"{new_entry.row}\n\n{new_entry.section}\n", flush=True)
        entries = {entry.name: entry for entry in report.read()}
        entries[name] = new_entry
        report.write([entries[name] for name in ATTACKS if name in entries])
        results.add(new_entry.result)
    sys.exit(1 if "failed" in results else 2 if "not run" in results else 0)


def raise_file_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def make_entry(attack: Attack) -> report.Entry:
    """Runs the attack and returns its entry of the report."""
    try:
        return report.entry_of(run_attack(attack))
    except (NotRun, SetupFailed) as reason:
        return report.not_run_entry(attack.name, attack.rate_limits, str(reason))


if __name__ == "__main__":
    main()
