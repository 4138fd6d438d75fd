"""Contains the commands `latchkey audit …`."""

import argparse
import json
import re
from dataclasses import asdict
from typing import Final

from db.access import audit
from db.access.audit import OperatorEntry
from db.audit.messages import read_detail
from db.viewer import Operator
from web.cli.argument_checks import canonical_email
from web.cli.commands import (
    Argument,
    CommandError,
    CommandGroup,
    OperatorCommand,
    OperatorTask,
)
from web.observability.logs import printable
from web.settings.settings import Settings


def prepare_list(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    email = canonical_email(options.user) if options.user else ""
    event = options.event or ""
    if not re.fullmatch(r"[1-9][0-9]{0,5}", options.limit):
        raise CommandError("--limit must be a whole number from 1 to 999999")

    async def show(caller: Operator) -> None:
        if event and event not in audit.known_events(caller):
            raise CommandError(f"there is no event {printable(event)}")
        entries = await audit.list_newest(
            caller, email=email, event=event, limit=int(options.limit)
        )
        for entry in entries:
            print(_json_line(entry) if options.json else printable(_entry_line(entry)))

    return show


def _entry_line(entry: OperatorEntry) -> str:
    actor = entry.actor_email or entry.actor_id or entry.actor_type
    target = entry.target_email or entry.target_id or ""
    about = f" -> {target}" if target and target != actor else ""
    client = f"  {entry.ip_address}  {entry.browser}".rstrip()
    return (
        f"{entry.number}  {entry.at:%Y-%m-%d %H:%M:%S}  {entry.event} {entry.outcome}  "
        f"{actor}{about}{client}  {entry.detail}"
    ).rstrip()


def _json_line(entry: OperatorEntry) -> str:
    values = asdict(entry) | {"at": entry.at.isoformat(), "detail": read_detail(entry.detail)}
    return json.dumps(values)


def prepare_verification(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    kept = _head(options.head) if options.head else None

    async def verify(caller: Operator) -> None:
        verdict = await audit.verify_log(caller, kept)
        if verdict.problem:
            raise CommandError(verdict.problem)
        print(f"{verdict.entries} entries verified")
        print(f"head: {verdict.head.number}:{verdict.head.mac}")

    return verify


def _head(text: str) -> tuple[int, str]:
    found = re.fullmatch(r"(?:head: )?([1-9][0-9]{0,9}):([0-9a-f]{64})", text.strip())
    if found is None:
        raise CommandError("--head must be NUMBER:MAC, as `latchkey audit verify` printed it")
    return int(found[1]), found[2]


COMMANDS: Final = (
    CommandGroup(
        "audit",
        "the audit log",
        (
            OperatorCommand(
                "list",
                "list the newest entries, the newest last",
                prepare_list,
                (
                    Argument("--user", metavar="EMAIL", help="only those by or about this user"),
                    Argument("--event", help="only those of this event, such as login"),
                    Argument(
                        "--limit", metavar="NUMBER", default="50", help="at most so many (50)"
                    ),
                    Argument("--json", action="store_true", help="print a JSON object per line"),
                ),
                writes=False,
            ),
            OperatorCommand(
                "verify",
                "check that no entry was changed, added or removed",
                prepare_verification,
                (
                    Argument(
                        "--head",
                        metavar="NUMBER:MAC",
                        help="a head printed earlier: check that it is still in the log",
                    ),
                ),
                writes=False,
            ),
        ),
    ),
)
