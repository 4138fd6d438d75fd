"""Contains the pages of the audit log: a user's own entries, and all entries for administrators,
who can also export them.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from db.access import audit, audit_export
from db.access.audit_export import Export, ExportedEntry
from db.access.audit_search import EntryFilter
from db.messages import Message
from db.viewer import Admin
from web.forms.form import read_query, validate_query
from web.forms.schemas import ActivityQuery, AuditPageQuery
from web.http.client_info import get_client_info
from web.http.session import verify_admin, verify_session
from web.http.sudo import verify_sudo_admin
from web.middleware.cross_origin import ForeignOrigin
from web.rendering.data_files import StreamedFile, csv_header, csv_rows, json_lines
from web.rendering.responses import now, page, url_path

# The parameters whose names are not those of the schema, because `from` is a keyword.
PARAMETERS: Final = {"since": "from", "until": "to"}
NO_EVENT: Final = Message("There is no such event.")
END_BEFORE_START: Final = Message("The last day is before the first one.")
MEDIA_TYPES: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}


@dataclass(frozen=True, slots=True)
class Search:
    """The valid parameters of a search, and the errors of the others by the name of the field.

    `typed` has the days as they were sent.
    """

    query: AuditPageQuery
    typed: dict[str, str]
    errors: dict[str, str]

    @property
    def filters(self) -> EntryFilter:
        query = self.query
        return EntryFilter(
            query.q, query.event, query.outcome, query.person, query.since, query.until
        )

    def url(self, request: Request, name: str, **changes: object) -> str:
        """Returns the URL of the route with these filters, apart from the changes.

        A filter that is changed to an empty value is left out.
        """
        asked = self.query.model_dump(exclude={"page", "format", "before"}) | changes
        return _url(request, name, **asked)


async def show_own(request: Request) -> Response:
    viewer = await verify_session(request)
    asked = read_query(request)
    query, _ = validate_query(ActivityQuery, asked)
    found = await audit.list_own(viewer, page=query.page)
    pages = _page_urls(found, lambda number: _url(request, "activity", page=number))
    context: dict[str, Any] = {"found": found, "now": now(request), **pages}
    return page(
        request, "audit/activity.html", Message("Activity"), layout="app", me=viewer.me, **context
    )


async def show_all(request: Request) -> Response:
    admin = await verify_admin(request)
    search = _read_search(request, admin)
    query = search.query
    found = await audit.list_all(admin, search.filters, page=query.page)
    person = await audit.find_filtered_user(admin, query.person) if query.person else None
    pages = _page_urls(found, lambda number: search.url(request, "admin-audit", page=number))
    context: dict[str, Any] = {
        "found": found,
        "query": query.model_dump(),
        "typed": search.typed,
        "errors": search.errors,
        "events": audit.list_events(admin),
        "is_filtered": bool(search.filters.used),
        "person": person,
        "url_without_person": search.url(request, "admin-audit", person=""),
        # The id of the person follows. A text that was searched for usually names another person.
        "person_url": _with_parameter(
            search.url(request, "admin-audit", q="", person=""), "person"
        ),
        "csv_url": search.url(request, "admin-audit-export", format="csv"),
        "jsonl_url": search.url(request, "admin-audit-export", format="jsonl"),
        "max_exported": audit_export.MAX_ENTRIES,
        "now": now(request),
        **pages,
    }
    return page(request, "audit/page.html", Message("Audit"), layout="app", me=admin.me, **context)


async def export(request: Request) -> Response:
    """Returns the selected entries as a file, and writes an audit entry.

    The name of the file ends in `-part` if it does not have the oldest of them. The header Link
    then has the URL of the next file (RFC 8288).
    """
    # A page of another site could otherwise write entries by a link.
    if request.headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        raise ForeignOrigin
    sudo = await verify_sudo_admin(request)
    admin = sudo.viewer
    search = _read_search(request, admin)
    if search.errors:  # Without a filter, the file would have more than was asked for.
        raise HTTPException(422, next(iter(search.errors.values())))
    query = search.query
    media_type = MEDIA_TYPES[query.format]
    if request.method == "HEAD":
        return Response(media_type=media_type)
    exported = await audit_export.start_export(
        sudo, get_client_info(request), search.filters, query.format, query.before
    )
    part = "-part" if exported.next_before else ""
    file_name = f"audit-{now(request):%Y-%m-%d}{part}.{query.format}"
    headers = {"Content-Disposition": f'attachment; filename="{file_name}"'}
    if exported.next_before:
        changes = {"format": query.format, "before": exported.next_before}
        next_url = search.url(request, "admin-audit-export", **changes)
        headers["Link"] = f'<{next_url}>; rel="next"'
    content = _read_file(admin, exported, query.format)
    return StreamedFile(content, headers=headers, media_type=media_type)


async def _read_file(admin: Admin, exported: Export, file_format: str) -> AsyncIterator[bytes]:
    if file_format == "csv":
        yield csv_header(ExportedEntry)
    async for entries in audit_export.read_batches(admin, exported):
        yield csv_rows(entries) if file_format == "csv" else json_lines(entries)


def _read_search(request: Request, admin: Admin) -> Search:
    """Returns the search. A filter with an invalid value is left out."""
    asked = dict(read_query(request))
    for name, parameter in PARAMETERS.items():
        asked[name] = asked.get(parameter, "")
    query, errors = validate_query(AuditPageQuery, asked)
    changes: dict[str, Any] = {}
    if query.event not in ("", *audit.list_events(admin)):
        changes["event"] = ""
        errors["event"] = NO_EVENT
    if query.since and query.until and query.until < query.since:
        changes["until"] = None
        errors["until"] = END_BEFORE_START
    typed = {name: asked[name] for name in PARAMETERS}
    return Search(query.model_copy(update=changes), typed, errors)


def _page_urls(found: audit.EntryPage, url: Any) -> dict[str, str]:
    """Returns the URLs of the newer and the older page; empty if there is no such page."""
    return {
        "newer": url(found.page - 1) if found.page > 1 else "",
        "older": url(found.page + 1) if found.more else "",
    }


def _url(request: Request, name: str, **asked: object) -> str:
    """Returns the URL of the route with those parameters that have a value."""
    query = {PARAMETERS.get(key, key): value for key, value in asked.items() if value}
    path = url_path(request, name)
    return f"{path}?{urlencode(query)}" if query else path


def _with_parameter(url: str, name: str) -> str:
    """Returns the URL with one more parameter, whose value follows."""
    return f"{url}{'&' if '?' in url else '?'}{name}="
