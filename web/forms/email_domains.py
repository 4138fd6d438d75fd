"""Contains the rule that users may only choose emails of certain domains (SIGNUP_DOMAINS)."""

from collections.abc import Sequence


def is_allowed_domain(email: str, domains: Sequence[str]) -> bool:
    """Returns whether the domain of an email in canonical form is one of these; True if there are
    none.

    A domain that begins with a dot stands for all its sub-domains, and not for itself.
    """
    domain = email.rpartition("@")[2]
    return not domains or any(
        domain.endswith(allowed) if allowed.startswith(".") else domain == allowed
        for allowed in domains
    )
