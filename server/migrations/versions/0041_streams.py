"""Streams of records, their segments, keys of their events, and versions of what they are judged by."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE streams (
            tenant_no bigint NOT NULL,
            stream_no bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
            stream_id uuid NOT NULL UNIQUE,
            slug text NOT NULL,
            type text NOT NULL CONSTRAINT streams_type_check
                CHECK (type IN ('logs', 'metrics', 'traces', 'llm', 'transactions', 'sessions')),
            seed text NOT NULL,
            session_key text,
            learning text NOT NULL CONSTRAINT streams_learning_check
                CHECK (learning IN ('calibrating', 'ready', 'recalibrating')),
            paused_at timestamptz,
            automatic boolean NOT NULL,
            last_seq bigint NOT NULL,
            last_sha256 bytea NOT NULL,
            last_event_at timestamptz,
            processed_seq bigint NOT NULL,
            waiting_since timestamptz,
            outliers integer NOT NULL,
            created_at timestamptz NOT NULL,
            deleted_at timestamptz,
            version integer NOT NULL,
            PRIMARY KEY (tenant_no, stream_no),
            CONSTRAINT streams_processed_check CHECK (processed_seq <= last_seq)
        )""")
    op.execute("CREATE UNIQUE INDEX streams_slug_idx ON streams (tenant_no, slug) WHERE deleted_at IS NULL")
    secure("streams", BY_NO)
    op.execute("""
        CREATE TABLE stream_segments (
            tenant_no bigint NOT NULL,
            stream_no bigint NOT NULL,
            first_seq bigint NOT NULL,
            last_seq bigint NOT NULL,
            received_at timestamptz NOT NULL,
            first_at timestamptz NOT NULL,
            last_at timestamptz NOT NULL,
            bytes integer NOT NULL,
            payload bytea NOT NULL,
            sha256 bytea NOT NULL,
            previous_sha256 bytea NOT NULL,
            PRIMARY KEY (tenant_no, stream_no, first_seq, received_at)
        ) PARTITION BY RANGE (received_at)""")
    op.execute(
        "ALTER TABLE stream_segments ALTER COLUMN payload SET STORAGE EXTERNAL"
    )  # it is packed already
    secure("stream_segments", BY_NO, tenant="SELECT, INSERT, DELETE")
    op.execute("""
        CREATE TABLE stream_seen (
            tenant_no bigint NOT NULL,
            stream_no bigint NOT NULL,
            key bytea NOT NULL,
            seen_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_no, stream_no, key)
        )""")
    op.execute("CREATE INDEX stream_seen_seen_at_idx ON stream_seen (seen_at)")
    secure("stream_seen", BY_NO)
    op.execute("""
        CREATE TABLE stream_configs (
            tenant_no bigint NOT NULL,
            version integer NOT NULL,
            config_id uuid NOT NULL,
            judging jsonb NOT NULL,
            overrides jsonb NOT NULL,
            is_active boolean NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            created_by text NOT NULL,
            notes text,
            PRIMARY KEY (tenant_no, version)
        )""")
    op.execute("CREATE UNIQUE INDEX stream_configs_active_idx ON stream_configs (tenant_no) WHERE is_active")
    secure("stream_configs", BY_NO)


def downgrade() -> None:
    op.execute("DROP TABLE stream_configs")
    op.execute("DROP TABLE stream_seen")
    op.execute("DROP TABLE stream_segments")
    op.execute("DROP TABLE streams")
