"""Contains the functions that check arguments with the rules of the forms."""

from itertools import chain
from typing import TypeVar

from pydantic import BaseModel

from db.errors import NotFound
from web.cli.commands import CommandError
from web.forms.form import Form
from web.forms.schemas import SignUp
from web.observability.logs import printable

S = TypeVar("S", bound=BaseModel)


def get_data(form: Form[S]) -> S:
    """Returns the values of a form. Raises CommandError with the texts of its errors."""
    if form.data is None:
        raise CommandError(" ".join(chain.from_iterable(form.errors.values())))
    return form.data


def canonical_email(email: str) -> str:
    """Returns the email of an account in its stored form. Raises NotFound for an invalid email."""
    form = Form.check_field(SignUp, "email", {"email": email})
    if form.data is None:
        raise NotFound
    return form.data.email


def canonical_new_email(email: str) -> str:
    """Returns the email in its stored form. Raises CommandError for an invalid email."""
    try:
        return canonical_email(email)
    except NotFound:
        raise CommandError(f"not an email: {printable(email)}") from None
