"""What addresses did to each project by type and ten minutes, and what is known of each address."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE ip_notes (
            note_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            packed bytea NOT NULL
        )""")
    secure("ip_notes", BY_NO, tenant="INSERT")
    op.execute("""
        CREATE TABLE ip_buckets (
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            address text NOT NULL,
            bucket timestamptz NOT NULL,
            event_type text NOT NULL,
            count bigint NOT NULL,
            sample_ids uuid[] NOT NULL,
            PRIMARY KEY (tenant_no, project_no, address, bucket, event_type)
        ) PARTITION BY RANGE (bucket)""")
    secure("ip_buckets", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE ip_scores (
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            address text NOT NULL,
            score smallint NOT NULL,
            band text NOT NULL CONSTRAINT ip_scores_band_check
                CHECK (band IN ('none', 'medium', 'high', 'critical')),
            rank double precision,
            first_seen timestamptz NOT NULL,
            last_seen timestamptz NOT NULL,
            crossings bigint NOT NULL,
            due_at timestamptz,
            folds bigint NOT NULL,
            unjudged boolean NOT NULL,
            PRIMARY KEY (tenant_no, project_no, address)
        )""")
    op.execute("CREATE INDEX ip_scores_unjudged_idx ON ip_scores (tenant_no, project_no) WHERE unjudged")
    op.execute("CREATE INDEX ip_scores_due_at_idx ON ip_scores (due_at) WHERE due_at IS NOT NULL")
    op.execute(
        "CREATE INDEX ip_scores_project_no_rank_idx ON ip_scores (project_no, rank, address) WHERE rank IS NOT NULL"
    )
    op.execute("CREATE INDEX ip_scores_tenant_no_address_idx ON ip_scores (tenant_no, address)")
    secure("ip_scores", BY_NO, tenant="SELECT")
    op.execute("CREATE INDEX events_project_no_ip_idx ON events (project_no, ip, occurred_at)")


def downgrade() -> None:
    op.execute("DROP INDEX events_project_no_ip_idx")
    op.execute("DROP TABLE ip_scores")
    op.execute("DROP TABLE ip_buckets")
    op.execute("DROP TABLE ip_notes")
