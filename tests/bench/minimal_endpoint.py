"""Runs a hand-written endpoint for the dashboard without any protection, as the practical limit.

It renders Latchkey's own partial from the same three statements. It runs SQLite on the event loop,
verifies a token only once and caches the layout by user. It has no middleware, no second key, no
refresh and no timeouts.
"""

import hashlib
import hmac
import json
import os
import sqlite3
import time
from base64 import urlsafe_b64decode
from datetime import UTC, datetime
from types import SimpleNamespace

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from db.access.audit_entries import OwnEntry
from db.viewer import Me
from web.app import create_app
from web.languages import ENGLISH
from web.rendering.layouts import LayoutVariant
from web.settings.settings import read_settings

SESSION = (
    "SELECT sessions.id, users.id, users.name, users.role, users.slug"
    " FROM sessions JOIN users ON users.id = sessions.user_id"
    " WHERE sessions.token_hash = ? AND sessions.user_id = ? AND sessions.expires_at > ? AND users.disabled_at IS NULL"
)
PROFILE = (
    "SELECT name, email, slug, created_at, delete_at, previous_login_at, password_changed_at,"
    " (SELECT count(*) FROM sessions WHERE expires_at > :now AND user_id = users.id),"
    " (SELECT browser || '\n' || system || '\n' || created_at FROM sessions WHERE expires_at > :now"
    "   AND user_id = users.id AND id <> :session_id ORDER BY created_at DESC LIMIT 1),"
    " (SELECT count(*) FROM access_tokens WHERE expires_at > :now AND user_id = users.id)"
    " FROM users WHERE id = :user_id"
)
NUMBERS = (
    "SELECT number FROM (SELECT number FROM audit WHERE {} = :user_id ORDER BY number DESC LIMIT 5)"
)
ENTRIES = (
    "SELECT audit.at, audit.event, audit.outcome, audit.actor, audit.address, audit.browser,"
    " audit.detail, audit.actor_id = :user_id, users.name FROM audit LEFT JOIN users"
    " ON users.id = audit.target_id AND audit.target_id <> :user_id WHERE audit.number IN"
    f" ({NUMBERS.format('target_id')} UNION {NUMBERS.format('actor_id')}) ORDER BY audit.number DESC LIMIT 5"
)
KEY = os.environ["SESSION_SECRET"].encode()
connection = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
latchkey = create_app(
    read_settings({"DATABASE_URL": f"sqlite:///{os.environ['DATABASE']}", **os.environ})
)
partial = latchkey.state.templates.of(ENGLISH).get_cached("dashboard/user.html")
tokens: dict[bytes, dict] = {}
layouts: dict[str, tuple[str, str]] = {}


def verify(token: bytes) -> dict:
    claims = tokens.get(token)
    if claims is None:
        signed, _, signature = token.rpartition(b".")
        if not hmac.compare_digest(hmac.digest(KEY, signed, "sha256"), decode(signature)):
            raise ValueError("the signature is invalid")
        claims = tokens[token] = json.loads(decode(signed.partition(b".")[2]))
    if claims["exp"] < time.time():
        raise ValueError("expired")
    return claims


def decode(text: bytes) -> bytes:
    return urlsafe_b64decode(text + b"=" * (-len(text) % 4))


async def dashboard(request: Request) -> HTMLResponse:
    claims = verify(dict(request.scope["headers"])[b"cookie"].partition(b"=")[2])
    now = datetime.now(UTC)
    token_hash = hashlib.sha256(claims["sid"].encode()).hexdigest()
    session_id, *viewer = connection.execute(
        SESSION, (token_hash, claims["sub"], now.isoformat())
    ).fetchall()[0]
    values = {"now": now.isoformat(), "user_id": claims["sub"], "session_id": session_id}
    *profile, devices, newest, tokens_count = connection.execute(PROFILE, values).fetchall()[0]
    name, email, slug, *times = profile
    created_at, delete_at, previous_login_at, changed_at = [
        moment and datetime.fromisoformat(moment) for moment in times
    ]
    browser, system, newest_at = newest.split("\n") if newest else ("", "", None)
    entries = [
        OwnEntry(datetime.fromisoformat(at), *columns)
        for at, *columns in connection.execute(ENTRIES, values).fetchall()
    ]
    me = Me(viewer[0], viewer[1], viewer[2], viewer[3])
    if me.id not in layouts:
        variant = LayoutVariant("app", "key", "/dashboard", me.role, True)
        html = latchkey.state.layouts.fill(variant, "Dashboard", me, "@@MAIN@@").decode()
        above, _, below = html.partition("@@MAIN@@")
        layouts[me.id] = above, below
    above, below = layouts[me.id]
    main = partial.render(
        me=me,
        state=SimpleNamespace(
            name=name, email=email, slug=slug, created_at=created_at, password_changed_at=changed_at,
            device_count=devices, newest_device=f"{browser} on {system}", token_count=tokens_count,
            newest_login_at=newest_at and datetime.fromisoformat(newest_at),
        ),
        activity=SimpleNamespace(
            entries=entries, product_events={},
            previous_login=previous_login_at and SimpleNamespace(at=previous_login_at, browser=""),
        ),
        now=now,
        delete_at=delete_at,
        flash="",
        verification=None,
        message="",
        cards=[],
    )  # fmt: skip
    return HTMLResponse(above + main + below)


app = Starlette(routes=[Route("/dashboard", dashboard)])
uvicorn.run(
    app, port=int(os.environ["PORT"]), access_log=False, log_level="warning", server_header=False
)
