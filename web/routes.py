"""Contains the table of all URLs with their route access, which is the access policy."""

from collections.abc import Sequence
from re import Pattern

from web.endpoints import (
    access_tokens,
    account,
    account_data,
    account_deletion,
    account_lock,
    admin,
    api,
    api_account,
    api_admin,
    assets,
    audit,
    authenticator,
    confirmation,
    dashboard,
    devices,
    email_change,
    forward,
    health,
    home,
    identities,
    invitations,
    join,
    languages,
    login,
    mail_links,
    mailbox,
    metrics,
    new_accounts,
    organizations,
    passkey_login,
    passkey_offer,
    passkeys,
    password_reset,
    provider_confirmation,
    provider_login,
    provider_logout,
    provider_signup,
    recovery_codes,
    roles,
    second_step,
    security,
    signup,
    users,
    verification,
)
from web.forms.schemas import ProfileChange, SignUp
from web.router import (
    LOGGED_IN,
    Admins,
    Anyone,
    AppRoute,
    Claimants,
    Endpoint,
    Guests,
    Members,
    Operators,
)
from web.settings.settings import Settings

# fmt: off
routes = [
    Guests ("/",                              get=home.show,                                           name="home"),
    Guests ("/signup",                        get=signup.show,          post=signup.submit,            name="signup"),
    Guests ("/signup/check/{field}",                                    post=signup.check,             name="signup-check", form=SignUp),
    Guests ("/login",                         get=login.show,           post=login.submit,             name="login"),
    Guests ("/login/check",                                             post=login.check,              name="login-check"),
    Claimants("/login/factor",                get=second_step.show,     post=second_step.submit,       name="login-factor"),
    Guests ("/login/passkey",                 get=passkey_login.show,   post=passkey_login.submit,     name="login-passkey"),
    Guests ("/login/with/{provider}",         get=provider_login.show,  post=provider_login.submit,    name="login-with"),
    Anyone ("/login/with/{provider}/callback", get=provider_login.finish, post=provider_login.finish_form, name="login-callback"),
    Anyone ("/login/with/{provider}/logout",                            post=provider_logout.receive,  name="login-logout"),
    Guests ("/signup/with/{provider}",        get=provider_signup.show, post=provider_signup.submit,   name="signup-with"),
    Anyone ("/logout",                                                  post=login.log_out,            name="logout"),
    Anyone ("/forgot",                        get=password_reset.show_request, post=password_reset.submit_request, name="forgot"),
    Anyone ("/reset",                         get=password_reset.show,  post=password_reset.submit,    name="reset"),
    Anyone ("/reset/{token}",                 get=mail_links.open_link,                                name="reset-link"),
    Members("/verify",                        get=verification.show,    post=verification.submit,      name="verify"),
    Anyone ("/verify/{token}",                get=mail_links.open_link,                                name="verify-link"),
    Members("/change-email",                  get=email_change.show,    post=email_change.submit,      name="change-email"),
    Anyone ("/change-email/{token}",          get=mail_links.open_link,                                name="change-email-link"),
    Anyone ("/keep",                          get=account_deletion.show_link, post=account_deletion.submit_link, name="keep"),
    Anyone ("/keep/{token}",                  get=mail_links.open_link,                                name="keep-link"),
    Anyone ("/join",                          get=join.show,            post=join.submit,              name="join"),
    Anyone ("/join/{token}",                  get=mail_links.open_link,                                name="join-link"),
    Anyone ("/not-me",                        get=account_lock.show,    post=account_lock.submit,      name="not-me"),
    Anyone ("/not-me/{token}",                get=mail_links.open_link,                                name="not-me-link"),
    Members("/dashboard",                     get=dashboard.show,                                      name="dashboard"),
    Members("/handbook",                      get=home.handbook,                                       name="handbook"),
    Members("/devices",                       get=devices.show,                                        name="devices"),
    Members("/devices/revoke-others",                                   post=devices.revoke_others,    name="devices-revoke-others"),
    Members("/devices/revoke-all",                                      post=devices.revoke_all,       name="devices-revoke-all"),
    Members("/devices/{id}/revoke",                                     post=devices.revoke,           name="devices-revoke"),
    Members("/account",                       get=account.show,         post=account.submit,           name="account"),
    Anyone ("/language",                                                post=languages.choose,         name="language"),
    Members("/account/language",                                        post=languages.save,           name="account-language"),
    Members("/account/check/{field}",                                   post=account.check,            name="account-check", form=ProfileChange),
    Members("/account/password",                                        post=account.change_password,  name="account-password"),
    Members("/account/email",                                           post=account.change_email,     name="account-email", sudo="change your email"),
    Members("/account/email/cancel",                                    post=account.cancel_email,     name="account-email-cancel"),
    Members("/account/verify",                                          post=verification.send_again,  name="account-verify"),
    Members("/account/data",                  get=account_data.show,    post=account_data.submit,      name="account-data", sudo="download your data", sudo_page=True),
    Members("/account/delete",                get=account_deletion.show, post=account_deletion.submit, name="account-delete", sudo="delete your account", sudo_page=True),
    Members("/account/keep",                                            post=account_deletion.keep,    name="account-keep"),
    Members("/account/tokens",                get=access_tokens.show,  post=access_tokens.create,     name="tokens", sudo="create an access token"),
    Members("/account/tokens/{id}/revoke",                              post=access_tokens.revoke,     name="tokens-revoke"),
    Members("/account/security",              get=security.show,                                       name="account-security"),
    Members("/account/authenticator",         get=authenticator.show,    post=authenticator.submit,     name="account-authenticator", sudo="set up an authenticator app", sudo_page=True),
    Members("/account/authenticator/remove",                            post=authenticator.remove,     name="account-authenticator-remove", sudo="remove your authenticator app"),
    Members("/account/recovery-codes",        get=recovery_codes.show,   post=recovery_codes.submit,    name="account-recovery-codes", sudo="make new recovery codes", sudo_page=True),
    Members("/account/passkeys",              get=passkeys.show,        post=passkeys.add,             name="account-passkeys", sudo="manage your passkeys", sudo_page=True),
    Members("/account/passkeys/{id}",                                   post=passkeys.rename,          name="account-passkey"),
    Members("/account/passkeys/{id}/remove",                            post=passkeys.remove,          name="account-passkey-remove", sudo="remove this passkey"),
    Members("/account/passkeys/decline",                                post=passkey_offer.decline,    name="account-passkeys-decline"),
    Members("/account/identities",                                      post=identities.begin,         name="identities", sudo="connect another way to log in"),
    Members("/account/identities/connect",                              post=identities.connect,       name="identities-connect", sudo="connect another way to log in"),
    Members("/account/identities/{id}/remove",                          post=identities.remove,        name="identities-remove", sudo="remove a way to log in"),
    Members("/account/activity",              get=audit.show_own,                                      name="activity"),
    Members("/confirm",                       get=confirmation.show,   post=confirmation.submit,      name="confirm"),
    Members("/confirm/with/{provider}",                                 post=provider_confirmation.begin, name="confirm-with"),
    Members("/users/{slug}",                  get=users.show,                                          name="user"),
    Admins ("/admin/users",                   get=admin.show,                                          name="admin-users"),
    Admins ("/admin/users/{id}",              get=admin.show_user,                                   name="admin-user"),
    Admins ("/admin/users/{id}/role",                                   post=admin.change_role,        name="admin-role", sudo="change the role of a user"),
    Admins ("/admin/users/{id}/team",                                   post=admin.change_team,        name="admin-team", sudo="change the team of a user"),
    Admins ("/admin/users/{id}/disable",                                post=admin.disable,            name="admin-disable", sudo="disable an account"),
    Admins ("/admin/users/{id}/enable",                                 post=admin.enable,             name="admin-enable", sudo="enable an account"),
    Admins ("/admin/users/{id}/end-sessions",                           post=admin.end_sessions,       name="admin-end-sessions"),
    Admins ("/admin/users/{id}/revoke/{session}",                       post=admin.revoke,             name="admin-revoke"),
    Admins ("/admin/roles",                   get=roles.show,          post=roles.create,             name="admin-roles", sudo="add a role"),
    Admins ("/admin/roles/{role}",            get=roles.show_role,     post=roles.change,             name="admin-role-edit", sudo="change a role"),
    Admins ("/admin/roles/{role}/delete",                               post=roles.delete,             name="admin-role-delete", sudo="delete a role"),
    Admins ("/admin/organizations",           get=organizations.show,  post=organizations.create,     name="admin-organizations", sudo="add an organization"),
    Admins ("/admin/organizations/{domain}",  get=organizations.show_organization, post=organizations.change, name="admin-organization", sudo="change an organization"),
    Admins ("/admin/organizations/{domain}/verify",                     post=organizations.verify,     name="admin-organization-verify", sudo="verify the domain of an organization"),
    Admins ("/admin/organizations/{domain}/remove",                     post=organizations.remove,     name="admin-organization-remove", sudo="remove an organization"),
    Admins ("/admin/users/{id}/delete",                                 post=admin.delete,             name="admin-delete", sudo="delete an account"),
    Admins ("/admin/users/{id}/keep",                                   post=admin.keep,               name="admin-keep"),
    Admins ("/admin/users/{id}/data",                                   post=admin.download_data,      name="admin-data", sudo="download the data of a user"),
    Admins ("/admin/add",                     get=new_accounts.show,    post=new_accounts.submit,      name="admin-add", sudo="create an account"),
    Admins ("/admin/invitations",             get=invitations.show,     post=invitations.submit,       name="admin-invitations", sudo="invite someone"),
    Admins ("/admin/invitations/{id}/resend",                           post=invitations.resend,       name="admin-invitation-resend"),
    Admins ("/admin/invitations/{id}/withdraw",                         post=invitations.withdraw,     name="admin-invitation-withdraw"),
    Admins ("/admin/audit",                   get=audit.show_all,                                      name="admin-audit"),
    Admins ("/admin/audit/export",            get=audit.export,                                        name="admin-audit-export", sudo="export the audit log", sudo_page=True),
    Anyone ("/api/openapi.json",              get=api.openapi,                                         name="api-openapi"),
    Anyone ("/api/session",                   get=api.session,                                         name="api-session", scope="account"),
    Anyone ("/api/forward",                   get=forward.check,                                       name="api-forward"),
    Members("/api/token",                                               post=forward.issue_token,      name="api-token"),
    Members("/api/users/{slug}",              get=api.user,                                            name="api-user", scope="users"),
    Members("/api/account",                   get=api_account.show,    patch=api_account.change_profile, name="api-account", scope="account"),
    Members("/api/account/sessions",          get=api_account.list_sessions,                           name="api-sessions", scope="account"),
    Members("/api/account/sessions/revoke-others", post=api_account.revoke_other_sessions,             name="api-sessions-revoke-others", scope="account"),
    Members("/api/account/sessions/revoke-all", post=api_account.revoke_all_sessions,                  name="api-sessions-revoke-all", scope="account"),
    Members("/api/account/sessions/{id}",     delete=api_account.revoke_session,                       name="api-sessions-revoke", scope="account"),
    Members("/api/account/activity",          get=api_account.list_activity,                           name="api-activity", scope="account"),
    Members("/api/account/tokens",            get=api_account.list_tokens,                             name="api-tokens", scope="account"),
    Members("/api/account/tokens/{id}",       delete=api_account.revoke_token,                         name="api-tokens-revoke", scope="account"),
    Admins ("/api/admin/users",               get=api_admin.list_users, post=api_admin.add_user,        name="api-users", sudo="create an account", scope="admin"),
    Admins ("/api/admin/users/{id}",          get=api_admin.show_user, delete=api_admin.delete_user,   name="api-admin-user", sudo="delete an account", scope="admin"),
    Admins ("/api/admin/users/{id}/keep",                               post=api_admin.keep_user,      name="api-admin-keep", scope="admin"),
    Admins ("/api/admin/invitations",         get=api_admin.list_invitations, post=api_admin.invite,   name="api-invitations", sudo="invite someone", scope="admin"),
    Admins ("/api/admin/invitations/{id}/resend",                       post=api_admin.resend_invitation, name="api-invitation-resend", scope="admin"),
    Admins ("/api/admin/invitations/{id}",    delete=api_admin.withdraw_invitation,                    name="api-invitation", scope="admin"),
    Admins ("/api/admin/users/{id}/role",     put=api_admin.change_role,                               name="api-admin-role", sudo="change the role of a user", scope="admin"),
    Admins ("/api/admin/users/{id}/team",     put=api_admin.change_team,                               name="api-admin-team", sudo="change the team of a user", scope="admin"),
    Admins ("/api/admin/users/{id}/disable",                            post=api_admin.disable,        name="api-admin-disable", sudo="disable an account", scope="admin"),
    Admins ("/api/admin/users/{id}/enable",                             post=api_admin.enable,         name="api-admin-enable", sudo="enable an account", scope="admin"),
    Admins ("/api/admin/users/{id}/end-sessions",                       post=api_admin.end_sessions,   name="api-admin-end-sessions", scope="admin"),
    Admins ("/api/admin/audit",               get=api_admin.list_entries,                              name="api-admin-audit", scope="admin"),
    Admins ("/api/admin/roles",               get=api_admin.list_roles, post=api_admin.create_role,    name="api-roles", sudo="add a role", scope="admin"),
    Admins ("/api/admin/roles/{role}",        get=api_admin.show_role, patch=api_admin.change_role_settings, delete=api_admin.delete_role, name="api-role", sudo="change a role", scope="admin"),
    Anyone ("/healthz",                       get=health.alive,                                        name="healthz"),
    Anyone ("/readyz",                        get=health.ready,                                        name="readyz"),
    Operators("/metrics",                     get=metrics.show,                                        name="metrics"),
    Operators("/dev/mailbox",                 get=mailbox.show,                                        name="mailbox"),
    Operators("/dev/mailbox/{id}",            get=mailbox.show_message,                                name="mailbox-message"),
    Operators("/dev/mailbox/{id}/html",       get=mailbox.show_html,                                   name="mailbox-html"),
    Operators("/dev/mails",                   get=mailbox.show_samples,                                name="mail-samples"),
    Anyone ("/.well-known/change-password",   get=home.redirect_to_account,                                name="change-password"),
    Anyone ("/.well-known/security.txt",      get=home.security_txt,                                   name="security-txt"),
    Anyone ("/.well-known/jwks.json",         get=forward.show_keys,                                   name="jwks"),
    Anyone ("/.well-known/passkey-endpoints", get=home.show_passkey_endpoints,                         name="passkey-endpoints"),
    Anyone ("/robots.txt",                    get=home.robots,                                         name="robots"),
    Anyone ("/static/{name}",                 get=assets.show,                                         name="static"),
]
# Stateless sessions have no database rows, so devices cannot be listed or revoked one by one.
NEEDS_STORED_SESSIONS = {
    *("devices", "devices-revoke-others", "devices-revoke", "admin-revoke"),
    *("api-sessions", "api-sessions-revoke-others", "api-sessions-revoke"),
}
# These exist only on loopback without SMTP_URL, and only for clients on this machine.
NEEDS_MAILBOX = {"mailbox", "mailbox-message", "mailbox-html", "mail-samples"}
# fmt: on
NEEDS_MAIL = {
    *("forgot", "reset", "reset-link", "verify", "verify-link", "change-email"),
    *("change-email-link", "not-me", "not-me-link"),
    *("account-email", "account-email-cancel", "account-verify"),
    *("keep", "keep-link", "admin-add", "admin-invitation-resend"),
    "api-invitation-resend",
}
# With SIGNUP=invited or closed, the URL of the form says so. Links to it are only displayed if
# `signup-check` exists.
NEEDS_OPEN_SIGNUP = {"signup-check"}
NEEDS_PROVIDERS = {
    *("login-with", "login-callback", "login-logout", "signup-with", "confirm-with"),
    *("identities", "identities-connect", "identities-remove"),
}
NEEDS_ORGANIZATIONS = {
    *("login-check", "admin-organizations", "admin-organization"),
    *("admin-organization-verify", "admin-organization-remove"),
}
NEEDS_INVITATIONS = {  # With SIGNUP=closed, nobody creates an account for themselves.
    *("join", "join-link", "admin-invitations"),
    *("admin-invitation-resend", "admin-invitation-withdraw"),
    *("api-invitations", "api-invitation-resend", "api-invitation"),
}
SIGNUP_UNAVAILABLE = Guests(
    "/signup", get=signup.show_unavailable, post=signup.show_unavailable, name="signup"
)


def routes_for(settings: Settings, product_routes: Sequence[AppRoute] = ()) -> list[AppRoute]:
    """Returns the routes for these settings and those of the product.

    Leaves out the routes that the settings disable.
    """
    disabled: set[str] = set()
    if settings.stateless:
        disabled |= NEEDS_STORED_SESSIONS
    if not settings.sends_mail:
        disabled |= NEEDS_MAIL
    if settings.sign_up.mode != "open":
        disabled |= NEEDS_OPEN_SIGNUP
    if settings.sign_up.mode == "closed":
        disabled |= NEEDS_INVITATIONS
    if not settings.has_providers:
        disabled |= NEEDS_PROVIDERS
    if not settings.organizations.is_enabled:
        disabled |= NEEDS_ORGANIZATIONS
    if not settings.has_mailbox:
        disabled |= NEEDS_MAILBOX
    used = [route for route in (*routes, *product_routes) if route.name not in disabled]
    if settings.sign_up.mode == "open":
        return used
    return [SIGNUP_UNAVAILABLE if route.name == "signup" else route for route in used]


def callback_paths(settings: Settings) -> frozenset[str]:
    """Returns the paths that a provider may send a form to, from its own site."""
    return frozenset(
        f"/login/with/{provider.name}/callback"
        for provider in settings.providers
        if provider.response_mode == "form_post"
    )


def protected_pages(app_routes: list[AppRoute]) -> list[Pattern[str]]:
    """Returns the path patterns of all pages that require a login. `next` may name only these."""
    pages = [
        route for route in app_routes if route.access in LOGGED_IN and "GET" in route.endpoints
    ]
    return [page.path_regex for page in pages if not page.path.startswith("/api/")]


def access_table(product_routes: Sequence[AppRoute] = ()) -> str:
    """Returns the access policy as aligned text: methods, path, route access, endpoints.

    The rows of the product follow those of the program.
    """
    lines = [
        (
            ", ".join(route.endpoints),
            route.path,
            f"{route.access_text}{f', token {route.token_scope}' if route.token_scope else ''}"
            f"{', sudo' if route.sudo else ''}",
            ", ".join(map(_name, route.endpoints.values())),
        )
        for route in (*routes, *product_routes)
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True))
        for line in lines
    )


def _name(endpoint: Endpoint) -> str:
    return (
        f"{endpoint.__module__.removeprefix('web.').removeprefix('endpoints.')}.{endpoint.__name__}"
    )
