"""Drafts: forms that were sent without a recent confirmation, and wait for it.

A draft is an encrypted field of the page that confirms, and no row of the account. Otherwise a
thief with a stolen session could send a form that the user then confirms without knowing it.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from db.crypto.encrypted_tokens import MAX_TOKEN_CHARS
from db.crypto.secret import Secret
from db.sessions.claims import hash_sid
from db.store import Store
from db.viewer import Claims

MAX_DRAFT_CHARS: Final = 4096


@dataclass(frozen=True, slots=True)
class Draft:
    """A form that waits for its confirmation.

    `path` is without BASE_PATH. `token_claims` identify the draft, which may be used once.
    """

    path: str
    query_string: str
    fields: Mapping[str, str] = field(repr=False)
    token_claims: Mapping[str, Any] = field(repr=False)


def encode_draft(
    store: Store, claims: Claims, path: str, query_string: str, fields: Mapping[str, str]
) -> Secret[str] | None:
    """Returns the draft of a form, for the session of these claims.

    Returns None for a form with a password, which no page may contain, or one that is too long.
    """
    if any("password" in name for name in fields):
        return None
    content = {"path": path, "query": query_string, "fields": dict(fields)}
    if len(json.dumps(content, ensure_ascii=False)) > MAX_DRAFT_CHARS:
        return None
    owner = {"sub": claims.user_id, "sid_hash": hash_sid(claims.sid)}
    token = store.encrypted_tokens.encrypt("draft", owner | content)
    return token if len(token.reveal()) <= MAX_TOKEN_CHARS else None


def read_draft(store: Store, claims: Claims | None, token: str | None) -> Draft | None:
    """Returns the draft; None unless it was made for the session of these claims and has not
    expired.
    """
    found = store.encrypted_tokens.decrypt("draft", token)
    if found is None or claims is None:
        return None
    is_of_session = found["sub"] == claims.user_id and hmac.compare_digest(
        found["sid_hash"], hash_sid(claims.sid)
    )
    if not is_of_session:
        return None
    return Draft(found["path"], found["query"], found["fields"], found)
