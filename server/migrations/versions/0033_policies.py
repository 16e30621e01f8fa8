"""Policies that ban by themselves or propose it, what each of them did; and what happened in projects by the minute."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, BY_NO, secure

revision = "0033"
down_revision = "0030"
branch_labels = None
depends_on = None

OF_PROJECT = "FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, project_id)"


def upgrade() -> None:
    _policies()
    _streams()


def _policies() -> None:
    op.execute(f"""
        CREATE TABLE rule_policies (
            policy_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            project_id uuid NOT NULL,
            name text NOT NULL,
            cause jsonb NOT NULL,
            effect jsonb NOT NULL,
            mode text NOT NULL CONSTRAINT rule_policies_mode_check CHECK (mode IN ('observe', 'suggest', 'enforce')),
            max_per_hour integer NOT NULL,
            never text[] NOT NULL,
            target jsonb NOT NULL,
            enabled boolean NOT NULL,
            paused_at timestamptz,
            paused_by text,
            version integer NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            CONSTRAINT rule_policies_paused_check CHECK ((paused_at IS NULL) = (paused_by IS NULL)),
            {OF_PROJECT}
        )""")
    op.execute(
        "CREATE INDEX rule_policies_project_id_policy_id_idx ON rule_policies (tenant_id, project_id, policy_id)"
    )
    secure("rule_policies", BY_ID)
    op.execute(f"""
        CREATE TABLE rule_actions (
            action_id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            project_id uuid NOT NULL,
            policy_id uuid NOT NULL,
            address text NOT NULL,
            net text NOT NULL,
            state text NOT NULL CONSTRAINT rule_actions_state_check
                CHECK (state IN ('observed', 'proposed', 'accepted', 'dismissed', 'enforced', 'refused')),
            refused_for text,
            step integer NOT NULL,
            for_seconds integer NOT NULL,
            reason text NOT NULL,
            evidence jsonb NOT NULL,
            rule_id uuid,
            at timestamptz NOT NULL,
            until timestamptz NOT NULL,
            decided_by text,
            decided_at timestamptz,
            CONSTRAINT rule_actions_refused_check CHECK ((state = 'refused') = (refused_for IS NOT NULL)),
            {OF_PROJECT}
        )""")
    op.execute(
        "CREATE INDEX rule_actions_project_id_action_id_idx ON rule_actions (tenant_id, project_id, action_id)"
    )
    op.execute("CREATE INDEX rule_actions_policy_id_net_idx ON rule_actions (tenant_id, policy_id, net, at)")
    op.execute("CREATE INDEX rule_actions_policy_id_at_idx ON rule_actions (tenant_id, policy_id, at)")
    secure("rule_actions", BY_ID)


def _streams() -> None:
    op.execute("""
        CREATE TABLE event_minutes (
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            minute timestamptz NOT NULL,
            sealed_at timestamptz,
            late_at timestamptz,
            corrections integer NOT NULL,
            PRIMARY KEY (tenant_no, project_no, minute)
        )""")
    op.execute("CREATE INDEX event_minutes_open_idx ON event_minutes (minute) WHERE sealed_at IS NULL")
    op.execute("CREATE INDEX event_minutes_late_idx ON event_minutes (late_at) WHERE late_at IS NOT NULL")
    secure("event_minutes", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE event_streams (
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            minute timestamptz NOT NULL,
            correction integer NOT NULL,
            route text NOT NULL,
            made_at timestamptz NOT NULL,
            measured jsonb NOT NULL,
            PRIMARY KEY (tenant_no, project_no, minute, correction, route)
        )""")
    secure("event_streams", BY_NO, tenant="SELECT")
    op.execute("""
        CREATE TABLE event_routes (
            tenant_no bigint NOT NULL,
            project_no bigint NOT NULL,
            route text NOT NULL,
            PRIMARY KEY (tenant_no, project_no, route)
        )""")
    secure("event_routes", BY_NO, tenant="SELECT")


def downgrade() -> None:
    op.execute("DROP TABLE event_routes")
    op.execute("DROP TABLE event_streams")
    op.execute("DROP TABLE event_minutes")
    op.execute("DROP TABLE rule_actions")
    op.execute("DROP TABLE rule_policies")
