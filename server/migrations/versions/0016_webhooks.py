"""Webhooks: endpoints, messages, deliveries and attempts by day, replays, and who sends for which endpoints."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, grant_sequence, secure

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

BUSY = "WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0)"
# Rows of a day are written, changed a few times within hours and then only read.
CREATE_BUSY_DAY = """
CREATE FUNCTION guardhouse_create_webhook_day(parent text, day date) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
  IF parent NOT IN ('webhook_messages', 'webhook_deliveries', 'webhook_attempts')
     OR NOT guardhouse_create_day(parent, day) THEN
    RETURN false;
  END IF;
  EXECUTE format('ALTER TABLE %I SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02,
                  autovacuum_vacuum_cost_delay = 0)', format('%s_p%s', parent, to_char(day, 'YYYYMMDD')));
  RETURN true;
END $$
"""
PARTITIONED = ("webhook_messages", "webhook_deliveries", "webhook_attempts")


def upgrade() -> None:
    op.execute(f"""
        CREATE TABLE webhook_endpoints (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            shard smallint NOT NULL,
            channel text NOT NULL CONSTRAINT webhook_endpoints_channel_check
                CHECK (channel IN ('webhook', 'slack', 'pagerduty', 'email')),
            channel_config jsonb NOT NULL,
            url text NOT NULL,
            description text,
            kinds text[] NOT NULL,
            scopes text[],
            filter jsonb NOT NULL,
            preset text NOT NULL CONSTRAINT webhook_endpoints_preset_check
                CHECK (preset IN ('standard', 'three_strikes', 'custom')),
            steps double precision[] NOT NULL,
            timeout_ms integer NOT NULL,
            concurrency smallint NOT NULL,
            rate_per_second double precision,
            fifo boolean NOT NULL,
            headers bytea,
            secret bytea NOT NULL,
            previous_secret bytea,
            previous_until timestamptz,
            private_key bytea,
            public_key text,
            state text NOT NULL CONSTRAINT webhook_endpoints_state_check
                CHECK (state IN ('active', 'throttled', 'paused', 'disabled')),
            reason text,
            resume_at timestamptz,
            breaker jsonb,
            first_failure_at timestamptz,
            last_failure_at timestamptz,
            failing_since timestamptz,
            last_error text,
            last_success_at timestamptz,
            last_tried_at timestamptz,
            replays integer NOT NULL,
            notices bigint NOT NULL,
            version integer NOT NULL,
            created_by text NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL
        ) {BUSY}""")
    op.execute("CREATE INDEX webhook_endpoints_tenant_id_idx ON webhook_endpoints (tenant_id, id)")
    op.execute("CREATE INDEX webhook_endpoints_shard_idx ON webhook_endpoints (shard)")
    secure("webhook_endpoints", BY_ID)
    _messages_and_deliveries()
    op.execute("""
        CREATE TABLE webhook_replays (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            endpoint_id uuid NOT NULL,
            number integer NOT NULL,
            mode text NOT NULL CONSTRAINT webhook_replays_mode_check
                CHECK (mode IN ('one', 'range', 'failed', 'missing')),
            since timestamptz NOT NULL,
            until timestamptz NOT NULL,
            message_id uuid,
            state text NOT NULL CONSTRAINT webhook_replays_state_check
                CHECK (state IN ('running', 'done', 'cancelled')),
            place jsonb,
            looked_at bigint NOT NULL,
            queued bigint NOT NULL,
            created_by text NOT NULL,
            created_at timestamptz NOT NULL,
            finished_at timestamptz
        )""")
    op.execute("CREATE INDEX webhook_replays_tenant_id_idx ON webhook_replays (tenant_id, endpoint_id, id)")
    secure("webhook_replays", BY_ID)
    op.execute("""
        CREATE TABLE webhook_lanes (
            lane smallint PRIMARY KEY,
            owner uuid,
            lease_until timestamptz
        ) WITH (fillfactor = 50)""")
    op.execute("INSERT INTO webhook_lanes (lane) SELECT generate_series(0, 64)")
    secure("webhook_lanes", None)
    # Fan-out begins where the log ends now, not where it will end when the first worker comes.
    op.execute("""
        INSERT INTO notice_cursors (reader, epoch, txid, id)
        (SELECT 'webhooks', epoch, txid, id FROM notices ORDER BY epoch DESC, txid DESC, id DESC LIMIT 1)
        UNION ALL (SELECT 'webhooks', last_value, '0'::xid8, 0 FROM notice_epochs) LIMIT 1""")


def _messages_and_deliveries() -> None:
    op.execute("CREATE SEQUENCE webhook_delivery_numbers")
    grant_sequence("webhook_delivery_numbers")
    op.execute("""
        CREATE TABLE webhook_messages (
            id uuid NOT NULL,
            at timestamptz NOT NULL,
            tenant_id uuid NOT NULL,
            notice_id uuid NOT NULL,
            kind text NOT NULL,
            format text NOT NULL,
            event_type text NOT NULL,
            subject text NOT NULL,
            subject_seq bigint NOT NULL,
            severity text NOT NULL,
            correlation_id text NOT NULL,
            body bytea NOT NULL,
            PRIMARY KEY (id, at)
        ) PARTITION BY RANGE (at)""")
    op.execute("CREATE INDEX webhook_messages_tenant_id_at_idx ON webhook_messages (tenant_id, at, id)")
    secure("webhook_messages", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE webhook_deliveries (
            id uuid NOT NULL,
            message_at timestamptz NOT NULL,
            tenant_id uuid NOT NULL,
            endpoint_id uuid NOT NULL,
            message_id uuid NOT NULL,
            number bigint NOT NULL DEFAULT nextval('webhook_delivery_numbers'),
            replay integer NOT NULL,
            kind text NOT NULL,
            subject text NOT NULL,
            bulk boolean NOT NULL,
            ordered boolean NOT NULL,
            state text NOT NULL CONSTRAINT webhook_deliveries_state_check
                CHECK (state IN ('pending', 'delivered', 'exhausted', 'discarded', 'cancelled')),
            attempt smallint NOT NULL,
            tries integer NOT NULL,
            next_at timestamptz,
            last_status smallint,
            last_error text,
            created_at timestamptz NOT NULL,
            finished_at timestamptz,
            PRIMARY KEY (id, message_at)
        ) PARTITION BY RANGE (message_at)""")
    for name, rest in {
        "endpoint_id_message_id": "(endpoint_id, message_id, replay, message_at)",
        "tenant_id_endpoint_id": "(tenant_id, endpoint_id, message_at, number)",
        "due": "(endpoint_id, bulk, next_at, number) WHERE state = 'pending'",
        "ordered": "(endpoint_id, subject, number) WHERE state = 'pending' AND ordered",
        "dead": "(tenant_id, message_at, number) WHERE state = 'exhausted'",
        "replay": "(tenant_id, endpoint_id, replay, state) WHERE bulk",
    }.items():
        unique = "UNIQUE " if name == "endpoint_id_message_id" else ""
        op.execute(f"CREATE {unique}INDEX webhook_deliveries_{name}_idx ON webhook_deliveries {rest}")
    secure("webhook_deliveries", BY_ID)
    op.execute("""
        CREATE TABLE webhook_attempts (
            delivery_id uuid NOT NULL,
            message_at timestamptz NOT NULL,
            number integer NOT NULL,
            tenant_id uuid NOT NULL,
            endpoint_id uuid NOT NULL,
            at timestamptz NOT NULL,
            outcome text NOT NULL CONSTRAINT webhook_attempts_outcome_check
                CHECK (outcome IN ('delivered', 'rejected', 'unreachable')),
            status smallint,
            error text,
            latency_ms real NOT NULL,
            address text,
            signature text NOT NULL,
            answer bytea NOT NULL,
            PRIMARY KEY (delivery_id, number, message_at)
        ) PARTITION BY RANGE (message_at)""")
    op.execute(
        "CREATE INDEX webhook_attempts_tenant_id_endpoint_id_idx ON webhook_attempts (tenant_id, endpoint_id, at)"
    )
    secure("webhook_attempts", BY_ID, tenant="SELECT")
    op.execute(CREATE_BUSY_DAY)
    op.execute("REVOKE ALL ON FUNCTION guardhouse_create_webhook_day(text, date) FROM PUBLIC")
    if not op.get_context().opts.get("single_role"):
        op.execute("GRANT EXECUTE ON FUNCTION guardhouse_create_webhook_day(text, date) TO guardhouse_system")
    for table in PARTITIONED:
        op.execute(
            f"SELECT guardhouse_create_webhook_day('{table}', (now() AT TIME ZONE 'UTC')::date + step)"  # noqa: S608 - a constant of this file
            " FROM generate_series(-1, 7) AS step"
        )


def downgrade() -> None:
    op.execute("DELETE FROM notice_cursors WHERE reader = 'webhooks'")
    for table in ("webhook_lanes", "webhook_replays", *reversed(PARTITIONED), "webhook_endpoints"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP SEQUENCE webhook_delivery_numbers")
    op.execute("DROP FUNCTION guardhouse_create_webhook_day(text, date)")
