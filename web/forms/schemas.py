"""Contains one schema per form, for its submit, its live checks and the rendering of its fields."""

from typing import Any, Final, Literal

from pydantic import BaseModel, Field

from db.crypto.secret import Secret
from web.forms.fields import (
    AccountStateFilter,
    Confirmation,
    CurrentPassword,
    Day,
    Deletion,
    Email,
    LoginEmail,
    Name,
    NewEmail,
    NewPasskeyName,
    NewPassword,
    OneTimeCode,
    OtherEmail,
    OtherName,
    PageNumber,
    PasskeyName,
    Permissions,
    Phone,
    RecoveryCode,
    RoleFilter,
    RoleLabel,
    RoleName,
    RoleRef,
    SavedCodes,
    Search,
    Slug,
    Sort,
    Team,
    TokenDays,
    TokenName,
    UserId,
)
from web.forms.organization_fields import (
    AllowsSignUp,
    ClientId,
    ClientSecret,
    Issuer,
    NewClientSecret,
    OrganizationDomain,
    OrganizationLabel,
    RoleClaim,
    RoleRules,
    Scopes,
)

UNCHANGED: Final[Any] = None  # A field that was not sent is left unchanged.


def _not_given() -> Secret[str]:
    return Secret("")


class SignUp(BaseModel):
    name: Name
    email: Email
    password: NewPassword


class ProviderSignUp(BaseModel):
    name: Name
    email: Email


class Join(BaseModel):
    name: Name
    password: NewPassword


class LogIn(BaseModel):
    email: LoginEmail
    password: CurrentPassword
    next: str = ""


class PasskeyAnswer(BaseModel):
    """The answer of the browser to the request for a passkey."""

    credential: str = ""
    challenge: str = ""
    next: str = ""


class NewPasskey(BaseModel):
    """`enrolment` and `saved` belong to the recovery codes of the first second step."""

    name: PasskeyName = ""
    credential: str = ""
    challenge: str = ""
    enrolment: str = ""
    saved: SavedCodes = ""


class PasskeyRename(BaseModel):
    name: NewPasskeyName


class AuthenticatorCode(BaseModel):
    code: OneTimeCode


class RecoveryCodeUse(BaseModel):
    recovery_code: RecoveryCode


class ProfileChange(BaseModel):
    name: Name = UNCHANGED
    slug: Slug = UNCHANGED
    phone: Phone = UNCHANGED


class PasswordChange(BaseModel):
    current_password: CurrentPassword
    password: NewPassword


class FirstPassword(BaseModel):
    """The form of an account without a password, which needs a recent confirmation instead."""

    password: NewPassword


class PasswordResetRequest(BaseModel):
    email: Email


class PasswordReset(BaseModel):
    password: NewPassword


class EmailChange(BaseModel):
    email: NewEmail


class AccountLock(BaseModel):
    sure: Confirmation


class PasswordConfirmation(BaseModel):
    password: CurrentPassword


class DataDownload(BaseModel):
    """A form without fields of its own."""


class OwnDeletion(BaseModel):
    """A form without fields of its own."""


class FactorConfirmation(BaseModel):
    """The two codes, for the inputs of the page. One of them is enough."""

    # pydantic copies a default, and a Secret cannot be copied.
    code: OneTimeCode = Field(default_factory=_not_given)
    recovery_code: RecoveryCode = Field(default_factory=_not_given)


class AuthenticatorSetUp(BaseModel):
    code: OneTimeCode
    enrolment: str = ""
    saved: SavedCodes = ""


class RecoveryCodes(BaseModel):
    enrolment: str = ""
    saved: SavedCodes = ""


class RoleChange(BaseModel):
    role: RoleRef


class NewAccessToken(BaseModel):
    name: TokenName
    days: TokenDays


class NewRole(BaseModel):
    name: RoleName
    label: RoleLabel
    permissions: Permissions = ()


class RoleEdit(BaseModel):
    label: RoleLabel = UNCHANGED
    permissions: Permissions = UNCHANGED


class OrganizationChange(BaseModel):
    label: OrganizationLabel
    issuer: Issuer
    client_id: ClientId
    client_secret: ClientSecret = None
    scopes: Scopes = "openid email profile"
    allows_sign_up: AllowsSignUp = ""
    role_claim: RoleClaim = ""
    rules: RoleRules = ()


class NewOrganization(BaseModel):
    domain: OrganizationDomain
    label: OrganizationLabel
    issuer: Issuer
    client_id: ClientId
    client_secret: NewClientSecret
    scopes: Scopes = "openid email profile"
    allows_sign_up: AllowsSignUp = ""
    role_claim: RoleClaim = ""
    rules: RoleRules = ()


class TokenRequest(BaseModel):
    audience: str = ""


class Invitation(BaseModel):
    email: OtherEmail
    role: RoleRef
    team: Team = ""


class NewAccount(BaseModel):
    name: OtherName
    email: OtherEmail
    role: RoleRef
    team: Team = ""


class UserDeletion(BaseModel):
    sure: Deletion


class UsersQuery(BaseModel):
    q: Search = ""
    role: RoleFilter = ""
    state: AccountStateFilter = ""
    sort: Sort = "newest"
    page: PageNumber = 1


class ActivityQuery(BaseModel):
    page: PageNumber = 1


class AuditQuery(BaseModel):
    q: Search = ""
    event: str = ""  # The endpoint checks that it is the name of an event.
    outcome: Literal["", "done", "refused"] = ""
    page: PageNumber = 1


class AuditPageQuery(BaseModel):
    """The parameters of the page and of the export, which has the last two.

    `since` and `until` are the parameters `from` and `to`.
    """

    q: Search = ""
    event: str = ""  # The endpoint checks that it is the name of an event.
    outcome: Literal["", "done", "refused"] = ""
    person: UserId = ""
    since: Day = None
    until: Day = None
    page: PageNumber = 1
    format: Literal["csv", "jsonl"] = "csv"
    before: PageNumber | None = None  # the number of an entry


class TeamChange(BaseModel):
    team: Team = UNCHANGED
