"""Every exception that the application raises on purpose."""


class AppError(Exception):
    """Base class of the errors that the application answers with a response of their own.

    `web.rendering.error_pages` maps each class to one response.
    """


class NotLoggedIn(AppError):
    """The request has no live session.

    `ended` is true if it had a session cookie that was rejected. `guessed` is true if this request
    ended the session by one wrong password too many.
    """

    def __init__(self, *, ended: bool = False, guessed: bool = False) -> None:
        super().__init__()
        self.ended = ended
        self.guessed = guessed


class InvalidToken(AppError):
    """The access token is unknown, expired or deleted, or its user is disabled."""


class MissingScope(AppError):
    """The access token does not have the scope that the request needs."""

    def __init__(self, scope: str) -> None:
        super().__init__()
        self.scope = scope


class Forbidden(AppError):
    """The viewer does not have the required role or permission.

    `needed` is the name of the role or the permission, or `session` if an access token is not
    accepted.
    """

    def __init__(self, needed: str = "admin") -> None:
        super().__init__()
        self.needed = needed


class NotFound(AppError):
    """The item does not exist or the viewer may not see it.

    Both cases raise the same error, so that a caller cannot distinguish them.
    """


class ViewerMismatch(AppError):
    """The form was rendered for another user than the viewer. `name` is the viewer's name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class StaleDocument(AppError):
    """The document that sent the request was rendered for another user than the cookie's."""


class LinkInvalid(AppError):
    """The link of a mail is unknown, used, expired or superseded. Nothing was changed.

    `purpose` is what the link was for, or empty.
    """

    def __init__(self, purpose: str = "") -> None:
        super().__init__()
        self.purpose = purpose


class LinkOfOtherUser(AppError):
    """The link of a mail belongs to another account than the viewer's."""


class LinkMismatch(AppError):
    """The form was rendered for another link than the one in the browser's cookie."""


class NotVerified(AppError):
    """The viewer has not confirmed the email of the account."""


class LastAdmin(AppError):
    """The last administrator can be neither demoted nor disabled nor deleted."""


class StateChanged(AppError):
    """The account is not in the state that the form expected. Nothing was changed."""


class UnknownRole(AppError):
    """The role does not exist. Nothing was changed."""


class TooManyRoles(AppError):
    """There are as many roles as the program allows. Nothing was added."""


class TooManyOrganizations(AppError):
    """There are as many organizations as the program allows. Nothing was added."""


class TooManyTokens(AppError):
    """The user has as many access tokens as the program allows. Nothing was created."""


class NotConfirmed(AppError):
    """The viewer must confirm their identity first, since the last confirmation is too old."""


class NeedsFactor(AppError):
    """Administrators need a second step here, and the viewer has none."""


class LastWayIn(AppError):
    """Without this passkey nothing would open the account anymore. Nothing was changed."""


class LastFactor(AppError):
    """The last second step of an administrator who needs one. Nothing was changed."""


class NoClaim(AppError):
    """No log-in waits for its second step: it took too long, or the account has changed."""


class ProviderRefused(AppError):
    """An identity provider refused the log-in, or its answer was not valid.

    `code` says why, in a few words that contain no value of the answer.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class DnsUnavailable(AppError):
    """No DNS server has answered, so that a record could not be looked up."""


class ProviderUnavailable(AppError):
    """An identity provider did not answer in time, or not with the documents that it must have.

    `code` says why.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class RoleInUse(AppError):
    """A user or an invitation has the role, so it was not deleted."""


class AccountNotCreated(AppError):
    """The account could not be stored, and the transaction was rolled back."""


class Refused(AppError):
    """A hook of the product refused the change, and the transaction was rolled back.

    `message` is the sentence for the user.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BreachedPassword(AppError):
    """The new password is known from a data breach. Nothing was stored."""


class RateLimited(AppError):
    """A rate limit was exceeded.

    `retry_after` is the number of seconds until the next token, at least 1. `is_account_limit` is
    true if too many attempts concerned one account.
    """

    def __init__(self, retry_after: int, *, is_account_limit: bool = False) -> None:
        super().__init__()
        self.retry_after = retry_after
        self.is_account_limit = is_account_limit


class Unavailable(AppError):
    """The hash queue is full, or the database does not respond.

    `retry_after` is in seconds. `reason` tells the operator why the database cannot be used; it is
    empty if that is unknown.
    """

    def __init__(self, retry_after: int = 5, *, reason: str = "") -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.reason = reason
