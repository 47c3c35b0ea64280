"""The journal: runs, their finished calls, their events, pictures by digest."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("question", sa.Text, nullable=False),
        sa.Column("request", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("updated", sa.Double, nullable=False),
        sa.Column("deadline", sa.Double),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process_start", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("lease", sa.Double, nullable=False),
        sa.Column("next_seq", sa.BigInteger, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_runs"),
    )
    op.create_index("ix_runs_created", "runs", ["created"])
    op.create_table(
        "calls",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("ordinal", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("arguments_hash", sa.Text, nullable=False),
        sa.Column("result", sa.Text, nullable=False),
        sa.Column("usage", sa.Text, nullable=False),
        sa.Column("finished", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("run", "path", "ordinal", "name", "arguments_hash", name="pk_calls"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_calls_run_runs", ondelete="CASCADE"),
    )
    op.create_table(
        "events",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("once", sa.Text),
        sa.Column("event", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run", "seq", name="pk_events"),
        sa.UniqueConstraint("run", "once", name="uq_events_run_once"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_events_run_runs", ondelete="CASCADE"),
    )
    op.create_table(
        "blobs",
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_blobs"),
    )
    op.create_table(
        "blob_uses",
        sa.Column("run", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run", "digest", name="pk_blob_uses"),
        sa.ForeignKeyConstraint(["run"], ["runs.run"], name="fk_blob_uses_run_runs", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["digest"], ["blobs.digest"], name="fk_blob_uses_digest_blobs"),
    )
    op.create_index("ix_blob_uses_digest", "blob_uses", ["digest"])
