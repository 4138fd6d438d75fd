"""Contains forms: the typed values, their errors and the valid data (the guide's FormState)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, Generic, NoReturn, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from db.messages import Message
from web.forms.fields import Input
from web.forms.password_policy import PASSWORD_POLICIES, PasswordPolicy, PasswordRule
from web.state import request_state

FORM_TYPE: Final = "application/x-www-form-urlencoded"
JSON_TYPE: Final = "application/json"
MAX_FORM_FIELDS: Final = 50
UNREADABLE_FIELD: Final = Message("We couldn't read this. Please type it again.")
UNREADABLE: Final = Message("We couldn't read part of this form. Please type it again.")

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RuleState:
    """A password rule and whether the typed password meets it, for the list below the field."""

    key: str
    pattern: str
    sentence: str
    short: str
    met: bool


@dataclass(frozen=True, slots=True)
class Field:
    """A field for the template macros.

    `value` is empty for a password, which is never sent back.
    """

    name: str
    value: str
    errors: list[str]
    checked: bool
    attrs: Mapping[str, str | bool]
    input: Input
    note: str
    rules: list[RuleState]
    passwordrules: str


@dataclass(slots=True)
class Form(Generic[S]):
    """The state of a form.

    `errors` contains the messages of each field, and `message` one for the form. `data` is an
    instance of the schema if the form is valid, otherwise None.
    """

    schema: type[S]
    password_policy: PasswordPolicy
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    errors: dict[str, list[str]] = field(default_factory=dict)
    checked: set[str] = field(default_factory=set)
    data: S | None = field(default=None, repr=False)
    message: str = ""
    notes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def blank(
        cls,
        schema: type[S],
        password_policy: PasswordPolicy = PASSWORD_POLICIES["guide"],
        **values: str,
    ) -> "Form[S]":
        return cls(schema, password_policy, values)

    @classmethod
    def check(
        cls,
        schema: type[S],
        fields: Mapping[str, Any] | None,
        password_policy: PasswordPolicy = PASSWORD_POLICIES["guide"],
        current_values: Mapping[str, str] | None = None,
    ) -> "Form[S]":
        """Validates the whole form. `fields` is None if the body could not be parsed.

        Fields that are not in the schema are ignored. An absent required field counts as empty. Any
        other absent field is left unchanged and is rendered with its value in `current_values`. A
        new password must not be close to a name or an email in the form or in `current_values`.
        """
        if fields is None:
            return cls(schema, password_policy, current_values or {}, message=UNREADABLE)
        required = {name: "" for name, field in schema.model_fields.items() if field.is_required()}
        typed = required | {name: fields[name] for name in schema.model_fields if name in fields}
        form = cls(schema, password_policy, {**(current_values or {}), **typed}, checked=set(typed))
        try:
            form.data = schema.model_validate(
                typed, context={"password_policy": password_policy, "beside": form.values}
            )
        except ValidationError as error:
            form.errors = _sentences(error)
        return form

    @classmethod
    def check_field(
        cls,
        schema: type[S],
        name: str,
        fields: Mapping[str, str] | None,
        password_policy: PasswordPolicy = PASSWORD_POLICIES["guide"],
    ) -> "Form[S]":
        """Validates one field with the validator that the submit uses.

        `data` then contains only this field. The other fields are ignored, except that a new
        password must not be close to a name or an email among them.
        """
        form = cls(schema, password_policy, {name: (fields or {}).get(name, "")}, checked={name})
        try:
            form.data = schema.model_construct()
            context = {"password_policy": password_policy, "beside": fields or {}}
            schema.__pydantic_validator__.validate_assignment(
                form.data, name, form.values[name], context=context
            )
        except ValidationError as error:
            form.errors = _sentences(error)
            form.data = None
        return form

    @property
    def failed(self) -> bool:
        return bool(self.errors or self.message)

    def add_error(self, name: str, sentence: str) -> None:
        self.errors.setdefault(name, []).append(sentence)
        self.data = None

    def __getitem__(self, name: str) -> Field:
        attrs = _input(self.schema, name).attrs
        value = self.values.get(name, "")
        password = attrs.get("type") == "password"
        new = attrs.get("autocomplete") == "new-password"
        return Field(
            name,
            "" if password else value,
            self.errors.get(name, []),
            name in self.checked,
            attrs,
            _input(self.schema, name),
            self.notes.get(name, ""),
            [_state(rule, value) for rule in self.password_policy.rules] if new else [],
            self.password_policy.generator if new else "",
        )


async def read_fields(request: Request) -> Mapping[str, Any] | None:
    """Returns the first value of each field of a posted form, or None if it cannot be parsed.

    The API takes a JSON object instead, whose values may have any type. Parses the body once per
    request. An empty body needs no content type. Raises HTTPException 415 for any other content
    type than FORM_TYPE, or JSON_TYPE for the API.
    """
    state = request_state(request.scope)
    if "fields" not in state:
        body = await request.body()
        content_type = request.headers.get("content-type", "").partition(";")[0]
        content_type = content_type.strip(" \t").lower()
        is_json = str(request.scope["path"]).startswith("/api/")
        if body and content_type != (JSON_TYPE if is_json else FORM_TYPE):
            raise HTTPException(415)
        state["fields"] = _parse_json(body) if is_json else _parse_form(body)
    return state["fields"]


def read_query(request: Request) -> Mapping[str, str]:
    """Returns the first value of each parameter of the query string."""
    return dict(reversed(request.query_params.multi_items()))


def validate_query(schema: type[S], asked: Mapping[str, str]) -> tuple[S, dict[str, str]]:
    """Returns the validated query with the defaults for invalid values, and the errors of these by
    the name of the parameter.
    """
    wrong = Form.check(schema, asked).errors
    query = schema.model_validate(
        {name: value for name, value in asked.items() if name not in wrong}
    )
    return query, {name: sentences[0] for name, sentences in wrong.items()}


def _parse_json(body: bytes) -> Mapping[str, Any] | None:
    """Returns a JSON object, or None for any other body.

    Refuses repeated names, since parsers disagree about their meaning (RFC 8259, section 4), and
    NaN and Infinity, which are not JSON.
    """
    if not body:
        return {}
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique_names, parse_constant=_refuse
        )
    # A number of more than 4,300 digits is a ValueError, and deep nesting a RecursionError.
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise ValueError("a name is repeated")
    return names


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _parse_form(body: bytes) -> Mapping[str, str] | None:
    if not body:
        return {}
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except ValueError:  # The body is not UTF-8 or has too many fields.
        return None
    return dict(reversed(pairs))  # The first value of a repeated field is used.


def _sentences(error: ValidationError) -> dict[str, list[str]]:
    return {
        str(problem["loc"][0]): list(problem.get("ctx", {}).get("sentences", (UNREADABLE_FIELD,)))
        for problem in error.errors(include_url=False, include_input=False)
    }


def _state(rule: PasswordRule, password: str) -> RuleState:
    return RuleState(rule.key, rule.pattern, rule.sentence, rule.short, rule.is_met(password))


@cache
def _input(schema: type[BaseModel], name: str) -> Input:
    return next(
        (found for found in schema.model_fields[name].metadata if isinstance(found, Input)),
        Input({}),
    )
