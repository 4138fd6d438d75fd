"""Every event of the audit trail in words: for the account's owner, who is told what happened, and for administrators.

Text that somebody else has chosen (a name, a team) stands apart from our own, so that it can reorder none of it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

Event = Literal[
    "login",
    "logout",
    "signup",
    "password.change",
    "password.set",
    "profile.change",
    "session.end",
    "session.end-others",
    "session.end-all",
    "role.change",
    "team.change",
    "account.create",
    "account.disable",
    "account.enable",
    "admin",
    "limit.reached",
]


class Part(NamedTuple):
    """A piece of a sentence. `foreign` is what a person has chosen, to be set apart as `<bdi>`."""

    text: str
    foreign: bool


@dataclass(frozen=True, slots=True)
class Words:
    """`label` and `note` are for administrators. The others go on after "You", "An administrator", "Someone" …

    `own` is what one does to one's own account, `done` and `refused` what somebody does to another's.
    """

    label: str
    done: str = ""
    refused: str = ""
    own: str = ""
    own_refused: str = ""
    note: str = ""


EVENTS: Final[Mapping[str, Words]] = {
    "login": Words("Log in", own="logged in", refused="tried to log in to {whose} account"),
    "logout": Words("Log out", own="logged out"),
    "signup": Words("Sign up", own="created your account", refused="tried to sign up with {whose} email"),
    "password.change": Words(
        "Change password",
        own="changed your password",
        own_refused="tried to change your password, but the current one was wrong",
    ),
    "password.set": Words("Set password", done="set a new password for {whom}", note="{sessions} ended"),
    "profile.change": Words("Change profile", own="changed your profile: {fields}", note="{fields}"),
    "session.end": Words("Log out a device", own="logged out another device: {device}", note="{device}"),
    "session.end-others": Words(
        "Log out other devices", own="logged out all your other devices", note="{sessions} ended"
    ),
    "session.end-all": Words(
        "Log out everywhere", own="logged out everywhere", done="logged {whom} out everywhere", note="{sessions} ended"
    ),
    "role.change": Words(
        "Change role",
        own="stopped being an administrator",
        done="made {whom} {role}",
        refused="could not make {whom} a user: nobody else is an administrator",
        own_refused="could not stop being an administrator: nobody else is one",
        note="{was} to {is}",
    ),
    "team.change": Words(
        "Change team",
        own="changed your own team from {from} to {to}",
        done="changed {whose} team from {from} to {to}",
        note="{from} to {to}",
    ),
    "account.create": Words(
        "Create account",
        done="created {whose} account",
        refused="tried to create an account with {whose} email",
        note="as {role}",
    ),
    "account.disable": Words(
        "Disable account",
        own="disabled your own account",
        done="disabled {whose} account",
        refused="could not disable {whose} account: nobody else is an administrator",
        own_refused="could not disable your own account: nobody else is an administrator",
    ),
    "account.enable": Words("Enable account", done="enabled {whose} account", own="enabled your own account"),
    "admin": Words("Administrators’ page", own_refused="tried to open a page for administrators"),
    "limit.reached": Words(
        "Limit reached",
        refused="tried to log in to {whose} account {often} and had to wait",
        own_refused="{acted} {often} and had to wait",
        note="{limit}, {times}",
    ),
}
JOINED: Final = Words(
    "Change team", own="put yourself in the team {to}", done="put {whom} in the team {to}", note="into {to}"
)
LEFT: Final = Words(
    "Change team",
    own="took yourself out of the team {from}",
    done="took {whom} out of the team {from}",
    note="out of {from}",
)
SUBJECTS: Final = {"member": "An administrator", "stranger": "Someone", "operator": "The operator"}
ROLES: Final = {"user": "user", "admin": "administrator"}
FIELDS: Final = {"slug": "page address"}  # those whose name says it by itself are not here
ACTED: Final = {
    "profile-change": "tried to change your profile",
    "password-change": "tried to change your password",
    "session-revokes": "tried to log out your devices",
    "admin-change": "made changes in People",
}
LIMITS: Final = {
    "login-posts": "log-ins from one client",
    "login-fails": "failed log-ins from one client",
    "login-account": "log-ins to one account",
    "login-device": "log-ins from a known browser",
    "login-all": "log-ins by all strangers",
    "signup-minute": "sign-ups in a minute",
    "signup-hour": "sign-ups in an hour",
    "email-minute": "email checks in a minute",
    "email-hour": "email checks in an hour",
    "email-all": "email checks by everybody",
    "profile-change": "profile changes",
    "password-change": "password changes",
    "session-revokes": "log-outs of other devices",
    "admin-change": "changes in People",
}
FOREIGN: Final = ("name", "from", "to", "device")  # placeholders for what people have chosen


def tell_owner(
    event: str, outcome: str, actor: str, detail: Mapping[str, Any], *, mine: bool, other: str | None
) -> list[Part]:
    """What happened, for somebody whom it is about. `mine`: they did it; `other`: the name of whom they did it to."""
    words = _words(event, detail)
    done, refused = (words.own, words.own_refused) if mine and other is None else (words.done, words.refused)
    predicate = (refused if outcome == "refused" else done) or f"did something: {words.label}"
    subject = "You" if mine else SUBJECTS.get(actor, "The program")
    whose, whom = ("{name}’s", "{name}") if mine and other is not None else ("your", "you")
    sentence = f"{subject} {predicate}".replace("{whose}", whose).replace("{whom}", whom)
    return _parts(sentence, _values(detail) | {"name": other or ""})


def tell_admin(event: str, detail: Mapping[str, Any]) -> list[Part]:
    """The detail beside the label; nothing where there is none."""
    return _parts(_words(event, detail).note, _values(detail)) if detail else []


def label(event: str) -> str:
    return EVENTS.get(event, Words(event)).label


def _words(event: str, detail: Mapping[str, Any]) -> Words:
    """Where there was no team before, or is none now, the sentence is another."""
    if event == "team.change" and bool(detail.get("from")) != bool(detail.get("to")):
        return JOINED if detail.get("to") else LEFT
    return EVENTS.get(event, Words(event))


def _values(detail: Mapping[str, Any]) -> dict[str, str]:
    """What the placeholders stand for. A row that somebody has spoilt may lack any of them."""
    said = {name: str(value) for name, value in detail.items()}
    times, ended = (int(said[name]) if said.get(name, "").isdecimal() else 0 for name in ("times", "ended"))
    was, now = (ROLES.get(role, "?") for role in (said.get("from", ""), said.get("role") or said.get("to", "")))
    return {
        **said,
        "from": said.get("from") or "?",
        "to": said.get("to") or "?",
        "was": was,
        "is": now,
        "role": f"{'an' if now == 'administrator' else 'a'} {now}",
        "fields": ", ".join(FIELDS.get(field, field) for field in said.get("fields", "").split()),
        "acted": ACTED.get(said.get("limit", ""), "asked"),
        "limit": LIMITS.get(said.get("limit", ""), said.get("limit", "")),
        "often": f"{times:,} times too many" if times > 1 else "too many times",
        "times": f"{times:,} times" if times > 1 else "once",
        "sessions": f"{ended:,} {'session' if ended == 1 else 'sessions'}",
    }


def _parts(template: str, values: Mapping[str, str]) -> list[Part]:
    """Our own text and what stands for the placeholders, in turn."""
    pieces = re.split(r"{(\w+)}", template)
    texts = [values.get(piece, "") if number % 2 else piece for number, piece in enumerate(pieces)]
    foreign = [number % 2 == 1 and piece in FOREIGN for number, piece in enumerate(pieces)]
    return [Part(*both) for both in zip(texts, foreign, strict=True) if both[0]]
