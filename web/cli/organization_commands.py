"""Contains the commands `latchkey organizations …`."""

import argparse
from functools import partial
from typing import Final

from db.access import operator_organizations
from db.errors import DnsUnavailable, NotFound
from db.viewer import Operator
from web.cli.argument_checks import get_data
from web.cli.commands import (
    Argument,
    CommandError,
    CommandGroup,
    OperatorCommand,
    OperatorTask,
)
from web.cli.provider_commands import print_findings
from web.forms.form import Form
from web.forms.schemas import NewOrganization
from web.observability.logs import printable
from web.settings.settings import Settings

NO_ORGANIZATION: Final = "there is no organization with the domain {domain}"
SWITCHED_OFF: Final = "ORGANIZATIONS is off: no user is led to the provider until it is set to on"


def prepare_list(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    async def show(caller: Operator) -> None:
        for one in await operator_organizations.list_organizations(caller):
            state = "verified" if one.verified_at else "not verified"
            print(printable(f"{one.domain:<32}  {state:<12}  {one.issuer}  {one.label}"))

    return show


def prepare_check(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    domain = _read_domain(options)

    async def check(caller: Operator) -> None:
        try:
            provider = await operator_organizations.get_provider(caller, domain)
            details = await operator_organizations.get_details(caller, domain)
        except NotFound:
            raise CommandError(NO_ORGANIZATION.format(domain=domain)) from None
        can_be_used = await print_findings(
            provider, partial(operator_organizations.read_documents, caller)
        )
        print(f"  {'domain':<24}  {'verified' if details.verified_at else 'not verified'}")
        print(f"  {'TXT record':<24}  {details.record_name}")
        print(f"  {'its value':<24}  {details.proof}")
        try:
            found = await operator_organizations.has_domain_record(caller, details)
            print(f"  {'in DNS':<24}  {'yes' if found else 'no'}")
        except DnsUnavailable:
            print(f"  {'in DNS':<24}  unknown: no DNS server has answered")
        if provider.client_secret is None:
            print(f"  {'problem':<24}  no key of SESSION_SECRET decrypts its client secret")
        if not settings.organizations.is_enabled:
            print(f"  {'problem':<24}  {SWITCHED_OFF}")
            can_be_used = False
        if not can_be_used or provider.client_secret is None:
            raise CommandError(f"users of {domain} cannot log in")

    return check


def prepare_verification(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    domain = _read_domain(options)

    async def verify(caller: Operator) -> None:
        try:
            await operator_organizations.verify(caller, domain)
        except NotFound:
            raise CommandError(NO_ORGANIZATION.format(domain=domain)) from None
        print(f"verified {domain}: users with an email of this domain are led to its provider")
        if not settings.organizations.is_enabled:
            print(SWITCHED_OFF)

    return verify


def prepare_removal(options: argparse.Namespace, settings: Settings) -> OperatorTask:
    domain = _read_domain(options)

    async def remove(caller: Operator) -> None:
        try:
            await operator_organizations.remove(caller, domain)
        except NotFound:
            raise CommandError(NO_ORGANIZATION.format(domain=domain)) from None
        print(f"removed the organization {domain}")

    return remove


def _read_domain(options: argparse.Namespace) -> str:
    """Returns the domain as it is stored. Raises CommandError."""
    form = Form.check_field(NewOrganization, "domain", {"domain": options.domain})
    return str(get_data(form).domain)


DOMAIN: Final = Argument("domain", help="such as example.com")
COMMANDS: Final = (
    CommandGroup(
        "organizations",
        "organizations with an identity provider of their own",
        (
            OperatorCommand("list", "list the organizations", prepare_list, writes=False),
            OperatorCommand(
                "check",
                "check the provider and the DNS record of an organization",
                prepare_check,
                (DOMAIN,),
                writes=False,
            ),
            OperatorCommand(
                "verify",
                "verify the domain of an organization without its DNS record",
                prepare_verification,
                (DOMAIN,),
            ),
            OperatorCommand("remove", "remove an organization", prepare_removal, (DOMAIN,)),
        ),
    ),
)
