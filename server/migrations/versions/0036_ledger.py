"""Runs and the ledger: five accounts per tenant, holds that are resolved exactly once, transfers in a chain.

The rules that keep money whole are constraints, so that no program can break them.
"""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

# What moves from where to where: first account debited, second credited.
KINDS = {
    "top_up": ("funding", "available"),
    "grant": ("funding", "available"),
    "hold": ("available", "held"),
    "post": ("held", "revenue"),
    "release": ("held", "available"),
    "expire": ("held", "available"),
    "refund": ("revenue", "available"),
    "withdraw": ("available", "funding"),
    "forfeit": ("available", "writeoff"),
}
_KIND_ROWS = ", ".join(f"('{kind}', '{debit}', '{credit}')" for kind, (debit, credit) in KINDS.items())


def upgrade() -> None:
    _books()
    _runs()
    _holds()
    _deposits()
    _budgets()
    _keys()


def _books() -> None:
    """Balances, transfers and the chain: written by ``ledger_post`` alone."""
    op.execute("""
        CREATE TABLE ledger_balances (
            tenant_id uuid PRIMARY KEY REFERENCES tenants,
            funding bigint NOT NULL,
            available bigint NOT NULL,
            held bigint NOT NULL,
            revenue bigint NOT NULL,
            writeoff bigint NOT NULL,
            seq bigint NOT NULL,
            block bigint NOT NULL,
            head bytea NOT NULL,
            CONSTRAINT ledger_balances_none_negative_check CHECK (
                funding >= 0 AND available >= 0 AND held >= 0 AND revenue >= 0 AND writeoff >= 0),
            CONSTRAINT ledger_balances_books_balance_check CHECK (
                funding = available + held + revenue + writeoff)
        ) WITH (fillfactor = 50)""")
    secure("ledger_balances", BY_ID, tenant="SELECT")
    op.execute(f"""
        CREATE TABLE ledger_transfers (
            tenant_id uuid NOT NULL,
            seq bigint NOT NULL,
            kind text NOT NULL,
            debit text NOT NULL,
            credit text NOT NULL,
            amount bigint NOT NULL,
            run_id uuid,
            ref text,
            created_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, seq),
            CONSTRAINT ledger_transfers_amount_check CHECK (amount > 0 AND amount % 100 = 0),
            CONSTRAINT ledger_transfers_kind_check CHECK ((kind, debit, credit) IN ({_KIND_ROWS}))
        )""")
    op.execute("CREATE INDEX ledger_transfers_run_id_idx ON ledger_transfers (tenant_id, run_id)")
    secure("ledger_transfers", BY_ID, tenant="SELECT")
    op.execute("""
        CREATE TABLE ledger_blocks (
            tenant_id uuid NOT NULL,
            block bigint NOT NULL,
            first_seq bigint NOT NULL,
            last_seq bigint NOT NULL,
            prev_hash bytea NOT NULL,
            hash bytea NOT NULL,
            PRIMARY KEY (tenant_id, block),
            CONSTRAINT ledger_blocks_span_check CHECK (last_seq >= first_seq)
        )""")
    secure("ledger_blocks", BY_ID, tenant="SELECT")


def _runs() -> None:
    op.execute("""
        CREATE TABLE runs (
            run_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            pack_type text NOT NULL,
            pack_version text NOT NULL,
            price_version text NOT NULL,
            status text NOT NULL CONSTRAINT runs_status_check CHECK (
                status IN ('QUEUED', 'PROCESSING', 'COMPLETED', 'FAILED', 'CANCELLED', 'EXPIRED')),
            money_state text NOT NULL CONSTRAINT runs_money_state_check CHECK (
                money_state IN ('RESERVED', 'SETTLED', 'REFUNDED', 'AUDIT_REQUIRED')),
            version bigint NOT NULL,
            inputs jsonb,
            inputs_sha256 bytea NOT NULL,
            quote_micros bigint NOT NULL,
            timebox_seconds integer NOT NULL,
            queue_seconds integer NOT NULL,
            min_reliability_milli integer,
            label text,
            meta jsonb NOT NULL,
            webhook_url text,
            idempotency_key text NOT NULL,
            fingerprint bytea NOT NULL,
            credential text NOT NULL,
            plan text NOT NULL,
            plan_version integer NOT NULL,
            attempt integer NOT NULL,
            max_attempts integer NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            queued_at timestamptz NOT NULL,
            started_at timestamptz,
            completed_at timestamptz,
            retention_until timestamptz NOT NULL,
            cancel_requested_at timestamptz,
            lease_token uuid,
            lease_expires_at timestamptz,
            finalize_stage text CONSTRAINT runs_finalize_stage_check CHECK (finalize_stage IN ('CLAIMED', 'COMMITTED')),
            finalize_token uuid,
            claimed_at timestamptz,
            reconcile_token uuid,
            result_objects jsonb,
            actual_micros bigint,
            reason_code text,
            error jsonb,
            is_open boolean NOT NULL GENERATED ALWAYS AS (status IN ('QUEUED', 'PROCESSING')) STORED,
            resolved_run_id uuid,
            charged bigint,
            refunded_micros bigint NOT NULL,
            CONSTRAINT runs_run_id_is_open_key UNIQUE (run_id, is_open),
            CONSTRAINT runs_tenant_id_idempotency_key_key UNIQUE (tenant_id, idempotency_key),
            CONSTRAINT runs_own_resolution_check CHECK (resolved_run_id = run_id),
            CONSTRAINT runs_open_or_resolved_check CHECK (is_open = (resolved_run_id IS NULL)),
            CONSTRAINT runs_resolved_with_charge_check CHECK ((resolved_run_id IS NULL) = (charged IS NULL)),
            CONSTRAINT runs_leased_check CHECK (status <> 'PROCESSING' OR lease_token IS NOT NULL),
            CONSTRAINT runs_claimed_check CHECK (
                (finalize_stage IS NULL) = (finalize_token IS NULL)
                AND (finalize_stage IS NULL OR (claimed_at IS NOT NULL AND actual_micros IS NOT NULL))),
            CONSTRAINT runs_settled_is_charged_check CHECK (money_state <> 'SETTLED' OR charged > 0),
            CONSTRAINT runs_reserved_is_open_check CHECK (money_state <> 'RESERVED' OR is_open),
            CONSTRAINT runs_ended_is_closed_check CHECK (money_state NOT IN ('SETTLED', 'REFUNDED') OR NOT is_open),
            CONSTRAINT runs_completed_has_result_check CHECK (
                status <> 'COMPLETED' OR (result_objects IS NOT NULL AND charged > 0)),
            CONSTRAINT runs_refunded_check CHECK (refunded_micros BETWEEN 0 AND coalesce(charged, 0))
        )""")
    op.execute("CREATE INDEX runs_tenant_id_run_id_idx ON runs (tenant_id, run_id)")
    op.execute("CREATE INDEX runs_queued_idx ON runs (tenant_id, queued_at, run_id) WHERE status = 'QUEUED'")
    op.execute("CREATE INDEX runs_lease_idx ON runs (lease_expires_at) WHERE status = 'PROCESSING'")
    op.execute("CREATE INDEX runs_claimed_idx ON runs (claimed_at) WHERE finalize_stage = 'CLAIMED'")
    op.execute(
        "CREATE INDEX runs_retention_idx ON runs (retention_until) WHERE NOT is_open AND status <> 'EXPIRED'"
    )
    op.execute("CREATE INDEX runs_resolved_idx ON runs (resolved_run_id, charged)")
    secure("runs", BY_ID, tenant="SELECT, INSERT, UPDATE")


def _holds() -> None:
    """One hold per run, resolved at most once and never while its run is open."""
    op.execute("""
        CREATE TABLE ledger_holds (
            run_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            amount bigint NOT NULL,
            created_at timestamptz NOT NULL,
            CONSTRAINT ledger_holds_run_id_amount_key UNIQUE (run_id, amount),
            CONSTRAINT ledger_holds_amount_check CHECK (amount BETWEEN 5000 AND 10000000000 AND amount % 100 = 0)
        )""")
    op.execute("CREATE INDEX ledger_holds_tenant_id_idx ON ledger_holds (tenant_id, run_id)")
    secure("ledger_holds", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE ledger_resolutions (
            run_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            run_open boolean NOT NULL,
            hold_amount bigint NOT NULL,
            outcome text NOT NULL,
            posted bigint NOT NULL,
            released bigint NOT NULL,
            reason text NOT NULL,
            resolved_at timestamptz NOT NULL,
            CONSTRAINT ledger_resolutions_run_id_posted_key UNIQUE (run_id, posted),
            CONSTRAINT ledger_resolutions_run_id_run_open_key UNIQUE (run_id, run_open),
            CONSTRAINT ledger_resolutions_run_open_check CHECK (NOT run_open),
            CONSTRAINT ledger_resolutions_outcome_check CHECK (outcome IN ('posted', 'voided', 'expired')),
            CONSTRAINT ledger_resolutions_whole_hold_check CHECK (
                posted >= 0 AND released >= 0 AND posted + released = hold_amount AND posted % 100 = 0),
            CONSTRAINT ledger_resolutions_posted_check CHECK ((outcome = 'posted') = (posted > 0))
        )""")
    op.execute("CREATE INDEX ledger_resolutions_hold_idx ON ledger_resolutions (run_id, hold_amount)")
    op.execute("CREATE INDEX ledger_resolutions_tenant_id_idx ON ledger_resolutions (tenant_id, run_id)")
    secure("ledger_resolutions", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE run_usage_daily (
            tenant_id uuid NOT NULL,
            usage_date date NOT NULL,
            pack_type text NOT NULL,
            price_version text NOT NULL,
            runs_count bigint NOT NULL,
            success_count bigint NOT NULL,
            fail_count bigint NOT NULL,
            cancelled_count bigint NOT NULL,
            cost_micros bigint NOT NULL,
            reserved_micros bigint NOT NULL,
            PRIMARY KEY (tenant_id, usage_date, pack_type, price_version)
        )""")
    secure("run_usage_daily", BY_ID, tenant="SELECT")


def _deposits() -> None:
    op.execute("""
        CREATE TABLE ledger_deposits (
            deposit_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            kind text NOT NULL CONSTRAINT ledger_deposits_kind_check CHECK (
                kind IN ('top_up', 'grant', 'withdraw', 'forfeit')),
            provider text NOT NULL,
            payment_ref text NOT NULL,
            amount bigint NOT NULL CONSTRAINT ledger_deposits_amount_check CHECK (amount > 0 AND amount % 100 = 0),
            method text NOT NULL,
            note text NOT NULL,
            actor text NOT NULL,
            created_at timestamptz NOT NULL,
            CONSTRAINT ledger_deposits_payment_ref_key UNIQUE (tenant_id, provider, payment_ref)
        )""")
    op.execute("CREATE INDEX ledger_deposits_tenant_id_idx ON ledger_deposits (tenant_id, deposit_id)")
    secure("ledger_deposits", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE ledger_refunds (
            refund_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            run_id uuid NOT NULL REFERENCES runs,
            amount bigint NOT NULL CONSTRAINT ledger_refunds_amount_check CHECK (amount > 0 AND amount % 100 = 0),
            reason text NOT NULL,
            actor text NOT NULL,
            created_at timestamptz NOT NULL
        )""")
    op.execute("CREATE INDEX ledger_refunds_run_id_idx ON ledger_refunds (run_id)")
    secure("ledger_refunds", BY_ID, tenant="SELECT, INSERT")


def _budgets() -> None:
    op.execute("""
        CREATE TABLE ledger_budgets (
            budget_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL REFERENCES tenants,
            scope text NOT NULL CONSTRAINT ledger_budgets_scope_check CHECK (scope IN ('tenant', 'key', 'label')),
            scope_id text NOT NULL,
            period text NOT NULL CONSTRAINT ledger_budgets_period_check CHECK (period IN ('day', 'month', 'total')),
            limit_micros bigint NOT NULL,
            used_micros bigint NOT NULL,
            period_start date NOT NULL,
            told_percent integer NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            CONSTRAINT ledger_budgets_scope_key UNIQUE (tenant_id, scope, scope_id, period),
            CONSTRAINT ledger_budgets_limit_check CHECK (
                used_micros >= 0 AND limit_micros > 0 AND used_micros <= limit_micros)
        )""")
    secure("ledger_budgets", BY_ID)
    op.execute("""
        CREATE TABLE ledger_budget_uses (
            run_id uuid NOT NULL REFERENCES runs,
            budget_id uuid NOT NULL REFERENCES ledger_budgets ON DELETE CASCADE,
            tenant_id uuid NOT NULL,
            period_start date NOT NULL,
            PRIMARY KEY (run_id, budget_id)
        )""")
    op.execute("CREATE INDEX ledger_budget_uses_budget_id_idx ON ledger_budget_uses (budget_id)")
    secure("ledger_budget_uses", BY_ID, tenant="SELECT, INSERT")


def _keys() -> None:
    """Add what points both ways; deferred, because run and hold (run and resolution) are made together."""
    later = "DEFERRABLE INITIALLY DEFERRED"
    keys = {
        "ledger_holds_run_id_fkey": ("ledger_holds", f"(run_id) REFERENCES runs (run_id) {later}"),
        "runs_run_id_fkey": ("runs", f"(run_id) REFERENCES ledger_holds (run_id) {later}"),
        "ledger_resolutions_run_id_hold_amount_fkey": (
            "ledger_resolutions",
            "(run_id, hold_amount) REFERENCES ledger_holds (run_id, amount)",
        ),
        "ledger_resolutions_run_id_run_open_fkey": (
            "ledger_resolutions",
            f"(run_id, run_open) REFERENCES runs (run_id, is_open) {later}",
        ),
        "runs_resolved_run_id_charged_fkey": (
            "runs",
            f"(resolved_run_id, charged) REFERENCES ledger_resolutions (run_id, posted) {later}",
        ),
    }
    for name, (table, key) in keys.items():
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY {key}")


def downgrade() -> None:
    op.execute("ALTER TABLE runs DROP CONSTRAINT runs_run_id_fkey")
    op.execute("ALTER TABLE runs DROP CONSTRAINT runs_resolved_run_id_charged_fkey")
    for table in (
        "ledger_budget_uses",
        "ledger_budgets",
        "ledger_refunds",
        "ledger_deposits",
        "run_usage_daily",
        "ledger_resolutions",
        "ledger_holds",
        "runs",
        "ledger_blocks",
        "ledger_transfers",
        "ledger_balances",
    ):
        op.execute(f"DROP TABLE {table}")
