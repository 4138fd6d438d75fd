"""Audit entries as sentences, for the user of the account and for administrators.

Text that another user has chosen (a name, a team) is a separate part, so that its bidirectional
characters cannot reorder the rest.
"""

import json
import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from db.audit.events import (
    EVENT_TEXTS,
    FORMER_LIMIT_NAMES,
    LIMIT_LABELS,
    LIMITED_ACTIONS,
    EventTexts,
)
from db.device_names import known_description
from db.role_names import is_role_name

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
NO_EVENTS: Final[Mapping[str, EventTexts]] = MappingProxyType({})
# Users choose the text of these placeholders.
USER_TEXTS: Final = ("name", "from", "to", "device", "label", "filters")


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
    product_events: Mapping[str, EventTexts] = NO_EVENTS,
) -> list[Part]:
    """Returns the sentence for a user.

    `is_own` is true if that user acted; `other` is the name of the user that the action concerned.
    `product_events` has the texts of the events of a product.
    """
    texts = _texts_of(event, detail, product_events)
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
    values = _values(detail, product_events) | {"name": other or ""}
    return _parts(sentence, values, _user_texts(event, detail, product_events))


def describe_for_admin(
    event: str, detail: Mapping[str, Any], product_events: Mapping[str, EventTexts] = NO_EVENTS
) -> list[Part]:
    """Returns the note beside the label; an empty list if the entry has no detail."""
    if not detail:
        return []
    note = _texts_of(event, detail, product_events).note
    user_texts = _user_texts(event, detail, product_events)
    return _parts(note, _values(detail, product_events), user_texts)


def label(event: str, product_events: Mapping[str, EventTexts] = NO_EVENTS) -> str:
    return _texts_of(event, {}, product_events).label


def _texts_of(
    event: str, detail: Mapping[str, Any], product_events: Mapping[str, EventTexts]
) -> EventTexts:
    """Returns the texts of an event; a change from or to no team has texts of its own."""
    if event == "team.change" and bool(detail.get("from")) != bool(detail.get("to")):
        return JOINED if detail.get("to") else LEFT
    return EVENT_TEXTS.get(event) or product_events.get(event) or EventTexts(event)


def _user_texts(
    event: str, detail: Mapping[str, Any], product_events: Mapping[str, EventTexts]
) -> Iterable[str]:
    """Returns the placeholders whose text a user may have chosen: for a product, all of them."""
    return {"name", *detail} if event in product_events else USER_TEXTS


def _values(detail: Mapping[str, Any], product_events: Mapping[str, EventTexts]) -> dict[str, str]:
    """Returns the values of the placeholders.

    A damaged entry may lack any of them, so each has a default.
    """
    values = {name: str(value) for name, value in detail.items()}
    limit = FORMER_LIMIT_NAMES.get(values.get("limit", ""), values.get("limit", ""))
    times = _number(values, "times")
    ended = _number(values, "ended")
    was = _role(values.get("from", ""))
    now = _role(values.get("role") or values.get("to", ""))
    return {
        **values,
        "from": values.get("from") or "?",
        "to": values.get("to") or "?",
        "was": was,
        "is": now,
        "role": f"{'an' if now.startswith(('a', 'e', 'i', 'o')) else 'a'} {now}",
        "added": values.get("added") or "none",
        "removed": values.get("removed") or "none",
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
        "what": label(values["event"], product_events) if values.get("event") else "?",
        "times": f"{times:,} times" if times > 1 else "once",
        "sessions": f"{ended:,} {'session' if ended == 1 else 'sessions'}",
    }


def _role(name: str) -> str:
    """Returns the role in a sentence; a role that administrators have added has its name."""
    return ROLE_NAMES.get(name, name if is_role_name(name) else "?")


def _number(values: Mapping[str, str], name: str) -> int:
    value = values.get(name, "")
    return int(value) if value.isdecimal() else 0


def _parts(template: str, values: Mapping[str, str], user_texts: Iterable[str]) -> list[Part]:
    """Splits the template at its placeholders and fills them in."""
    pieces = re.split(r"{(\w+)}", template)
    texts = [values.get(piece, "") if number % 2 else piece for number, piece in enumerate(pieces)]
    is_user_text = [number % 2 == 1 and piece in user_texts for number, piece in enumerate(pieces)]
    return [Part(*both) for both in zip(texts, is_user_text, strict=True) if both[0]]
