"""Lanes of the scan, saved states of engines, the log of decisions, and anomalies."""

from alembic import op

from guardhouse.foundation.migrate import BY_NO, secure

revision = "0043"
down_revision = "0042"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX streams_waiting_idx ON streams (stream_no) WHERE processed_seq < last_seq")
    op.execute("""
        CREATE TABLE stream_lanes (
            lane smallint PRIMARY KEY,
            owner uuid,
            lease_until timestamptz
        ) WITH (fillfactor = 50)""")
    op.execute("INSERT INTO stream_lanes (lane) SELECT generate_series(0, 63)")
    secure("stream_lanes", None)
    op.execute("""
        CREATE TABLE stream_states (
            tenant_no bigint NOT NULL,
            stream_no bigint NOT NULL,
            state_seq bigint NOT NULL,
            config_version integer NOT NULL,
            engine_version text NOT NULL,
            object_key text NOT NULL,
            sha256 bytea NOT NULL,
            saved_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_no, stream_no, state_seq)
        )""")
    secure("stream_states", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE stream_decisions (
            tenant_no bigint NOT NULL,
            stream_no bigint NOT NULL,
            first_seq bigint NOT NULL,
            last_seq bigint NOT NULL,
            config_version integer NOT NULL,
            rejected integer NOT NULL,
            candidates integer NOT NULL,
            blocks jsonb NOT NULL,
            decided_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_no, stream_no, first_seq)
        )""")
    op.execute("CREATE INDEX stream_decisions_decided_at_idx ON stream_decisions (decided_at)")
    secure("stream_decisions", BY_NO, tenant="SELECT")
    _anomalies()


def _anomalies() -> None:
    op.execute("""
        CREATE TABLE anomalies (
            tenant_no bigint NOT NULL,
            anomaly_id uuid NOT NULL,
            timestamp timestamptz NOT NULL,
            stream_no bigint NOT NULL,
            stream_id uuid NOT NULL,
            stream_type text NOT NULL,
            kind text NOT NULL,
            status text NOT NULL CONSTRAINT anomalies_status_check
                CHECK (status IN ('pending', 'acknowledged', 'investigating', 'dismissed')),
            severity text NOT NULL CONSTRAINT anomalies_severity_check
                CHECK (severity IN ('low', 'medium', 'high', 'critical')),
            first_seq bigint NOT NULL,
            last_seq bigint NOT NULL,
            signature text NOT NULL,
            p_value double precision NOT NULL,
            significant boolean NOT NULL,
            alerted boolean NOT NULL,
            ncd_score double precision,
            explanation_text text NOT NULL,
            details_text text NOT NULL,
            entity text NOT NULL,
            score jsonb NOT NULL,
            glass_box jsonb NOT NULL,
            decision jsonb NOT NULL,
            explanation jsonb NOT NULL,
            versions jsonb NOT NULL,
            tags text[] NOT NULL,
            acknowledged_by text,
            acknowledged_at timestamptz,
            dismissed_by text,
            dismissed_at timestamptz,
            notes text,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            version integer NOT NULL,
            PRIMARY KEY (tenant_no, anomaly_id),
            CONSTRAINT anomalies_place_key UNIQUE (tenant_no, stream_no, kind, first_seq, last_seq, signature)
        )""")
    op.execute("CREATE INDEX anomalies_timestamp_idx ON anomalies (tenant_no, timestamp, anomaly_id)")
    op.execute("CREATE INDEX anomalies_type_idx ON anomalies (tenant_no, stream_type, status, timestamp)")
    op.execute("CREATE INDEX anomalies_stream_idx ON anomalies (tenant_no, stream_no, timestamp)")
    op.execute("CREATE INDEX anomalies_p_value_idx ON anomalies (tenant_no, p_value)")
    secure("anomalies", BY_NO)


def downgrade() -> None:
    for table in ("anomalies", "stream_decisions", "stream_states", "stream_lanes"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX streams_waiting_idx")
