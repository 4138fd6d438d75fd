"""Adds the organizations with an identity provider of their own, and marks the sessions that began
with a log-in at a provider.
"""

import sqlalchemy as sa
from alembic import op

from db.tables import Instant

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("provider_subject_hash", "provider_sid_hash"):
        op.add_column("sessions", sa.Column(name, sa.Text))
        op.create_index(f"sessions_{name}", "sessions", [name])
    op.create_index("identities_provider", "identities", ["provider"])
    op.create_table(
        "organizations",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("client_id", sa.Text, nullable=False),
        sa.Column("client_secret", sa.Text, nullable=False),
        sa.Column("kid", sa.Text, nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("allows_sign_up", sa.Boolean, nullable=False),
        sa.Column("role_claim", sa.Text, nullable=False),
        sa.Column("proof", sa.Text, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("verified_at", Instant),
    )
    domain = sa.ForeignKey("organizations.domain", ondelete="CASCADE")
    role = sa.ForeignKey("roles.name", ondelete="CASCADE")
    op.create_table(
        "organization_roles",
        sa.Column("domain", sa.Text, domain, primary_key=True),
        sa.Column("claim_value", sa.Text, primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("role", sa.Text, role, nullable=False),
    )
    op.create_index("organization_roles_role", "organization_roles", ["role"])
