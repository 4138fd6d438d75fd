"""Audit entries as sentences, for the user of the account and for administrators.

Text that another user has chosen (a name, a team) is a separate part, so that its bidirectional
characters cannot reorder the rest.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from db.audit.events import ACTED, EVENTS, LIMITS, Words
from db.device_names import known_description

JOINED: Final = Words(
    "Change team",
    own="joined the team {to}",
    done="added {whom} to the team {to}",
    note="into {to}",
)
LEFT: Final = Words(
    "Change team",
    own="left the team {from}",
    done="removed {whom} from the team {from}",
    note="out of {from}",
)
SUBJECTS: Final = {"member": "An administrator", "stranger": "Someone", "operator": "The operator"}
ROLES: Final = {"user": "user", "admin": "administrator"}
FIELDS: Final = {"slug": "profile URL"}  # the fields whose label differs from their name
FOREIGN: Final = ("name", "from", "to", "device")  # placeholders for text that users have chosen


class Part(NamedTuple):
    """A part of a sentence.

    `is_user_text` is true for text that a user has chosen, which templates put into `<bdi>`.
    """

    text: str
    foreign: bool


def read_detail(detail: str) -> Mapping[str, Any]:
    """Returns the detail of an entry; an empty mapping if the entry is damaged."""
    try:
        said = json.loads(detail or "{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def tell_owner(
    event: str,
    outcome: str,
    actor: str,
    detail: Mapping[str, Any],
    *,
    mine: bool,
    other: str | None,
) -> list[Part]:
    """Returns the sentence for a user.

    `is_own` is true if that user acted; `other` is the name of the user that the action concerned.
    """
    words = _words(event, detail)
    done, refused = (
        (words.own, words.own_refused) if mine and other is None else (words.done, words.refused)
    )
    predicate = (refused if outcome == "refused" else done) or f"did something: {words.label}"
    subject = "You" if mine else SUBJECTS.get(actor, "The system")
    whose, whom = ("{name}'s", "{name}") if mine and other is not None else ("your", "you")
    sentence = f"{subject} {predicate}".replace("{whose}", whose).replace("{whom}", whom)
    return _parts(sentence, _values(detail) | {"name": other or ""})


def tell_admin(event: str, detail: Mapping[str, Any]) -> list[Part]:
    """Returns the note beside the label; an empty list if the entry has no detail."""
    return _parts(_words(event, detail).note, _values(detail)) if detail else []


def label(event: str) -> str:
    return EVENTS.get(event, Words(event)).label


def _words(event: str, detail: Mapping[str, Any]) -> Words:
    """Returns the texts of an event; a change from or to no team has texts of its own."""
    if event == "team.change" and bool(detail.get("from")) != bool(detail.get("to")):
        return JOINED if detail.get("to") else LEFT
    return EVENTS.get(event, Words(event))


def _values(detail: Mapping[str, Any]) -> dict[str, str]:
    """Returns the values of the placeholders.

    A damaged entry may lack any of them, so each has a default.
    """
    said = {name: str(value) for name, value in detail.items()}
    times, ended = (
        int(said[name]) if said.get(name, "").isdecimal() else 0 for name in ("times", "ended")
    )
    was, now = (
        ROLES.get(role, "?")
        for role in (said.get("from", ""), said.get("role") or said.get("to", ""))
    )
    return {
        **said,
        "from": said.get("from") or "?",
        "to": said.get("to") or "?",
        "was": was,
        "is": now,
        "role": f"{'an' if now == 'administrator' else 'a'} {now}",
        "device": known_description(said.get("device", "")),
        "fields": ", ".join(FIELDS.get(field, field) for field in said.get("fields", "").split()),
        "acted": ACTED.get(said.get("limit", ""), "tried this"),
        "limit": LIMITS.get(said.get("limit", ""), said.get("limit", "")),
        "often": f"{times:,} times too many" if times > 1 else "too many times",
        "often_more": f"{times:,} times more" if times > 1 else "once more",
        "what": EVENTS[said["event"]].label if said.get("event") in EVENTS else "?",
        "times": f"{times:,} times" if times > 1 else "once",
        "sessions": f"{ended:,} {'session' if ended == 1 else 'sessions'}",
    }


def _parts(template: str, values: Mapping[str, str]) -> list[Part]:
    """Splits the template at its placeholders and fills them in."""
    pieces = re.split(r"{(\w+)}", template)
    texts = [values.get(piece, "") if number % 2 else piece for number, piece in enumerate(pieces)]
    foreign = [number % 2 == 1 and piece in FOREIGN for number, piece in enumerate(pieces)]
    return [Part(*both) for both in zip(texts, foreign, strict=True) if both[0]]
