"""Contains the messages that several changes send, and the end of links at a password change."""

from db.mail.outbox import delete_unsent, format_time, post, until
from db.mail.tokens import delete_tokens
from db.store import Store
from db.viewer import ClientInfo


async def end_links_after_password_change(store: Store, user_id: str) -> None:
    """Ends the links that were sent before the change. `not-me` links stay valid, so that the user
    can still undo a change of email by someone who knows the password.
    """
    if store.outbox.is_enabled:
        await delete_tokens(store, user_id, ["reset", "change"])
        await delete_unsent(store, user_id, ["reset", "exists", "change", "locked"])


async def post_password_notice(store: Store, user_id: str, email: str, *, by: str) -> None:
    """Tells the user about a new password. `by` completes the sentence "changed by …"."""
    facts = {"time": format_time(store.now()), "by": by}
    await post(store, "password", user_id=user_id, recipient=email, facts=facts)


async def post_new_device_notice(
    store: Store, user_id: str, email: str, client: ClientInfo
) -> None:
    """Tells the user about a log-in at a browser that has not logged in to the account before."""
    facts = client_facts(store, client)
    await post(store, "new-device", user_id=user_id, recipient=email, facts=facts)


async def post_token_notice(store: Store, user_id: str, email: str, client: ClientInfo) -> None:
    """Tells the user about a new access token. The mail does not repeat the name of the token,
    which an attacker may have chosen.
    """
    facts = client_facts(store, client)
    await post(store, "token", user_id=user_id, recipient=email, facts=facts)


async def post_factor_notice(
    store: Store, user_id: str, email: str, client: ClientInfo, *, change: str
) -> None:
    """Tells the user about a change of a passkey, an authenticator app or the recovery codes.

    `change` selects the sentence, such as `passkey-added`.
    """
    facts = {**client_facts(store, client), "change": change}
    await post(store, "factor", user_id=user_id, recipient=email, facts=facts)


async def post_second_step_notice(
    store: Store, user_id: str, email: str, client: ClientInfo
) -> None:
    """Tells the user that someone who knew the password failed at the second step."""
    facts = client_facts(store, client)
    await post(store, "second-step", user_id=user_id, recipient=email, facts=facts)


async def post_verification(
    store: Store, user_id: str, email: str, *, is_first: bool = False
) -> None:
    """Sends the link that confirms the email of an account."""
    await post(
        store,
        "verify",
        user_id=user_id,
        recipient=email,
        verified=False,
        is_first=is_first,
        facts={"until": until(store, "verify")},
    )


def client_facts(store: Store, client: ClientInfo) -> dict[str, str]:
    """Returns the facts of a mail about a request: its time, browser and IP address."""
    return {
        "time": format_time(store.now()),
        "browser": client.name,
        "ip_address": client.ip_address,
    }
