"""Lists, rule packs and calibrations of tenants; feedback on detections."""

from alembic import op

from guardhouse.foundation.migrate import BY_ID, secure

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE detection_lists (
            tenant_id uuid NOT NULL,
            list_id uuid NOT NULL,
            name text NOT NULL,
            kind text NOT NULL CONSTRAINT detection_lists_kind_check CHECK (kind IN ('allow', 'deny')),
            version integer NOT NULL,
            entries jsonb NOT NULL,
            created_at timestamptz NOT NULL,
            created_by text NOT NULL,
            changed_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, list_id),
            UNIQUE (tenant_id, name)
        )""")
    secure("detection_lists", BY_ID)
    op.execute("""
        CREATE TABLE rule_packs (
            tenant_id uuid NOT NULL,
            name text NOT NULL,
            version integer NOT NULL,
            rules jsonb NOT NULL,
            made_at timestamptz NOT NULL,
            made_by text NOT NULL,
            PRIMARY KEY (tenant_id, name, version)
        )""")
    secure("rule_packs", BY_ID)
    op.execute("""
        CREATE TABLE tenant_calibrations (
            tenant_id uuid NOT NULL,
            calibration_id uuid NOT NULL,
            policy_id uuid NOT NULL,
            since timestamptz NOT NULL,
            until timestamptz NOT NULL,
            target_fpr double precision NOT NULL,
            channels jsonb NOT NULL,
            made_at timestamptz NOT NULL,
            made_by text NOT NULL,
            PRIMARY KEY (tenant_id, calibration_id)
        )""")
    secure("tenant_calibrations", BY_ID, tenant="SELECT, INSERT")
    op.execute("""
        CREATE TABLE detection_feedback (
            tenant_id uuid NOT NULL,
            detection_id uuid NOT NULL,
            given_by text NOT NULL,
            label text NOT NULL CONSTRAINT detection_feedback_label_check
                CHECK (label IN ('attack', 'benign', 'unsure')),
            comment text,
            text text,
            given_at timestamptz NOT NULL,
            PRIMARY KEY (tenant_id, detection_id, given_by)
        )""")
    secure("detection_feedback", BY_ID)


def downgrade() -> None:
    op.execute("DROP TABLE detection_feedback")
    op.execute("DROP TABLE tenant_calibrations")
    op.execute("DROP TABLE rule_packs")
    op.execute("DROP TABLE detection_lists")
