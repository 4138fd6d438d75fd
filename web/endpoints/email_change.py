"""Contains the endpoint that confirms a new email by the link in a mail."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from db.access import account, email_change
from db.messages import Message
from web.http.link_cookie import delete_link_cookie, read_link_cookie, read_sent_link, verify_link
from web.http.session import verify_session
from web.rendering.flash_messages import set_flash
from web.rendering.responses import page, redirect_across_login, url_path

TITLE: Final = Message("Confirm your new email")


async def show(request: Request) -> Response:
    viewer = await verify_session(request)
    link = await verify_link(request, "change", viewer)
    saved = await account.get_account(viewer)
    return page(
        request,
        "email_change/page.html",
        TITLE,
        layout="app",
        me=viewer.me,
        old_email=saved.email,
        email=link.email,
        link=link.id,
    )


async def submit(request: Request) -> Response:
    """Changes the email. Needs the link and a session of its account."""
    viewer = await verify_session(request)
    await email_change.confirm_change(
        viewer, token=read_link_cookie(request.scope), link=await read_sent_link(request)
    )
    delete_link_cookie(request.scope)
    set_flash(request, "email-changed")
    return redirect_across_login(request, to=url_path(request, "account"))
