"""The processes that report in: instances, their reports, and contacts not yet taken in."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE instances (
            instance_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL REFERENCES projects (project_no),
            instance_id uuid NOT NULL,
            named boolean NOT NULL,
            installation text NOT NULL,
            started_at timestamptz,
            first_seen_at timestamptz NOT NULL,
            last_seen_at timestamptz NOT NULL,
            last_report_at timestamptz,
            reported_at timestamptz,
            gaps integer[] NOT NULL,
            health text,
            buffered bigint NOT NULL,
            state text NOT NULL CONSTRAINT instances_state_check
                CHECK (state IN ('healthy', 'degraded', 'late', 'silent', 'ended', 'unclean')),
            told text,
            told_seq bigint NOT NULL,
            due_at timestamptz,
            closed text CONSTRAINT instances_closed_check CHECK (closed IN ('ended', 'unclean')),
            heir_id uuid,
            user_agent text NOT NULL,
            agent_version text,
            guard_version text,
            guard_core_version text,
            signature_form text,
            encryption text,
            remarks jsonb NOT NULL,
            rules_served bigint,
            rules_served_at timestamptz,
            rules_applied bigint,
            rules_applied_at timestamptz,
            process jsonb NOT NULL,
            seq bigint,
            ledger jsonb,
            ledger_at timestamptz,
            batches bigint NOT NULL,
            replays bigint NOT NULL,
            events_stored bigint NOT NULL,
            events_rolled_up bigint NOT NULL,
            events_duplicates bigint NOT NULL,
            events_rejected bigint NOT NULL,
            metrics_stored bigint NOT NULL,
            metrics_rolled_up bigint NOT NULL,
            metrics_duplicates bigint NOT NULL,
            metrics_rejected bigint NOT NULL,
            unaccounted_since timestamptz,
            unaccounted_told_at timestamptz,
            archived_at timestamptz,
            UNIQUE (tenant_no, instance_id)
        )""")
    op.execute("CREATE INDEX instances_project_no_instance_no_idx ON instances (project_no, instance_no)")
    op.execute("CREATE INDEX instances_project_no_installation_idx ON instances (project_no, installation)")
    op.execute("CREATE INDEX instances_due_at_idx ON instances (due_at)")
    secure("instances", BY_NO, tenant="SELECT, INSERT, UPDATE")
    op.execute("""
        CREATE TABLE instance_reports (
            report_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_no bigint NOT NULL,
            instance_no bigint NOT NULL REFERENCES instances (instance_no),
            received_at timestamptz NOT NULL,
            report jsonb NOT NULL
        )""")
    op.execute(
        "CREATE INDEX instance_reports_instance_no_report_no_idx ON instance_reports (instance_no, report_no)"
    )
    secure("instance_reports", BY_NO, tenant="SELECT, INSERT, DELETE")
    # Filled and emptied all day: a small table that is vacuumed often stays small.
    op.execute("""
        CREATE TABLE instance_contacts (
            contact_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            at timestamptz NOT NULL,
            data text NOT NULL
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
                autovacuum_vacuum_insert_threshold = 100000, autovacuum_analyze_scale_factor = 0.5)""")
    op.execute(
        "CREATE INDEX instance_contacts_project_no_contact_no_idx ON instance_contacts (project_no, contact_no)"
    )
    secure("instance_contacts", BY_NO, tenant="SELECT, INSERT, DELETE")


def downgrade() -> None:
    op.execute("DROP TABLE instance_contacts")
    op.execute("DROP TABLE instance_reports")
    op.execute("DROP TABLE instances")
