"""Audit entries as sentences, for the user of the account and for administrators.

Each sentence is a Message, so that pages can translate it. Text that another user has chosen (a
name, a team) is a UserText, so that its bidirectional characters cannot reorder the rest.
"""

import json
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from db.audit.events import (
    BUILT_IN_ROLE_CHANGES,
    EVENT_TEXTS,
    FACTOR_TEXTS,
    FORMER_LIMIT_NAMES,
    JOINED_TEAM,
    LAST_ADMIN_LEAVES,
    LEFT_TEAM,
    LIMIT_LABELS,
    LIMITED_ACTION_TEXTS,
    LOGIN_TEXTS,
    PROVIDER_LOGOUT_TEXTS,
    REFUSED_LINK_TEXTS,
    EventTexts,
)
from db.device_names import known_description
from db.messages import Message, UserText
from db.role_names import is_role_name

ACTOR_NAMES: Final = {
    "user": Message("An administrator"),
    "anonymous": Message("Someone"),
    "operator": Message("The operator"),
}
THE_SYSTEM: Final = Message("The system")
UNDESCRIBED_OWN: Final = Message("You did something: {event}")
UNDESCRIBED: Final = Message("{actor} did something: {event}")
COUNTED: Final = Message("{sentence} ({times})")
LISTED: Final = Message("{first}, {rest}")
ONCE: Final = Message("once")
NONE: Final = Message("none")
ROLE_NAMES: Final = {"user": Message("user"), "admin": Message("administrator")}
FIELDS: Final = {
    "name": Message("name"),
    "slug": Message("profile URL"),
    "phone": Message("phone"),
    "language": Message("language"),
}
# The sentences about these events are the same for every number.
COUNTED_EVENTS: Final = ("limit.reached", "entries.left-out")
NO_EVENTS: Final[Mapping[str, EventTexts]] = MappingProxyType({})
# Users choose the text of these placeholders.
USER_TEXTS: Final = frozenset({"name", "from", "to", "label", "filters"})
PLACEHOLDER: Final = re.compile(r"{(\w+)}")


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
) -> Message:
    """Returns the sentence for a user.

    `is_own` is true if that user acted; `other` is the name of the user that the action concerned.
    `product_events` has the texts of the events of a product.
    """
    texts = _texts_of(event, detail, product_events)
    is_refused = outcome == "refused"
    if is_own and other is None:
        predicate = texts.own_refused if is_refused else texts.own
    else:
        predicate = texts.refused if is_refused else texts.done
    actor = ACTOR_NAMES.get(actor_type, THE_SYSTEM)
    if texts.subject and actor_type == "user":
        actor = Message(texts.subject)
    if not predicate:
        undescribed = UNDESCRIBED_OWN if is_own else UNDESCRIBED
        return undescribed.format(actor=actor, event=Message(texts.label))
    values = _Values(event, detail, product_events)
    values |= {"actor": actor, "name": UserText(other or "")}
    sentence = _fill(_template(predicate, is_own=is_own, is_about_other=other is not None), values)
    if event in COUNTED_EVENTS and values.number("times") > 1:
        return COUNTED.format(sentence=sentence, times=values["times"])
    return sentence


def describe_for_admin(
    event: str, detail: Mapping[str, Any], product_events: Mapping[str, EventTexts] = NO_EVENTS
) -> Message:
    """Returns the note beside the label; an empty message if the entry has no detail."""
    if not detail:
        return Message("")
    note = _texts_of(event, detail, product_events).note
    return _fill(note, _Values(event, detail, product_events))


def label(event: str, product_events: Mapping[str, EventTexts] = NO_EVENTS) -> Message:
    return Message(_texts_of(event, {}, product_events).label)


def messages(product_events: Mapping[str, EventTexts] = NO_EVENTS) -> Iterator[str]:
    """Yields every text of this module that pages translate and that is not a constant in it."""
    found = dict.fromkeys(LIMIT_LABELS.values())
    for texts in (
        *EVENT_TEXTS.values(),
        JOINED_TEAM,
        LEFT_TEAM,
        *BUILT_IN_ROLE_CHANGES.values(),
        LAST_ADMIN_LEAVES,
        *LIMITED_ACTION_TEXTS.values(),
        *LOGIN_TEXTS.values(),
        *FACTOR_TEXTS.values(),
        *REFUSED_LINK_TEXTS.values(),
        *PROVIDER_LOGOUT_TEXTS.values(),
        *product_events.values(),
    ):
        found |= dict.fromkeys(_messages_of(texts))
    # A text of placeholders alone is the same in every language.
    return (text for text in found if re.search(r"[a-z]", PLACEHOLDER.sub("", text)))


def _messages_of(texts: EventTexts) -> Iterator[str]:
    yield from (texts.label, texts.note, texts.subject)
    for predicate in (texts.own, texts.own_refused):
        if predicate:
            yield _template(predicate, is_own=True, is_about_other=False)
    for predicate in (texts.done, texts.refused):
        if predicate:
            yield _template(predicate, is_own=True, is_about_other=True)
            yield _template(predicate, is_own=False, is_about_other=False)


def _template(predicate: str, *, is_own: bool, is_about_other: bool) -> str:
    """Returns the whole sentence: "You changed {name}'s role", "{actor} changed your role"."""
    subject = "You" if is_own else "{actor}"
    whose, whom = ("{name}'s", "{name}") if is_own and is_about_other else ("your", "you")
    return f"{subject} {predicate}".replace("{whose}", whose).replace("{whom}", whom)


def _texts_of(
    event: str, detail: Mapping[str, Any], product_events: Mapping[str, EventTexts]
) -> EventTexts:
    """Returns the texts of an event, which its detail may replace by more exact ones."""
    texts = EVENT_TEXTS.get(event) or product_events.get(event) or EventTexts(event)
    factor = str(detail.get("factor", ""))
    match event:
        case "login":
            return LOGIN_TEXTS.get((str(detail.get("with")), factor), texts)
        case "factor.add" | "factor.remove" | "confirm":
            return FACTOR_TEXTS.get((event, factor), texts)
        case "identity.link":
            return REFUSED_LINK_TEXTS.get(str(detail.get("reason")), texts)
        case "team.change" if bool(detail.get("from")) != bool(detail.get("to")):
            return JOINED_TEAM if detail.get("to") else LEFT_TEAM
        case "role.change":
            return BUILT_IN_ROLE_CHANGES.get(str(detail.get("to")), texts)
        case "account.leave" if detail.get("reason") == "last-admin":
            return LAST_ADMIN_LEAVES
        case "provider.logout":
            found = (PROVIDER_LOGOUT_TEXTS[name] for name in ("ended", "code") if name in detail)
            return next(found, texts)
        case "limit.reached":
            return LIMITED_ACTION_TEXTS.get(_limit(detail), texts)
    return texts


class _Values(dict[str, Any]):
    """The values of the placeholders of an entry, each made when it is needed.

    A damaged entry may lack any of them, so each has a default.
    """

    def __init__(
        self, event: str, detail: Mapping[str, Any], product_events: Mapping[str, EventTexts]
    ) -> None:
        super().__init__()
        self._detail = {name: str(value) for name, value in detail.items()}
        self._product_events = product_events
        # A user may have chosen any value of an event of a product.
        self._user_texts = {"name", *detail} if event in product_events else USER_TEXTS

    def __missing__(self, name: str) -> str:
        value = self._make(name)
        if name in self._user_texts:
            return UserText(value)
        return value

    def number(self, name: str) -> int:
        value = self._detail.get(name, "")
        return int(value) if value.isdecimal() else 0

    def _make(self, name: str) -> str:
        detail = self._detail
        match name:
            case "from" | "to" | "provider":
                return detail.get(name) or "?"
            case "was":
                return _role(detail.get("from", ""))
            case "role":
                return _role(detail.get("role") or detail.get("to", ""))
            case "added" | "removed":
                return detail.get(name) or NONE
            case "device":
                return known_description(detail.get("device", ""))
            case "fields":
                return _list([FIELDS.get(field, field) for field in detail.get(name, "").split()])
            case "limit":
                limit = _limit(detail)
                return Message(LIMIT_LABELS[limit]) if limit in LIMIT_LABELS else limit
            case "what":
                named = detail.get("event")
                return label(named, self._product_events) if named else "?"
            case "times":
                times = self.number("times")
                return Message.plural("{count} time", "{count} times", times) if times > 1 else ONCE
            case "ended_sessions":
                ended = self.number("ended")
                return Message.plural("{count} session ended", "{count} sessions ended", ended)
        return detail.get(name, "")


def _limit(detail: Mapping[str, Any]) -> str:
    limit = str(detail.get("limit", ""))
    return FORMER_LIMIT_NAMES.get(limit, limit)


def _role(name: str) -> str:
    """Returns the role in a sentence; a role that administrators have added has its name."""
    return ROLE_NAMES.get(name) or (name if is_role_name(name) else "?")


def _list(texts: list[str]) -> str:
    """Returns the texts with commas between them."""
    if len(texts) < 2:
        return "".join(texts) if not texts else texts[0]
    return LISTED.format(first=texts[0], rest=_list(texts[1:]))


def _fill(template: str, values: _Values) -> Message:
    names = PLACEHOLDER.findall(template)
    return Message(template, values={name: values[name] for name in names})
