"""What a log-in sends to a provider, and what the browser brings back from there."""

from dataclasses import dataclass, field

from db.crypto.secret import Secret


@dataclass(frozen=True, slots=True)
class StartedFlow:
    """What the authorization request contained, for the check of its answer."""

    nonce: str = field(repr=False)
    verifier: Secret[str] = field(repr=False)  # of PKCE (RFC 7636)


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """The parameters of the callback, apart from `state`. Each is empty if it was not sent.

    `user` is the JSON with the name of the user, which Apple sends once.
    """

    code: str = field(default="", repr=False)
    issuer: str = ""
    error: str = ""
    user: str = field(default="", repr=False)
