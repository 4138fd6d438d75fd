"""Contains the types of form fields, their validators and their error messages.

The messages are those of the guide, word for word.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, PlainValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from db.crypto.secret import Secret
from db.emails import canonical_email
from db.messages import Message, UserText
from db.role_names import MAX_PERMISSION_CHARS, ROLE_NAME, is_permission_name, is_role_name
from web.forms.characters import count_visible, has_too_many_marks, strip_invisible
from web.forms.common_passwords import is_close, is_common
from web.forms.password_policy import PASSWORD_POLICIES, PasswordPolicy

MAX_NAME_CHARS: Final = 100
MAX_EMAIL_CHARS: Final = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets.
MAX_PASSWORD_CHARS: Final = 256  # The limit in bytes is 1,024.
MAX_PASSKEY_NAME_CHARS: Final = 60
TOKEN_DAYS: Final = ("7", "30", "90", "365")  # the expiry times of an access token
MAX_PERMISSIONS: Final = 100  # of one role
DAY: Final = r"(?:19[7-9]|[2-8][0-9]{2})[0-9]-[0-9]{2}-[0-9]{2}"  # of the years 1970 to 8999
NO_DAY: Final = Message("Type a date such as 2026-11-28.")
UNSTORABLE: Final = Message("This contains a character we can't store. Please type it again.")
TOO_MANY_MARKS: Final = Message("There are too many accents on one letter. Please remove some.")
TOO_COMMON: Final = Message("This password is too common.")
TOO_CLOSE: Final = Message(
    "This password is too close to your name or email. Please choose another."
)

NAME_TOO_LONG: Final = Message("Name must be at most {count} characters long.")
EMAIL_TOO_LONG: Final = Message("Email must be at most {count} characters long.")
PASSWORD_TOO_LONG: Final = Message("Password must be at most {count} characters long.")
SEARCH_TOO_LONG: Final = Message("Search for at most {count} characters.")
PHONE_OVER_40: Final = Message("Phone must be at most 40 characters long.")
TEAM_OVER_40: Final = Message("Team must be at most 40 characters long.")
LABEL_OVER_40: Final = Message("Label must be at most 40 characters long.")
NAME_OVER_40: Final = Message("Name must be at most 40 characters long.")
NAME_OVER_60: Final = Message("Name must be at most 60 characters long.")
TOO_MANY_PERMISSIONS: Final = Message("A role can have at most {count} permissions.")
NOT_A_PERMISSION: Final = Message(
    "“{name}” is not a permission. Write names such as articles:write, in lowercase letters "
    "(a–z), digits and hyphens."
)


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """The attributes of a field's `<input>`, which repeat the schema's rules for the browser."""

    attrs: Mapping[str, str | bool]


SortOrder = Literal["newest", "oldest", "name", "-name", "email", "-email", "login", "-login"]
AccountState = Literal["", "active", "disabled", "deleting", "unconfirmed"]


def field_error(*sentences: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "refused", {"sentences": sentences})


def require_storable(text: str) -> str:
    """Returns the text. Rejects NUL, which PostgreSQL cannot store, and lone surrogates.

    UTF-8 cannot encode lone surrogates.
    """
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise field_error(UNSTORABLE)
    return text


def require_single_line(text: str) -> str:
    """Returns storable text. Rejects line breaks and control characters.

    The text is printed in lists and in the operator's terminal, where they would move the cursor.
    """
    if any(
        unicodedata.category(character) in ("Cc", "Zl", "Zp")
        for character in require_storable(text)
    ):
        raise field_error(UNSTORABLE)
    if has_too_many_marks(text):
        raise field_error(TOO_MANY_MARKS)
    return text


def _name(text: str) -> str:
    """Returns the trimmed name. Requires at least two visible characters."""
    name = require_single_line(text.strip())
    if len(name) > MAX_NAME_CHARS:
        raise field_error(NAME_TOO_LONG.format(count=MAX_NAME_CHARS))
    if count_visible(name) < 2:
        raise field_error(Message("Name must be at least 2 characters long."))
    return name


def _email(text: str) -> str:
    """Returns the canonical email, the only form that is stored and looked up."""
    email = strip_invisible(require_storable(text))
    if len(email) > MAX_EMAIL_CHARS:
        raise field_error(EMAIL_TOO_LONG.format(count=MAX_EMAIL_CHARS))
    canonical = canonical_email(email)
    if canonical is None:
        raise field_error(Message("Please enter a valid email."))
    return canonical


def _bounded_password(password: Any) -> str:
    """Returns the password unchanged and not trimmed (ASVS 6.2.8).

    Limits its length before anything is computed from it (ASVS 6.2.9).
    """
    if (
        len(password) > MAX_PASSWORD_CHARS
        or len(password.encode("utf-8", "replace")) > 4 * MAX_PASSWORD_CHARS
    ):
        raise field_error(PASSWORD_TOO_LONG.format(count=MAX_PASSWORD_CHARS))
    return require_storable(password)


def _new_password(password: Any, info: ValidationInfo) -> Secret[str]:
    """Checks the rules of the policy, then rejects a common password.

    Also rejects a password that is close to the user's name or email.
    """
    context: Mapping[str, Any] = info.context or {
        "password_policy": PASSWORD_POLICIES["guide"],
        "beside": {},
    }
    password_policy: PasswordPolicy = context["password_policy"]
    unmet = [
        rule.sentence
        for rule in password_policy.rules
        if not rule.is_met(_bounded_password(password))
    ]
    if unmet:
        raise field_error(*unmet)
    if is_common(password, password_policy.site_name):
        raise field_error(TOO_COMMON)
    name, email = (context["beside"].get(field, "") for field in ("name", "email"))
    if is_close(password, name[:MAX_NAME_CHARS], email[:MAX_EMAIL_CHARS]):
        raise field_error(TOO_CLOSE)
    return Secret(password)


def _current_password(password: Any) -> Secret[str]:
    if not _bounded_password(password):
        raise field_error(Message("Please enter your password."))
    return Secret(password)


def _one_time_code(code: Any) -> Secret[str]:
    """Returns the code as typed. Whether it has the form of a code is verified with its value, so
    that every wrong code counts as an attempt.
    """
    if not code.strip():
        raise field_error(Message("Please enter the code."))
    return Secret(code)


def _recovery_code(code: Any) -> Secret[str]:
    """Returns the code as typed, as `_one_time_code`."""
    if not code.strip():
        raise field_error(Message("Please enter a recovery code."))
    return Secret(code)


def _slug(text: str) -> str:
    slug = strip_invisible(require_storable(text))
    if not re.fullmatch(r"[a-z0-9-]{2,40}", slug):
        raise field_error(
            Message("Use 2 to 40 characters: lowercase letters (a–z), digits and hyphens.")
        )
    return slug


def _phone(text: str) -> str:
    """Returns the text as typed, including spaces, or an empty string if nothing is visible."""
    _require_40(require_single_line(text), PHONE_OVER_40)
    return text if count_visible(text) else ""


def _team(text: str) -> str:
    """Returns the trimmed team, or an empty string if nothing is visible.

    Otherwise, users of an invisible team would share it and see each other's phone numbers.
    """
    team = require_single_line(text.strip())
    _require_40(team, TEAM_OVER_40)
    return team if count_visible(team) else ""


def _require_40(text: str, error: Message) -> None:
    if len(text) > 40:
        raise field_error(error)


def _role(text: str) -> str:
    if not ROLE_NAME.fullmatch(text):
        raise field_error(Message("That role doesn't exist."))
    return text


def _role_name(text: str) -> str:
    name = strip_invisible(require_storable(text))
    if not ROLE_NAME.fullmatch(name):
        raise field_error(
            Message(
                "Use 2 to 40 characters: lowercase letters (a–z), digits and hyphens. "
                "The first one must be a letter."
            )
        )
    if not is_role_name(name):
        raise field_error(Message("The name of a role can't start with “team-”."))
    return name


def _role_label(text: str) -> str:
    label = require_single_line(text.strip())
    _require_40(label, LABEL_OVER_40)
    if count_visible(label) < 2:
        raise field_error(Message("Label must be at least 2 characters long."))
    return label


def _permissions(text: Any) -> tuple[str, ...]:
    """Returns the names, which are separated by spaces, commas or line breaks, sorted."""
    if isinstance(text, list) and all(isinstance(name, str) for name in text):
        names = {require_storable(name) for name in text}  # from the API
    elif isinstance(text, str):
        parts = re.split(r"[\s,]+", require_storable(text))
        names = {strip_invisible(name) for name in parts} - {""}
    else:
        raise field_error(Message("We couldn't read this. Please type it again."))
    wrong = sorted(name for name in names if not is_permission_name(name))
    if wrong:
        name = UserText(wrong[0][:MAX_PERMISSION_CHARS])
        raise field_error(NOT_A_PERMISSION.format(name=name))
    if len(names) > MAX_PERMISSIONS:
        raise field_error(TOO_MANY_PERMISSIONS.format(count=MAX_PERMISSIONS))
    return tuple(sorted(names))


def _token_name(text: str) -> str:
    name = require_single_line(text.strip())
    _require_40(name, NAME_OVER_40)
    if not count_visible(name):
        raise field_error(Message("Please enter a name."))
    return name


def _passkey_name(text: str) -> str:
    name = require_single_line(text.strip())
    if len(name) > MAX_PASSKEY_NAME_CHARS:
        raise field_error(NAME_OVER_60)
    return name


def _new_passkey_name(text: str) -> str:
    name = _passkey_name(text)
    if not count_visible(name):
        raise field_error(Message("Please enter a name."))
    return name


def _token_days(text: Any) -> int:
    if text not in TOKEN_DAYS:
        raise field_error(Message("Choose one of the expiry times."))
    return int(text)


def _search(text: str) -> str:
    searched = strip_invisible(require_storable(text))
    if len(searched) > MAX_EMAIL_CHARS:
        raise field_error(SEARCH_TOO_LONG.format(count=MAX_EMAIL_CHARS))
    return searched


def _page_number(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise field_error(Message("Pages are numbered from 1."))
    return int(text)


def _day(text: str) -> date | None:
    if not text:
        return None
    try:
        day = date.fromisoformat(text) if re.fullmatch(DAY, text) else None
    except ValueError:  # There is no such day.
        day = None
    if day is None:
        raise field_error(NO_DAY)
    return day


def _user_id(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,64}", text):
        raise field_error(Message("This is not the id of a user."))
    return text


def _sort(text: str) -> str:
    if text not in get_args(SortOrder):
        raise field_error(
            Message("Sort by newest, oldest, name, -name, email, -email, login or -login.")
        )
    return text


def _role_filter(text: str) -> str:
    return _role(text) if text else ""


def _account_state(text: str) -> str:
    if text not in get_args(AccountState):
        raise field_error(Message("Filter by active, disabled, deleting or unconfirmed."))
    return text


def _confirmation(text: str) -> str:
    if text != "yes":
        raise field_error(Message("Tick the box if this wasn't you."))
    return text


def _deletion(text: str) -> str:
    if text != "yes":
        raise field_error(Message("Tick the box to delete this account."))
    return text


_EXACT: Final = {"required": True, "spellcheck": "false", "autocapitalize": "none"}
Name = Annotated[
    str,
    AfterValidator(_name),
    Input({"type": "text", "autocomplete": "name", "required": True, "minlength": "2"}),
]
Email = Annotated[
    str,
    AfterValidator(_email),
    Input(
        {"type": "email", "autocomplete": "username", "inputmode": "email"} | _EXACT,
    ),
]
# Browsers also offer the passkeys of the site in this field (HTML, "Autofill": `webauthn`).
LoginEmail = Annotated[
    str,
    AfterValidator(_email),
    Input(
        {"type": "email", "autocomplete": "username webauthn", "inputmode": "email"} | _EXACT,
    ),
]
NewEmail = Annotated[
    str,
    AfterValidator(_email),
    Input({"type": "email", "autocomplete": "email", "inputmode": "email"} | _EXACT),
]
# The name and the email of someone else, which the browser should not fill in.
OtherName = Annotated[
    str,
    AfterValidator(_name),
    Input({"type": "text", "autocomplete": "off", "required": True, "minlength": "2"}),
]
OtherEmail = Annotated[
    str,
    AfterValidator(_email),
    Input({"type": "email", "autocomplete": "off", "inputmode": "email"} | _EXACT),
]
NewPassword = Annotated[
    Secret[str],
    PlainValidator(_new_password),
    Input({"type": "password", "autocomplete": "new-password", "minlength": "8"} | _EXACT),
]
CurrentPassword = Annotated[
    Secret[str],
    PlainValidator(_current_password),
    Input({"type": "password", "autocomplete": "current-password"} | _EXACT),
]

OneTimeCode = Annotated[
    Secret[str],
    PlainValidator(_one_time_code),
    Input({"type": "text", "autocomplete": "one-time-code", "inputmode": "numeric"} | _EXACT),
]
RecoveryCode = Annotated[
    Secret[str],
    PlainValidator(_recovery_code),
    Input({"type": "text", "autocomplete": "off"} | _EXACT),
]
Slug = Annotated[
    str,
    AfterValidator(_slug),
    Input({"type": "text", "autocomplete": "off", "minlength": "2"} | _EXACT),
]
Phone = Annotated[str, AfterValidator(_phone), Input({"type": "tel", "autocomplete": "tel"})]
Team = Annotated[str, AfterValidator(_team), Input({"type": "text", "autocomplete": "off"})]
TokenName = Annotated[
    str,
    AfterValidator(_token_name),
    Input({"type": "text", "autocomplete": "off", "required": True, "maxlength": "40"}),
]
PasskeyName = Annotated[
    str,
    AfterValidator(_passkey_name),
    Input({"type": "text", "autocomplete": "off", "maxlength": "60"}),
]
NewPasskeyName = Annotated[
    str,
    AfterValidator(_new_passkey_name),
    Input({"type": "text", "autocomplete": "off", "required": True, "maxlength": "60"}),
]
# Whether the user has saved the recovery codes of the page.
SavedCodes = Annotated[str, Input({"type": "checkbox", "required": True})]
TokenDays = Annotated[int, BeforeValidator(_token_days)]
RoleRef = Annotated[str, AfterValidator(_role)]
RoleName = Annotated[
    str,
    AfterValidator(_role_name),
    Input({"type": "text", "autocomplete": "off", "minlength": "2", "maxlength": "40"} | _EXACT),
]
RoleLabel = Annotated[
    str,
    AfterValidator(_role_label),
    Input({"type": "text", "autocomplete": "off", "required": True, "minlength": "2"}),
]
Permissions = Annotated[
    tuple[str, ...],
    BeforeValidator(_permissions),
    Input({"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
]
Search = Annotated[str, AfterValidator(_search)]
PageNumber = Annotated[int, BeforeValidator(_page_number)]
Day = Annotated[date | None, BeforeValidator(_day)]
UserId = Annotated[str, AfterValidator(_user_id)]
Sort = Annotated[SortOrder, BeforeValidator(_sort)]
RoleFilter = Annotated[str, AfterValidator(_role_filter)]
AccountStateFilter = Annotated[AccountState, BeforeValidator(_account_state)]
Confirmation = Annotated[
    str, AfterValidator(_confirmation), Input({"type": "checkbox", "required": True})
]
Deletion = Annotated[str, AfterValidator(_deletion), Input({"type": "checkbox", "required": True})]
