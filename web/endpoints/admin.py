"""People, for administrators: the list, and what can be done to each."""

from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from db.access import admin
from db.viewer import Admin
from web.cookie import verify_admin
from web.forms import Form, read_fields, read_query
from web.respond import changed, leave, now, page, path_of, refused
from web.schemas import PeopleQuery, RoleChange, TeamChange

TITLE = "People"


async def show(request: Request) -> Response:
    viewer = await verify_admin(request)
    return page(request, "admin/page.html", TITLE, layout="house", **await _people(request, viewer))


async def change_role(request: Request) -> Response:
    viewer = await verify_admin(request)
    form = Form.check(RoleChange, await read_fields(request))
    if form.data is None:
        await admin.require_person(viewer, _user_id(request))
        raise HTTPException(422, "That role doesn’t exist.")
    await admin.change_role(viewer, _user_id(request), form.data.role)
    if _user_id(request) == viewer.id and form.data.role != "admin":
        return leave(request, to=path_of(request, "dashboard"))  # the list is no longer theirs to see
    return await _changed(request, viewer, "Role changed.")


async def change_team(request: Request) -> Response:
    viewer = await verify_admin(request)
    form = Form.check(TeamChange, await read_fields(request))
    if form.data is None:
        await admin.require_person(viewer, _user_id(request))
        return await _refused_team(request, viewer, form)
    await admin.change_team(viewer, _user_id(request), form.data.team)
    return await _changed(request, viewer, "Team changed.")


async def disable(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.disable(viewer, _user_id(request))
    return await _ended(request, viewer, "Account disabled, and logged out everywhere.")


async def enable(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.enable(viewer, _user_id(request))
    return await _changed(request, viewer, "Account enabled.")


async def end_sessions(request: Request) -> Response:
    viewer = await verify_admin(request)
    await admin.end_sessions(viewer, _user_id(request))
    return await _ended(request, viewer, "Logged out everywhere.")


async def _refused_team(request: Request, viewer: Admin, form: Form[TeamChange]) -> Response:
    """The list once more, with what was typed and the sentence in that person's row."""
    field = form["team"]
    sentence = field.errors[0] if field.errors else form.message
    context = await _people(request, viewer)
    context["wrong"] = {"id": _user_id(request), "team": field.value, "sentence": sentence}
    return refused(
        request,
        "admin/page.html",
        TITLE,
        form_id="people-list",
        fragment="admin/list.html",
        layout="house",
        **context,
    )


async def _ended(request: Request, viewer: Admin, toast: str) -> Response:
    """After an account's sessions have ended: one's own lead out of the door."""
    if _user_id(request) == viewer.id:
        return leave(request, to=path_of(request, "login"), delete_cookie=True)
    return await _changed(request, viewer, toast)


async def _changed(request: Request, viewer: Admin, toast: str) -> Response:
    context = await _people(request, viewer)
    return changed(
        request,
        TITLE,
        to="admin-users",
        query=_query(context),
        fragment="admin/list.html",
        toast=toast,
        **context,
    )


def _query(context: dict[str, Any]) -> str:
    """The address of the same page of the same search; nothing where that is where the list begins."""
    asked = PeopleQuery(q=context["q"], page=str(context["people"].page), sort=context["sort"])  # type: ignore[arg-type]
    changed_fields = asked.model_dump(exclude_defaults=True)
    return f"?{urlencode(changed_fields)}" if changed_fields else ""


async def _people(request: Request, viewer: Admin) -> dict[str, Any]:
    """The page of the list that was asked for, or that the form which changed it stood on."""
    asked = await read_fields(request) if request.method == "POST" else read_query(request)
    wrong = Form.check(PeopleQuery, asked).errors
    query = PeopleQuery.model_validate({name: value for name, value in (asked or {}).items() if name not in wrong})
    found = await admin.list_people(viewer, q=query.q, page=query.page, sort=query.sort)
    asked_for = {"people": found, "q": query.q, "sort": query.sort}
    return {"me": viewer.me, "now": now(request), "wrong": None, **asked_for}


def _user_id(request: Request) -> str:
    return str(request.path_params["id"])
