"""Records of what was judged, and the texts that policies keep, by day."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE detections (
            tenant_id uuid NOT NULL,
            id uuid NOT NULL,
            at timestamptz NOT NULL,
            kind text NOT NULL,
            credential text NOT NULL,
            policy_id uuid NOT NULL,
            policy_version integer NOT NULL,
            channel text NOT NULL,
            decision text NOT NULL,
            would_decide text NOT NULL,
            malicious boolean NOT NULL,
            score_milli smallint,
            review_milli smallint NOT NULL,
            block_milli smallint NOT NULL,
            operating_point text NOT NULL,
            threat_types text[] NOT NULL,
            flags text[] NOT NULL,
            engine text NOT NULL,
            engine_version text,
            tier text NOT NULL,
            endpoint text NOT NULL,
            verdict_source text NOT NULL,
            degraded boolean NOT NULL,
            fallback_reason text,
            cached boolean NOT NULL,
            took_us integer NOT NULL,
            text_hmac bytea NOT NULL,
            text_length integer NOT NULL,
            agent_id text,
            session_id text,
            run_id text,
            trace_id text,
            retention_days smallint NOT NULL,
            rest bytea NOT NULL,
            PRIMARY KEY (tenant_id, id, at)
        ) PARTITION BY RANGE (at)""")
    op.execute(
        "CREATE INDEX detections_flagged_idx ON detections (tenant_id, id) WHERE would_decide <> 'allow'"
    )
    op.execute("CREATE INDEX detections_short_lived_idx ON detections (at) WHERE retention_days < 30")
    secure("detections", BY_ID, tenant="SELECT")
    op.execute("""
        CREATE TABLE detection_texts (
            tenant_id uuid NOT NULL,
            id uuid NOT NULL,
            at timestamptz NOT NULL,
            retention_days smallint NOT NULL,
            packed bytea NOT NULL,
            PRIMARY KEY (tenant_id, id, at)
        ) PARTITION BY RANGE (at)""")
    secure("detection_texts", BY_ID, tenant="SELECT")


def downgrade() -> None:
    op.execute("DROP TABLE detection_texts")
    op.execute("DROP TABLE detections")
