"""Contains the JSON forms of the data that the API returns, and its answer to invalid input."""

from typing import Any

from starlette.responses import JSONResponse, Response

from web.forms.form import Form
from web.rendering.formatting import iso
from web.rendering.problem_details import problem


def as_json(dto: object, *names: str) -> dict[str, Any]:
    """Returns the fields of these names only; a datetime as text (RFC 3339), in UTC."""
    values = ((name, getattr(dto, name)) for name in names)
    return {name: iso(value) if hasattr(value, "isoformat") else value for name, value in values}


def ok(**members: Any) -> Response:
    return JSONResponse(members)


def invalid_input(form: Form[Any], what: str = "body") -> Response:
    """Returns problem details with the messages of each field (422)."""
    return problem(422, form.message or f"The {what} is not valid.", errors=form.errors)
