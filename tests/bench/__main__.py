"""Measures Latchkey against a constant response and a hand-written endpoint in one run.

    .venv/bin/python -m tests.bench                            writes docs/benchmarks.md
    .venv/bin/python -m tests.bench --quick                    short rounds, writes nothing
    .venv/bin/python -m tests.bench --only dashboard           one part of PARTS, writes nothing
    .venv/bin/python -m tests.bench --peer URL --cookie "a=b"  also loads another page

It needs wrk. The server runs on the first core and the load on the last one.
"""

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench.parts import PARTS, Bench
from tests.bench.report import render
from tests.bench.servers import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--peer")
    parser.add_argument("--cookie", default="")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("tests/bench needs wrk (Debian: apt-get install wrk)")
    seconds, rounds = (2, 3) if options.quick else (5, 3)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(Path(folder), stack, seconds, rounds, options.peer, options.cookie)
        for name in options.only or PARTS:
            print(f"{name} …", file=sys.stderr, flush=True)
            PARTS[name](bench)
    report = render(bench)
    print(report)
    if not (options.quick or options.only):
        PAGE.write_text(report)


if __name__ == "__main__":
    main()
