"""Alert channels: what each said lately, and of which subjects."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

SEVERITIES = "('info', 'low', 'medium', 'high', 'critical')"


def upgrade() -> None:
    op.execute(f"""
        CREATE TABLE channel_tallies (
            endpoint_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            hour_at timestamptz,
            sent integer NOT NULL,
            held integer NOT NULL,
            held_since timestamptz,
            held_worst text NOT NULL CONSTRAINT channel_tallies_held_worst_check
                CHECK (held_worst IN {SEVERITIES}),
            due_at timestamptz
        ) WITH (fillfactor = 80)""")
    op.execute("CREATE INDEX channel_tallies_tenant_id_idx ON channel_tallies (tenant_id)")
    op.execute("CREATE INDEX channel_tallies_due_idx ON channel_tallies (due_at) WHERE held > 0")
    secure("channel_tallies", BY_ID)
    op.execute(f"""
        CREATE TABLE channel_subjects (
            endpoint_id uuid NOT NULL,
            subject text NOT NULL,
            tenant_id uuid NOT NULL,
            severity text NOT NULL CONSTRAINT channel_subjects_severity_check CHECK (severity IN {SEVERITIES}),
            told_at timestamptz NOT NULL,
            open boolean NOT NULL,
            PRIMARY KEY (endpoint_id, subject)
        ) WITH (fillfactor = 80)""")
    op.execute("CREATE INDEX channel_subjects_tenant_id_idx ON channel_subjects (tenant_id)")
    op.execute("CREATE INDEX channel_subjects_told_at_idx ON channel_subjects (told_at)")
    secure("channel_subjects", BY_ID)


def downgrade() -> None:
    op.execute("DROP TABLE channel_subjects")
    op.execute("DROP TABLE channel_tallies")
