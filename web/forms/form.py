"""Forms: what was typed, what is wrong with it, and, where nothing is, the data (the guide's
FormState).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Generic, TypeVar
from urllib.parse import parse_qsl

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from web.forms.fields import Input
from web.forms.password_policy import PASSWORD_POLICIES, PasswordPolicy, PasswordRule
from web.state import request_state

FORM_TYPE: Final = "application/x-www-form-urlencoded"
MAX_FORM_FIELDS: Final = 50
UNREADABLE: Final = "We couldn't read part of this form. Please type it again."

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class RuleState:
    """A password rule as the list draws it."""

    key: str
    pattern: str
    sentence: str
    short: str
    met: bool


@dataclass(frozen=True, slots=True)
class Field:
    """One field as the macros draw it.

    `value` is empty for a password, which never travels back.
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
    """`errors` holds the sentences of each field, `message` one for the form, `data` the schema
    where all is well.
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
        fields: Mapping[str, str] | None,
        password_policy: PasswordPolicy = PASSWORD_POLICIES["guide"],
        current_values: Mapping[str, str] | None = None,
    ) -> "Form[S]":
        """The whole form; None is one that nobody can read.

        Fields that the schema does not know are not looked at.

        A required field that is absent counts as empty; any other stays as it is, and is drawn as
        it is at `current_values`. A new password must not be close to a name or an address in the
        form or at `current_values`.
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
        """One field, live, by the validator that the submit runs.

        `data` then holds this field alone.

        The others are not looked at, but by a new password: it must not be close to a name or an
        address among them.
        """
        form = cls(schema, password_policy, {name: (fields or {}).get(name, "")}, checked={name})
        try:
            form.data = schema.model_construct()
            context = {"password_policy": password_policy, "beside": fields or {}}
            schema.__pydantic_validator__.validate_assignment(
                form.data, name, form.values[name], context=context
            )
        except ValidationError as error:
            form.errors, form.data = _sentences(error), None
        return form

    @property
    def failed(self) -> bool:
        return bool(self.errors or self.message)

    def add_error(self, name: str, sentence: str) -> None:
        self.errors.setdefault(name, []).append(sentence)
        self.data = None

    def __getitem__(self, name: str) -> Field:
        attrs = _input(self.schema, name).attrs
        value, password = self.values.get(name, ""), attrs.get("type") == "password"
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


async def read_fields(request: Request) -> Mapping[str, str] | None:
    """The fields of a posted form, the first value of each; None where they are no text.

    Read once, then remembered.

    An empty body needs no type. Raises HTTPException 415 for any other kind of content.
    """
    state = request_state(request.scope)
    if "fields" not in state:
        state["fields"] = _parse(request.headers.get("content-type", ""), await request.body())
    return state["fields"]


def read_query(request: Request) -> Mapping[str, str]:
    """The fields of the address, the first value of each."""
    return dict(reversed(request.query_params.multi_items()))


def _parse(content_type: str, body: bytes) -> Mapping[str, str] | None:
    if not body:
        return {}
    if content_type.partition(";")[0].strip(" \t").lower() != FORM_TYPE:
        raise HTTPException(415)
    try:
        pairs = parse_qsl(
            body.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_FORM_FIELDS,
        )
    except ValueError:  # no UTF-8, or a field too many
        return None
    return dict(reversed(pairs))  # of doubled fields the first counts


def _sentences(error: ValidationError) -> dict[str, list[str]]:
    return {
        str(problem["loc"][0]): list(
            problem.get("ctx", {}).get("sentences", ("We couldn't read this.",))
        )
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
