"""Audit entries as sentences, for the user of the account and for administrators.

Text that another user has chosen (a name, a team) is a separate part, so that its bidirectional
characters cannot reorder the rest.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from db.audit.events import (
    EVENT_TEXTS,
    FORMER_LIMIT_NAMES,
    LIMIT_LABELS,
    LIMITED_ACTIONS,
    EventTexts,
)
from db.device_names import known_description

JOINED: Final = EventTexts(
    "Change team",
    own="joined the team {to}",
    done="added {whom} to the team {to}",
    note="into {to}",
)
LEFT: Final = EventTexts(
    "Change team",
    own="left the team {from}",
    done="removed {whom} from the team {from}",
    note="out of {from}",
)
ACTOR_NAMES: Final = {
    "user": "An administrator",
    "anonymous": "Someone",
    "operator": "The operator",
}
ROLE_NAMES: Final = {"user": "user", "admin": "administrator"}
FIELDS: Final = {"slug": "profile URL"}  # The labels of these fields differ from their names.
USER_TEXTS: Final = ("name", "from", "to", "device")  # Users choose the text of these placeholders.


class Part(NamedTuple):
    """A part of a sentence.

    `is_user_text` is true for text that a user has chosen, which templates put into `<bdi>`.
    """

    text: str
    is_user_text: bool


def read_detail(detail: str) -> Mapping[str, Any]:
    """Returns the detail of an entry; an empty mapping if the entry is damaged."""
    try:
        values = json.loads(detail or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def describe_for_user(
    event: str,
    outcome: str,
    actor_type: str,
    detail: Mapping[str, Any],
    *,
    is_own: bool,
    other: str | None,
) -> list[Part]:
    """Returns the sentence for a user.

    `is_own` is true if that user acted; `other` is the name of the user that the action concerned.
    """
    texts = _texts_of(event, detail)
    if is_own and other is None:
        predicate = texts.own_refused if outcome == "refused" else texts.own
    else:
        predicate = texts.refused if outcome == "refused" else texts.done
    predicate = predicate or f"did something: {texts.label}"
    subject = "You" if is_own else ACTOR_NAMES.get(actor_type, "The system")
    if texts.subject and actor_type == "user" and not is_own:
        subject = texts.subject
    whose, whom = ("{name}'s", "{name}") if is_own and other is not None else ("your", "you")
    sentence = f"{subject} {predicate}".replace("{whose}", whose).replace("{whom}", whom)
    return _parts(sentence, _values(detail) | {"name": other or ""})


def describe_for_admin(event: str, detail: Mapping[str, Any]) -> list[Part]:
    """Returns the note beside the label; an empty list if the entry has no detail."""
    return _parts(_texts_of(event, detail).note, _values(detail)) if detail else []


def label(event: str) -> str:
    return EVENT_TEXTS.get(event, EventTexts(event)).label


def _texts_of(event: str, detail: Mapping[str, Any]) -> EventTexts:
    """Returns the texts of an event; a change from or to no team has texts of its own."""
    if event == "team.change" and bool(detail.get("from")) != bool(detail.get("to")):
        return JOINED if detail.get("to") else LEFT
    return EVENT_TEXTS.get(event, EventTexts(event))


def _values(detail: Mapping[str, Any]) -> dict[str, str]:
    """Returns the values of the placeholders.

    A damaged entry may lack any of them, so each has a default.
    """
    values = {name: str(value) for name, value in detail.items()}
    limit = FORMER_LIMIT_NAMES.get(values.get("limit", ""), values.get("limit", ""))
    times = _number(values, "times")
    ended = _number(values, "ended")
    was = ROLE_NAMES.get(values.get("from", ""), "?")
    now = ROLE_NAMES.get(values.get("role") or values.get("to", ""), "?")
    return {
        **values,
        "from": values.get("from") or "?",
        "to": values.get("to") or "?",
        "was": was,
        "is": now,
        "role": f"{'an' if now == 'administrator' else 'a'} {now}",
        "why": (
            "there is no other administrator"
            if values.get("reason") == "last-admin"
            else "the current password was wrong"
        ),
        "device": known_description(values.get("device", "")),
        "fields": ", ".join(FIELDS.get(field, field) for field in values.get("fields", "").split()),
        "acted": LIMITED_ACTIONS.get(limit, "tried this"),
        "limit": LIMIT_LABELS.get(limit, limit),
        "often": f"{times:,} times too many" if times > 1 else "too many times",
        "often_more": f"{times:,} times more" if times > 1 else "once more",
        "what": EVENT_TEXTS[values["event"]].label if values.get("event") in EVENT_TEXTS else "?",
        "times": f"{times:,} times" if times > 1 else "once",
        "sessions": f"{ended:,} {'session' if ended == 1 else 'sessions'}",
    }


def _number(values: Mapping[str, str], name: str) -> int:
    value = values.get(name, "")
    return int(value) if value.isdecimal() else 0


def _parts(template: str, values: Mapping[str, str]) -> list[Part]:
    """Splits the template at its placeholders and fills them in."""
    pieces = re.split(r"{(\w+)}", template)
    texts = [values.get(piece, "") if number % 2 else piece for number, piece in enumerate(pieces)]
    is_user_text = [number % 2 == 1 and piece in USER_TEXTS for number, piece in enumerate(pieces)]
    return [Part(*both) for both in zip(texts, is_user_text, strict=True) if both[0]]
