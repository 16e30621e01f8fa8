"""Usage: a row per request, sums per day, plans of tenants, what was told, and the API processes that live."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE usage_log (
            at timestamptz NOT NULL,
            tenant_id uuid NOT NULL,
            kind text NOT NULL,
            credential text NOT NULL,
            project_id uuid,
            method text NOT NULL,
            endpoint text NOT NULL,
            status smallint NOT NULL,
            request_bytes bigint NOT NULL,
            response_time_us bigint NOT NULL,
            items integer NOT NULL,
            channel text,
            decisions jsonb,
            threat_types text[],
            malicious_count integer,
            max_score_milli integer,
            degraded boolean,
            cached boolean
        ) PARTITION BY RANGE (at)""")
    op.execute("CREATE INDEX usage_log_tenant_id_at_idx ON usage_log (tenant_id, at)")
    op.execute("CREATE INDEX usage_log_tenant_id_credential_at_idx ON usage_log (tenant_id, credential, at)")
    secure("usage_log", BY_ID, tenant="SELECT")
    op.execute("""
        CREATE TABLE usage_daily (
            tenant_id uuid NOT NULL REFERENCES tenants,
            day date NOT NULL,
            kind text NOT NULL,
            credential text NOT NULL,
            method text NOT NULL,
            endpoint text NOT NULL,
            requests bigint NOT NULL,
            client_errors bigint NOT NULL,
            server_errors bigint NOT NULL,
            limited bigint NOT NULL,
            items bigint NOT NULL,
            request_bytes bigint NOT NULL,
            response_time_us bigint NOT NULL,
            PRIMARY KEY (tenant_id, day, kind, credential, method, endpoint)
        )""")
    secure("usage_daily", BY_ID, tenant="SELECT")
    op.execute("CREATE TABLE usage_days (day date PRIMARY KEY, summed_at timestamptz NOT NULL)")
    secure("usage_days", None)
    op.execute("""
        CREATE TABLE usage_told (
            tenant_id uuid NOT NULL REFERENCES tenants,
            subject text NOT NULL,
            kind text NOT NULL,
            told_at timestamptz NOT NULL,
            times bigint NOT NULL,
            PRIMARY KEY (tenant_id, subject, kind)
        )""")
    secure("usage_told", BY_ID, tenant="SELECT")
    op.execute("""
        CREATE TABLE plans (
            name text PRIMARY KEY,
            requests_per_minute integer CONSTRAINT plans_requests_per_minute_check CHECK (requests_per_minute > 0),
            requests_per_day integer CONSTRAINT plans_requests_per_day_check CHECK (requests_per_day > 0),
            version integer NOT NULL
        )""")
    secure("plans", None)
    op.execute("INSERT INTO plans VALUES ('unlimited', NULL, NULL, 1), ('basic', 600, 100000, 1)")
    op.execute("""
        CREATE TABLE tenant_plans (
            tenant_id uuid PRIMARY KEY REFERENCES tenants,
            plan text NOT NULL REFERENCES plans,
            changed_at timestamptz NOT NULL
        )""")
    secure("tenant_plans", BY_ID, tenant="SELECT")
    op.execute("""
        CREATE TABLE api_processes (
            process_id uuid PRIMARY KEY,
            seen_at timestamptz NOT NULL
        )""")
    secure("api_processes", None)


def downgrade() -> None:
    for table in (
        "api_processes",
        "tenant_plans",
        "plans",
        "usage_told",
        "usage_days",
        "usage_daily",
        "usage_log",
    ):
        op.execute(f"DROP TABLE {table}")
