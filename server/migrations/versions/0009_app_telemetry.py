"""Projects of in-app agents, their events, metrics and roll-ups by day, receipts, seen items, quarantine."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, BY_NO, secure

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _projects()
    _telemetry()
    _intake()


def _projects() -> None:
    op.execute("""
        CREATE TABLE projects (
            project_id uuid PRIMARY KEY,
            project_no bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
            tenant_id uuid NOT NULL REFERENCES tenants,
            slug text NOT NULL,
            external_ids text[] NOT NULL,
            state text NOT NULL CONSTRAINT projects_state_check CHECK (state IN ('active', 'archived')),
            settings jsonb NOT NULL,
            skewed_at timestamptz,
            created_at timestamptz NOT NULL,
            UNIQUE (tenant_id, slug)
        )""")
    secure("projects", BY_ID)


def _telemetry() -> None:
    op.execute("""
        CREATE TABLE events (
            event_id uuid NOT NULL,
            occurred_at timestamptz NOT NULL,
            received_at timestamptz NOT NULL,
            claimed_at timestamptz,
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            response_time double precision,
            status_code integer,
            flags smallint NOT NULL,
            event_type text NOT NULL,
            class text NOT NULL,
            ip inet,
            ip_text text,
            country text,
            user_agent text,
            action_taken text,
            reason text,
            endpoint text,
            method text,
            decorator_type text,
            rule_type text,
            pattern_matched text,
            handler_name text,
            installation text,
            metadata jsonb,
            extra jsonb,
            PRIMARY KEY (tenant_no, event_id, occurred_at)
        ) PARTITION BY RANGE (occurred_at)""")
    op.execute("CREATE INDEX events_project_no_event_id_idx ON events (project_no, event_id)")
    secure("events", BY_NO, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE metrics (
            metric_id uuid NOT NULL,
            occurred_at timestamptz NOT NULL,
            received_at timestamptz NOT NULL,
            claimed_at timestamptz,
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            value double precision NOT NULL,
            count bigint,
            sum double precision,
            min double precision,
            max double precision,
            flags smallint NOT NULL,
            metric_type text NOT NULL,
            endpoint text,
            installation text,
            tags jsonb,
            buckets jsonb,
            PRIMARY KEY (tenant_no, metric_id, occurred_at)
        ) PARTITION BY RANGE (occurred_at)""")
    op.execute("CREATE INDEX metrics_project_no_metric_id_idx ON metrics (project_no, metric_id)")
    secure("metrics", BY_NO, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE event_rollups (
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            minute timestamptz NOT NULL,
            event_type text NOT NULL,
            fingerprint bytea NOT NULL,
            count bigint NOT NULL,
            first_at timestamptz NOT NULL,
            last_at timestamptz NOT NULL,
            sample jsonb NOT NULL,
            PRIMARY KEY (tenant_no, project_no, minute, event_type, fingerprint)
        ) PARTITION BY RANGE (minute)""")
    secure("event_rollups", BY_NO, tenant="SELECT, INSERT, UPDATE")


def _intake() -> None:
    op.execute("""
        CREATE TABLE telemetry_receipts (
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            batch_id text NOT NULL,
            content_sha256 bytea NOT NULL,
            idempotency_key text,
            items integer NOT NULL,
            received_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_no, project_no, batch_id, content_sha256),
            UNIQUE (tenant_no, project_no, idempotency_key)
        )""")
    op.execute("CREATE INDEX telemetry_receipts_received_at_idx ON telemetry_receipts (received_at)")
    secure("telemetry_receipts", BY_NO, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE telemetry_seen (
            tenant_no bigint NOT NULL,
            seen_id uuid NOT NULL,
            seen_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_no, seen_id)
        )""")
    op.execute("CREATE INDEX telemetry_seen_seen_at_idx ON telemetry_seen (seen_at)")
    secure("telemetry_seen", BY_NO, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE quarantine (
            quarantine_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            received_at timestamptz NOT NULL,
            kind text NOT NULL CONSTRAINT quarantine_kind_check CHECK (kind IN ('event', 'metric', 'body')),
            batch_id text,
            index integer,
            code text NOT NULL,
            detail text NOT NULL,
            bytes integer NOT NULL,
            raw bytea NOT NULL
        )""")
    op.execute(
        "CREATE INDEX quarantine_project_no_quarantine_no_idx ON quarantine (project_no, quarantine_no)"
    )
    op.execute("CREATE INDEX quarantine_received_at_idx ON quarantine (received_at)")
    secure("quarantine", BY_NO)
    op.execute("""
        CREATE TABLE quarantine_totals (
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            bytes bigint NOT NULL,
            dropped bigint NOT NULL,
            PRIMARY KEY (tenant_no, project_no)
        )""")
    secure("quarantine_totals", BY_NO)


def downgrade() -> None:
    for table in (
        "quarantine_totals",
        "quarantine",
        "telemetry_seen",
        "telemetry_receipts",
        "event_rollups",
        "metrics",
        "events",
        "projects",
    ):
        op.execute(f"DROP TABLE {table}")
