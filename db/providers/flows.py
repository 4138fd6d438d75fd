"""The log-ins that a browser has started at providers, in one encrypted cookie.

A started log-in needs no row, and most are never finished. The cookie holds the last three, so that
a second tab or a second click does not break the first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from db.crypto.encrypted_tokens import LIFETIMES, EncryptedTokens
from db.crypto.secret import Secret

# What the identity of a provider is for: a log-in, a connection to the account of a session, or the
# confirmation of that account's user.
Purpose = Literal["login", "link", "confirm"]
MAX_FLOWS: Final = 3
MAX_NEXT_PAGE_CHARS: Final = 500  # Three flows must fit into one cookie.


@dataclass(frozen=True, slots=True)
class Flow:
    """A started log-in. `started_at` is in seconds since 1970.

    `sid_hash` is that of the session that will connect the identity to its account, or with
    `confirms` confirm the identity of its user. It is empty for a log-in. `is_finished` is true if
    the callback has succeeded; a second one then changes nothing.
    """

    state: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    provider: str
    next_page: str
    started_at: float
    sid_hash: str = field(default="", repr=False)
    is_remembered: bool = False
    is_finished: bool = False
    confirms: bool = False

    @property
    def purpose(self) -> Purpose:
        if not self.sid_hash:
            return "login"
        return "confirm" if self.confirms else "link"


def read_flows(tokens: EncryptedTokens, cookie: str | None, now: float) -> tuple[Flow, ...]:
    """Returns the flows of the cookie that are at most ten minutes old, the oldest first."""
    claims = tokens.decrypt("flow", cookie)
    if claims is None:
        return ()
    flows = [Flow(*values) for values in claims["flows"]]
    oldest = now - LIFETIMES["flow"].total_seconds()
    return tuple(flow for flow in flows if flow.started_at > oldest)


def find_flow(flows: Sequence[Flow], state: str, provider: str) -> Flow | None:
    """Returns the flow with this state, which must have started at this provider."""
    for flow in flows:
        if state and (flow.state, flow.provider) == (state, provider):
            return flow
    return None


def add_flow(flows: Sequence[Flow], flow: Flow) -> tuple[Flow, ...]:
    return (*flows, flow)[-MAX_FLOWS:]


def finish_flow(flows: Sequence[Flow], finished: Flow) -> tuple[Flow, ...]:
    """Returns the flows, of which the finished one keeps only its state."""
    kept = Flow(
        finished.state,
        "",
        "",
        finished.provider,
        "",
        finished.started_at,
        is_finished=True,
    )
    return tuple(kept if flow.state == finished.state else flow for flow in flows)


def encrypt_flows(tokens: EncryptedTokens, flows: Sequence[Flow]) -> Secret[str]:
    return tokens.encrypt("flow", {"flows": [_values(flow) for flow in flows]})


def _values(flow: Flow) -> list[Any]:
    return [getattr(flow, name) for name in Flow.__slots__]
