"""Tests of concurrent changes of organizations, on both databases."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from db.crypto.passwords import Passwords
from db.crypto.secret import Secret
from db.errors import NotFound, StateChanged
from db.organizations import changes
from db.organizations.changes import MAX_ORGANIZATIONS
from db.organizations.lookup import OrganizationData
from db.viewer import Operator
from tests.conftest import Clock
from tests.databases import DATABASE_TYPES
from tests.lying_provider import CLIENT_ID, CLIENT_SECRET, LyingProvider, serving
from tests.organizations import DOMAIN, bind

ISSUER = "https://id.example.com"


@pytest.fixture(params=DATABASE_TYPES)
def database_type(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def passwords(fast_passwords: Passwords) -> Passwords:
    return fast_passwords


@pytest.fixture
def lying(clock: Clock) -> Iterator[LyingProvider]:
    with serving(LyingProvider(now=clock)) as provider:
        yield provider


def settings_of(label: str, issuer: str = ISSUER) -> OrganizationData:
    return OrganizationData(label, issuer, CLIENT_ID, Secret("secret"), "openid", True, "", ())


@pytest.mark.asvs("S102")
async def test_concurrent_additions_of_a_domain_add_one(make_app: Callable, lying) -> None:
    app = await make_app(ORGANIZATIONS="on")
    ada = await app.admin()
    fields = {
        "domain": DOMAIN,
        "issuer": lying.issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "scopes": "openid",
    }
    answers = await asyncio.gather(
        *[ada.post("/admin/organizations", fields | {"label": f"No. {n}"}) for n in range(6)]
    )
    assert sorted(answer.status_code for answer in answers) == [303] + [422] * 5
    refused = [answer.text for answer in answers if answer.status_code == 422]
    assert all("There is already an organization with this domain." in text for text in refused)
    assert await app.count("organizations") == 1
    added = await app.rows("SELECT count(*) AS n FROM audit WHERE event = 'organization.add'")
    assert added == [(1,)]


@pytest.mark.asvs("S102")
async def test_concurrent_additions_do_not_exceed_the_limit(make_app: Callable) -> None:
    app = await make_app(ORGANIZATIONS="on")
    provider = LyingProvider(port=9)
    for number in range(MAX_ORGANIZATIONS - 1):
        await bind(app.store, provider, domain=f"n{number}.example.org")
    operator = Operator(app.store)
    await asyncio.gather(
        *[changes.create(operator, f"m{n}.example.org", settings_of("M")) for n in range(4)],
        return_exceptions=True,
    )
    assert await app.count("organizations") == MAX_ORGANIZATIONS


@pytest.mark.asvs("S102")
async def test_a_concurrent_verification_is_of_the_new_issuer_or_none(make_app: Callable) -> None:
    app = await make_app(ORGANIZATIONS="on")
    operator = Operator(app.store)
    await changes.create(operator, DOMAIN, settings_of("First"))
    for number in range(10):
        proof = (await changes.get_details(app.store, DOMAIN)).proof
        steps = [
            changes.change(operator, DOMAIN, settings_of("Next", f"{ISSUER}/{number}")),
            changes.verify(operator, DOMAIN, proof),
        ]
        results = await asyncio.gather(*steps[:: 1 if number % 2 else -1], return_exceptions=True)
        details = await changes.get_details(app.store, DOMAIN)
        assert (details.issuer, details.verified_at) == (f"{ISSUER}/{number}", None)
        assert details.proof != proof
        assert {type(result) for result in results} <= {bool, type(None), StateChanged}


@pytest.mark.asvs("S102")
async def test_concurrent_removals_have_the_effect_of_one(make_app: Callable) -> None:
    app = await make_app(ORGANIZATIONS="on")
    operator = Operator(app.store)
    await changes.create(operator, DOMAIN, settings_of("First"))
    results = await asyncio.gather(
        *[changes.remove(operator, DOMAIN) for _ in range(4)], return_exceptions=True
    )
    refused = [result for result in results if result is not None]
    assert [type(result) for result in refused] == [NotFound] * 3
    assert await app.count("organizations") == 0
