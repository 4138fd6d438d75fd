"""The rate limits of attempts at a second step, which log-ins and confirmations share."""

from datetime import datetime

from db.rate_limits.ip_networks import per_client
from db.rate_limits.limiter import Charge
from db.rate_limits.limits import (
    FACTOR_CLIENT,
    FACTOR_DAY,
    FACTOR_DEVICE,
    FACTOR_HOUR,
    FACTOR_TRIES,
)
from db.sessions.device_cookie import find_known_browser
from db.store import Store
from db.viewer import ClientInfo


def make_charges(
    store: Store, user_id: str, client: ClientInfo, sessions_ended_at: datetime | None
) -> tuple[Charge, ...]:
    """Returns the charges of one attempt at the second step of an account.

    A browser that has logged in to the account since `sessions_ended_at` has attempts of its own,
    which an attacker who knows the password cannot use up. All other clients share the attempts of
    the account. The caller takes the tokens before it verifies the second step, and refunds them
    with `succeeded=True` if it was correct. Wrong attempts stay counted after that.
    """
    browser = find_known_browser(store, client.device_cookie, user_id, sessions_ended_at)
    of_client = per_client(FACTOR_CLIENT, client.ip_address)
    if browser:
        return (*of_client, (FACTOR_DEVICE, f"{browser.id} {user_id}"))
    return (*of_client, (FACTOR_TRIES, user_id), (FACTOR_HOUR, user_id), (FACTOR_DAY, user_id))
