"""Contains the pages of the audit log: a user's own entries, and all entries for administrators."""

from typing import Any, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from db.access import audit
from db.messages import Message
from web.forms.form import Form, read_query
from web.forms.schemas import ActivityQuery, AuditQuery
from web.http.session import verify_admin, verify_session
from web.rendering.responses import now, page, url_path

Q = TypeVar("Q", bound=BaseModel)
ACTIVITY = Message("Activity")


async def show_own(request: Request) -> Response:
    viewer = await verify_session(request)
    query = _read(request, ActivityQuery)
    found = await audit.list_own(viewer, page=query.page)
    context: dict[str, Any] = {"found": found, **_page_context(request, "activity", query, found)}
    return page(request, "audit/activity.html", ACTIVITY, layout="app", me=viewer.me, **context)


async def show_all(request: Request) -> Response:
    admin = await verify_admin(request)
    query, events = _read(request, AuditQuery), audit.list_events(admin)
    if query.event not in events:
        query = query.model_copy(update={"event": ""})
    found = await audit.list_all(admin, **query.model_dump())
    context: dict[str, Any] = {"found": found, "query": query.model_dump(), "events": events}
    context |= _page_context(request, "admin-audit", query, found)
    return page(request, "audit/page.html", "Audit", layout="app", me=admin.me, **context)


def _read(request: Request, schema: type[Q]) -> Q:
    """Returns the validated query. Replaces invalid values by the defaults."""
    asked = read_query(request)
    wrong = Form.check(schema, asked).errors
    return schema.model_validate(
        {name: value for name, value in asked.items() if name not in wrong}
    )


def _page_context(
    request: Request, name: str, query: BaseModel, found: audit.EntryPage
) -> dict[str, Any]:
    """Returns the current time and the URLs of the newer and the older page of the same search.

    A URL is empty if there is no such page.
    """

    def url(number: int) -> str:
        asked = {**query.model_dump(exclude_defaults=True), "page": number}
        return f"{url_path(request, name)}?{urlencode(asked)}"

    return {
        "now": now(request),
        "newer": url(found.page - 1) if found.page > 1 else "",
        "older": url(found.page + 1) if found.more else "",
    }
