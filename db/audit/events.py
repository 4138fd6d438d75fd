"""Every event of the audit log: its name, and its texts for the user of the account and for
administrators.

Pages translate whole sentences, which `db/audit/messages.py` makes of these texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, NewType

Event = Literal[
    "login",
    "logout",
    "signup",
    "password.change",
    "password.set",
    "password.ask",
    "password.reset",
    "email.verify",
    "email.ask",
    "email.change",
    "profile.change",
    "session.end",
    "session.end-others",
    "session.end-all",
    "session.end-guessing",
    "role.change",
    "token.create",
    "token.revoke",
    "factor.add",
    "factor.remove",
    "factor.reset",
    "factor",
    "recovery.use",
    "recovery.renew",
    "confirm",
    "identity.link",
    "identity.unlink",
    "identity.take-over",
    "provider",
    "provider.logout",
    "role.create",
    "role.edit",
    "role.delete",
    "organization.add",
    "organization.change",
    "organization.verify",
    "organization.remove",
    "team.change",
    "account.create",
    "account.import",
    "account.disable",
    "account.enable",
    "account.lock",
    "account.expire",
    "account.leave",
    "account.keep",
    "account.delete",
    "data.download",
    "audit.export",
    "invitation.create",
    "invitation.resend",
    "invitation.withdraw",
    "invitation.accept",
    "admin",
    "access",
    "limit.reached",
    "entries.left-out",
]
# The name of an event of a product, whose texts are in the `EVENTS` of its module `events`.
ProductEvent = NewType("ProductEvent", str)


@dataclass(frozen=True, slots=True)
class EventTexts:
    """The texts of an event.

    `label` and `note` are for administrators. The others continue a sentence after "You", "An
    administrator" or "Someone". `own` and `own_refused` are for actions on the user's own account,
    `done` and `refused` for those on another account. `subject` replaces "An administrator" where
    another user acted.
    """

    label: str
    done: str = ""
    refused: str = ""
    own: str = ""
    own_refused: str = ""
    note: str = ""
    subject: str = ""


EVENT_TEXTS: Final[Mapping[str, EventTexts]] = {
    "login": EventTexts("Log in", own="logged in", refused="tried to log in to {whose} account"),
    "logout": EventTexts("Log out", own="logged out"),
    "signup": EventTexts(
        "Sign up", own="created your account", refused="tried to sign up with {whose} email"
    ),
    "password.change": EventTexts(
        "Change password",
        own="changed your password",
        own_refused="tried to change your password, but the current one was wrong",
    ),
    "password.set": EventTexts(
        "Set password", done="set a new password for {whom}", note="{ended_sessions}"
    ),
    "password.ask": EventTexts(
        "Ask for a password reset", done="asked for a link to choose a new password for {whom}"
    ),
    "password.reset": EventTexts(
        "Reset password",
        own="chose a new password with a link from a mail",
        note="{ended_sessions}",
    ),
    "email.verify": EventTexts(
        "Confirm email", own="confirmed your email", done="confirmed {whose} email"
    ),
    "email.ask": EventTexts(
        "Ask for a new email",
        own="asked to change your email to {email}",
        own_refused="tried to change your email, but the current password was wrong",
        note="{email}",
    ),
    "email.change": EventTexts(
        "Change email",
        own="changed your email from {from} to {to}",
        done="changed {whose} email from {from} to {to}",
        note="{from} to {to}",
    ),
    "profile.change": EventTexts(
        "Change profile", own="changed your profile: {fields}", note="{fields}"
    ),
    "session.end": EventTexts(
        "Log out a device",
        own="logged out another device: {device}",
        done="logged {whom} out on one device: {device}",
        note="{device}",
    ),
    "session.end-others": EventTexts(
        "Log out other devices", own="logged out all your other devices", note="{ended_sessions}"
    ),
    "session.end-all": EventTexts(
        "Log out everywhere",
        own="logged out everywhere",
        done="logged {whom} out everywhere",
        note="{ended_sessions}",
    ),
    "session.end-guessing": EventTexts(
        "Log out after wrong passwords",
        own="were logged out, because the current password was wrong {times} in a row",
        note="{times} in a row",
    ),
    "role.change": EventTexts(
        "Change role",
        own="stopped being an administrator",
        done="changed {whose} role to {role}",
        refused="could not change {whose} role: there is no other administrator",
        own_refused="could not stop being an administrator: there is no other administrator",
        note="{was} to {role}",
    ),
    "token.create": EventTexts(
        "Create access token",
        own="created the access token {label}",
        own_refused="tried to create an access token, but the current password was wrong",
        note="{label}: {scopes}",
    ),
    "token.revoke": EventTexts(
        "Delete access token", own="deleted the access token {label}", note="{label}"
    ),
    "factor.add": EventTexts("Add a second step", own="added a second step"),
    "factor.remove": EventTexts("Remove a second step", own="removed a second step"),
    "factor.reset": EventTexts(
        "Reset second steps",
        own="removed second steps of your account with a link from a mail",
        done="removed the passkeys, authenticator app and recovery codes of {whose} account",
    ),
    "factor": EventTexts(
        "Second step", refused="entered {whose} password, but failed at the second step"
    ),
    "recovery.use": EventTexts("Use a recovery code", own="used a recovery code"),
    "recovery.renew": EventTexts("Renew recovery codes", own="made new recovery codes"),
    "confirm": EventTexts(
        "Confirm identity",
        own="confirmed that it's you",
        own_refused="tried to confirm that it's you, and failed",
    ),
    "identity.link": EventTexts(
        "Connect a provider",
        own="connected {provider} to your account",
        own_refused="could not connect {provider} to your account",
        note="{provider}",
    ),
    "identity.unlink": EventTexts(
        "Disconnect a provider",
        own="disconnected {provider} from your account",
        note="{provider}",
    ),
    "identity.take-over": EventTexts(
        "Take over an unconfirmed account",
        own="took over the unconfirmed account with your email",
        note="{ended_sessions}",
    ),
    "provider": EventTexts(
        "Log-in with a provider",
        refused="could not log in with a provider",
        note="{provider}: {code}",
    ),
    "provider.logout": EventTexts(
        "Log-out by a provider",
        done="logged {whom} out after a log-out at {provider}",
        refused="could not accept a log-out at {provider}",
        note="{provider}",
    ),
    "role.create": EventTexts("Add role", own="added the role {label}", note="{label}: {added}"),
    "role.edit": EventTexts(
        "Edit role",
        own="changed the role {label}",
        note="{label}, added: {added}, removed: {removed}",
    ),
    "role.delete": EventTexts("Delete role", own="deleted the role {label}", note="{label}"),
    "organization.add": EventTexts(
        "Add organization", own="added the organization {domain}", note="{domain}: {issuer}"
    ),
    "organization.change": EventTexts(
        "Change organization",
        own="changed the organization {domain}",
        note="{domain}: {issuer}",
    ),
    "organization.verify": EventTexts(
        "Verify organization",
        own="verified the domain {domain}",
        own_refused="tried to verify the domain {domain}, but found no DNS record",
        note="{domain}: {issuer}",
    ),
    "organization.remove": EventTexts(
        "Remove organization",
        own="removed the organization {domain}",
        note="{domain}: {issuer}",
    ),
    "team.change": EventTexts(
        "Change team",
        own="changed your own team from {from} to {to}",
        done="changed {whose} team from {from} to {to}",
        note="{from} to {to}",
    ),
    "account.create": EventTexts(
        "Create account",
        done="created {whose} account",
        refused="tried to create an account with {whose} email",
        note="role: {role}",
    ),
    "account.import": EventTexts(
        "Import accounts", done="imported accounts", note="accounts: {count}"
    ),
    "account.disable": EventTexts(
        "Disable account",
        own="disabled your own account",
        done="disabled {whose} account",
        refused="could not disable {whose} account: there is no other administrator",
        own_refused="could not disable your own account: there is no other administrator",
    ),
    "account.enable": EventTexts(
        "Enable account", done="enabled {whose} account", own="enabled your own account"
    ),
    "account.lock": EventTexts(
        "Lock account",
        own="locked your account with a link from a mail",
        note="{ended_sessions}",
    ),
    "account.expire": EventTexts("Delete unconfirmed account", done="deleted {whose} account"),
    "account.leave": EventTexts(
        "Ask for a deletion",
        own="asked to delete your account in seven days",
        done="closed {whose} account, which is deleted in seven days",
        refused="could not delete {whose} account: there is no other administrator",
        own_refused="tried to delete your account, but the current password was wrong",
    ),
    "account.keep": EventTexts(
        "Keep account",
        own="kept your account",
        done="stopped the deletion of {whose} account",
    ),
    "account.delete": EventTexts("Delete account", done="deleted {whose} account"),
    "data.download": EventTexts(
        "Download data",
        own="downloaded the data of your account",
        done="downloaded the data of {whose} account",
        own_refused="tried to download data, but the current password was wrong",
    ),
    "audit.export": EventTexts(
        "Export the audit log",
        own="exported the audit log",
        note="{format}, entries: {entries}, filters: {filters}",
    ),
    "invitation.create": EventTexts("Invite", own="invited {email}", note="{email}, role: {role}"),
    "invitation.resend": EventTexts(
        "Invite again", own="sent another invitation mail to {email}", note="{email}"
    ),
    "invitation.withdraw": EventTexts(
        "Withdraw invitation", own="withdrew the invitation of {email}", note="{email}"
    ),
    "invitation.accept": EventTexts(
        "Accept invitation", done="accepted {whose} invitation", subject="A new user"
    ),
    "admin": EventTexts(
        "Administrators' page", own_refused="tried to open a page for administrators"
    ),
    "access": EventTexts(
        "Missing permission",
        own_refused="tried something that your role does not include",
        note="{needed}",
    ),
    "limit.reached": EventTexts(
        "Limit reached",
        refused="tried to log in to {whose} account too many times and had to wait",
        own_refused="tried this too many times and had to wait",
        note="{limit}, {times}",
    ),
    "entries.left-out": EventTexts(
        "Entries left out",
        own="did this more often than is listed here: {what}",
        refused="tried this more often than is listed here: {what}",
        own_refused="tried this more often than is listed here: {what}",
        note="{what}, {times}: {limit}",
    ),
}
# The texts of some entries depend on their detail.
JOINED_TEAM: Final = EventTexts(
    "Change team",
    own="joined the team {to}",
    done="added {whom} to the team {to}",
    note="into {to}",
)
LEFT_TEAM: Final = EventTexts(
    "Change team",
    own="left the team {from}",
    done="removed {whom} from the team {from}",
    note="out of {from}",
)
# By the detail `with` and `factor` of a log-in; `factor` is empty if there was no second step.
LOGIN_TEXTS: Final = {
    ways: replace(EVENT_TEXTS["login"], own=f"logged in {own}", note=note)
    for ways, own, note in (
        (("passkey", ""), "with a passkey", "passkey"),
        (("password", ""), "with your password", "password"),
        (
            ("password", "passkey"),
            "with your password and a passkey",
            "password and passkey",
        ),
        (
            ("password", "authenticator app"),
            "with your password and your authenticator app",
            "password and authenticator app",
        ),
        (
            ("password", "recovery code"),
            "with your password and a recovery code",
            "password and recovery code",
        ),
        (
            ("password", "remembered browser"),
            "with your password, in a browser that is not asked for a second step",
            "password, in a remembered browser",
        ),
    )
}
# By the event and the detail `factor`. `label` is the name of the passkey.
FACTOR_TEXTS: Final = {
    ("factor.add", "passkey"): replace(
        EVENT_TEXTS["factor.add"], own="added a passkey: {label}", note="passkey: {label}"
    ),
    ("factor.add", "authenticator app"): replace(
        EVENT_TEXTS["factor.add"], own="set up an authenticator app", note="authenticator app"
    ),
    ("factor.remove", "passkey"): replace(
        EVENT_TEXTS["factor.remove"], own="removed a passkey: {label}", note="passkey: {label}"
    ),
    ("factor.remove", "authenticator app"): replace(
        EVENT_TEXTS["factor.remove"],
        own="removed your authenticator app",
        note="authenticator app",
    ),
    ("confirm", "password"): replace(
        EVENT_TEXTS["confirm"],
        own="confirmed with your password that it's you",
        note="password",
    ),
    ("confirm", "passkey"): replace(
        EVENT_TEXTS["confirm"], own="confirmed with a passkey that it's you", note="passkey"
    ),
    ("confirm", "authenticator app"): replace(
        EVENT_TEXTS["confirm"],
        own="confirmed with your authenticator app that it's you",
        note="authenticator app",
    ),
    ("confirm", "recovery code"): replace(
        EVENT_TEXTS["confirm"],
        own="confirmed with a recovery code that it's you",
        note="recovery code",
    ),
    ("confirm", "provider"): replace(
        EVENT_TEXTS["confirm"],
        own="confirmed by a log-in at a provider that it's you",
        note="provider",
    ),
}
# By the detail that the entry has. With stateless sessions it has neither.
PROVIDER_LOGOUT_TEXTS: Final = {
    "ended": replace(EVENT_TEXTS["provider.logout"], note="{provider}: {ended_sessions}"),
    "code": replace(EVENT_TEXTS["provider.logout"], note="{provider}: {code}"),
}
BUILT_IN_ROLE_CHANGES: Final = {
    "admin": replace(EVENT_TEXTS["role.change"], done="made {whom} an administrator"),
    "user": replace(EVENT_TEXTS["role.change"], done="made {whom} a user"),
}
# By the detail `reason` of a refused "identity.link".
REFUSED_LINK_TEXTS: Final = {
    reason: replace(
        EVENT_TEXTS["identity.link"],
        own_refused=f"could not connect {{provider}}: {sentence}",
        note=f"{{provider}}: {sentence}",
    )
    for reason, sentence in {
        "taken": "another account has this identity",
        "many": "the account has too many connections",
        "expired": "the form was too old, or was sent before",
    }.items()
}
LAST_ADMIN_LEAVES: Final = replace(
    EVENT_TEXTS["account.leave"],
    own_refused="could not delete your account: there is no other administrator",
)
# What `{limit}` of an entry "limit.reached" limits, if a logged-in user acted.
LIMITED_ACTIONS: Final = {
    "confirm": "tried to confirm that it's you",
    "factor-tries": "tried to confirm that it's you",
    "factor-hour": "tried to confirm that it's you",
    "factor-day": "tried to confirm that it's you",
    "factor-device": "tried to confirm that it's you",
    "factor-client": "tried to confirm that it's you",
    "factor-change": "tried to change how you log in",
    "identity-change": "tried to change how you log in",
    "token-create": "tried to create an access token",
    "profile-change": "tried to change your profile",
    "password-change": "tried to change your password",
    "password-guess": "tried to change your password",
    "user-hashes": "tried to change your password",
    "session-revokes": "tried to log out your devices",
    "email-change": "tried to change your email",
    "verify-minutes": "asked for another mail",
    "verify-hours": "asked for another mail",
    "account-deletion": "tried to delete your account",
    "data-download": "tried to download data",
    "audit-export": "tried to export the audit log",
    "admin-change": "made changes in People",
    "admin-day": "made changes in People",
}
LIMITED_ACTION_TEXTS: Final = {
    limit: replace(
        EVENT_TEXTS["limit.reached"], own_refused=f"{action} too many times and had to wait"
    )
    for limit, action in LIMITED_ACTIONS.items()
}
# Names that earlier versions wrote into entries.
FORMER_LIMIT_NAMES: Final = {"member-hashes": "user-hashes"}
LIMIT_LABELS: Final = {
    "login-posts": "log-ins from one client",
    "login-fails": "failed log-ins from one client",
    "login-client-account": "log-ins from one client to one account",
    "login-account": "log-ins to one account",
    "login-device": "log-ins from a known browser",
    "login-all": "failed log-ins from unknown browsers",
    "login-unknown": "failed log-ins from one client in a day",
    "signup-minute": "sign-ups in a minute",
    "signup-hour": "sign-ups in an hour",
    "email-minute": "email checks in a minute",
    "email-hour": "email checks in an hour",
    "email-all": "email checks by all clients",
    "guess-report": "mails about guesses",
    "forgot": "password resets asked for by one client",
    "link-posts": "links from mails used by one client",
    "verify-minutes": "mails to confirm an email",
    "verify-hours": "mails to confirm an email in six hours",
    "email-change": "changes of email",
    "email-change-to": "mails to one new email",
    "factor-tries": "attempts at the second step of one account",
    "factor-hour": "attempts at the second step of one account in an hour",
    "factor-day": "attempts at the second step of one account in a day",
    "factor-device": "attempts at the second step from a known browser",
    "factor-client": "attempts at a second step by one client",
    "passkey-fails": "log-ins with a wrong passkey from one client",
    "factor-report": "mails about a failed second step",
    "confirm": "confirmations of one user",
    "provider-start": "log-ins started with other providers by one client",
    "provider-return": "returns of one client from other providers",
    "provider-logout": "refused logout tokens of one client",
    "provider-report": "warnings about one provider",
    "factor-change": "changes of ways to log in",
    "identity-change": "connections and disconnections of providers",
    "identity-tokens": "identity tokens of one session",
    "token-create": "new access tokens",
    "bearer-fails": "wrong access tokens of one client",
    "profile-change": "profile changes",
    "password-change": "password changes",
    "password-guess": "current passwords in one session",
    "user-hashes": "passwords of logged-in users and known browsers from one client",
    "session-revokes": "log-outs of other devices",
    "account-deletion": "requests to delete an account",
    "data-download": "downloads of an account's data",
    "audit-export": "exports of the audit log",
    "admin-change": "changes in People",
    "admin-day": "changes in People in a day",
    "entries": "entries of one account",
    "entries-client": "entries of one client",
}
