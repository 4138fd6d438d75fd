"""A door that stayed closed, said in the form that knocked at it: what was typed is still there."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from starlette.requests import Request

from db.errors import Breached, Busy, NotCreated, Refusal, TooMany
from web.forms.form import Form
from web.observability.logs import log_busy, log_failure
from web.rendering.formatting import wait

BREACHED: Final = "This password has appeared in a data breach. Please choose another."


class Closed(NamedTuple):
    """How the answer says it to programs: the status, and in how many seconds to come again."""

    status: int
    retry_after: int | None = None


def say(
    request: Request, form: Form[Any], refusal: Refusal, sentences: Mapping[type[Refusal], str]
) -> Closed:
    """Put the sentence for the refusal into the form, and tell the log where the fault is ours.

    A sentence may say `{wait}`. A breached password has the same sentence everywhere, beside its
    field.
    """
    match refusal:
        case Breached():
            form.add_error("password", BREACHED)
            return Closed(422)
        case TooMany():
            form.message = sentences[TooMany].format(wait=wait(refusal.retry_after))
            return Closed(429, refusal.retry_after)
        case Busy():
            log_busy(request, refusal)
            form.message = sentences[Busy]
            return Closed(503, refusal.retry_after)
        case NotCreated():
            log_failure(request, refusal)
            form.message = sentences[NotCreated]
            return Closed(500)
    raise refusal
