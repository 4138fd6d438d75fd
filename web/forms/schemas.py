"""Contains one schema per form, for its submit, its live checks and the rendering of its fields."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel

from db.audit.events import Event
from web.forms.fields import (
    Confirmation,
    CurrentPassword,
    Deletion,
    Email,
    Name,
    NewEmail,
    NewPassword,
    OtherEmail,
    OtherName,
    PageNumber,
    Phone,
    Search,
    Slug,
    Sort,
    Team,
)

# The roles that an administrator can give, with their labels.
RoleName = Literal["user", "admin"]
ROLE_LABELS: Final[Mapping[RoleName, str]] = {"user": "User", "admin": "Administrator"}
UNCHANGED: Final[Any] = None  # A field that was not sent is left unchanged.


class SignUp(BaseModel):
    name: Name
    email: Email
    password: NewPassword


class Join(BaseModel):
    name: Name
    password: NewPassword


class LogIn(BaseModel):
    email: Email
    password: CurrentPassword
    next: str = ""


class ProfileChange(BaseModel):
    name: Name = UNCHANGED
    slug: Slug = UNCHANGED
    phone: Phone = UNCHANGED


class PasswordChange(BaseModel):
    current_password: CurrentPassword
    password: NewPassword


class PasswordResetRequest(BaseModel):
    email: Email


class PasswordReset(BaseModel):
    password: NewPassword


class EmailChange(BaseModel):
    email: NewEmail
    current_password: CurrentPassword


class AccountLock(BaseModel):
    sure: Confirmation


class PasswordConfirmation(BaseModel):
    current_password: CurrentPassword


class RoleChange(BaseModel):
    role: RoleName


class Invitation(BaseModel):
    email: OtherEmail
    role: RoleName
    team: Team = ""


class NewAccount(BaseModel):
    name: OtherName
    email: OtherEmail
    role: RoleName
    team: Team = ""


class UserDeletion(BaseModel):
    sure: Deletion


class UsersQuery(BaseModel):
    q: Search = ""
    page: PageNumber = 1
    sort: Sort = "newest"


class ActivityQuery(BaseModel):
    page: PageNumber = 1


class AuditQuery(BaseModel):
    q: Search = ""
    event: Event | Literal[""] = ""
    outcome: Literal["", "done", "refused"] = ""
    page: PageNumber = 1


class TeamChange(BaseModel):
    team: Team = UNCHANGED
