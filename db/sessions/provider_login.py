"""The mark of a session that began with a log-in at an identity provider."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProviderLogin:
    """A log-in at a provider, by the hashes of its issuer with the subject and with the `sid`.

    `sid_hash` is empty if the provider names no sessions. A session keeps the mark when another one
    replaces it, so that a log-out at the provider ends that one as well.
    """

    subject_hash: str = field(repr=False)
    sid_hash: str = field(repr=False)
