"""The doors that stay closed: every exception that the rest of the house may raise on purpose."""


class Refusal(Exception):
    """Something was asked that will not be done.

    `web.rendering.error_pages` turns each kind into one answer.
    """


class NotLoggedIn(Refusal):
    """There is no live session behind the request. `ended` tells that a cookie was turned away.

    `guessed`: this request has ended the session, by one wrong password too many.
    """

    def __init__(self, *, ended: bool = False, guessed: bool = False) -> None:
        super().__init__()
        self.ended = ended
        self.guessed = guessed


class Forbidden(Refusal):
    """A live session, of a person without the role that this needs."""


class NotFound(Refusal):
    """Not there, or somebody else's: the same for whoever asks."""


class OtherViewer(Refusal):
    """The form was drawn for another person than the one who is logged in now, whose
    name is given.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class StaleDocument(Refusal):
    """The document that sent the request was rendered for another user than the cookie's."""


class LastAdmin(Refusal):
    """The last administrator can be neither demoted nor disabled."""


class NotCreated(Refusal):
    """The account could not be stored, and nothing of it was."""


class Breached(Refusal):
    """The new password is known from a breach elsewhere. Nothing was stored."""


class TooMany(Refusal):
    """A limit was reached. `retry_after`: whole seconds until there is room again, at least one."""

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class Busy(Refusal):
    """The hash queue is full, or the database does not answer. `retry_after` is in seconds.

    `reason` is for the operator: why the database cannot be used, empty where that is not known.
    """

    def __init__(self, retry_after: int = 5, *, reason: str = "") -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.reason = reason
