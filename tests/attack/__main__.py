"""Runs every attack and writes docs/attack.md.

`.venv/bin/python -m tests.attack hydra paths` runs only these attacks and updates their entries.
"""

import resource
import sys

from tests.attack import fuzz, hydra, paths, report, siege, slow, sqlmap, wapiti
from tests.attack.outcome import Attack, NotRun
from tests.attack.program import Broken

ATTACKS = {found.name: found for found in (
    wapiti.ATTACK, sqlmap.ATTACK, paths.ATTACK, hydra.ATTACK, slow.ATTACK, fuzz.ATTACK,
)}  # fmt: skip
FILES = 4_096  # The attacks open a thousand connections at once.


def main() -> None:
    wanted = sys.argv[1:] or list(ATTACKS)
    if unknown := set(wanted) - set(ATTACKS):
        sys.exit(f"no such attack: {', '.join(sorted(unknown))}; there are {', '.join(ATTACKS)}")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        resource.setrlimit(
            resource.RLIMIT_NOFILE,
            (FILES if hard == resource.RLIM_INFINITY else min(FILES, hard), hard),
        )
    verdicts = set()
    for name in wanted:
        made = make(ATTACKS[name])
        print(f"{made.row}\n\n{made.section}\n", flush=True)
        entries = {entry.name: entry for entry in report.read()} | {name: made}
        report.write([entries[name] for name in ATTACKS if name in entries])
        verdicts.add(made.verdict)
    sys.exit(1 if "failed" in verdicts else 2 if "not run" in verdicts else 0)


def make(attack: Attack) -> report.Entry:
    try:
        return report.entry_of(siege.lay(attack))
    except (NotRun, Broken) as reason:
        return report.not_run(attack.name, attack.limits, str(reason))


if __name__ == "__main__":
    main()
