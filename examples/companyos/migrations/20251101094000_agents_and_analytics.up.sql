-- Agents: who they are, what they do, and together with whom. Analytics: what happened, and how much of it.

CREATE TABLE agents (
    id               uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id  uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    created_by       uuid REFERENCES users (id) ON DELETE SET NULL,
    name             text NOT NULL,
    kind             text NOT NULL,
    status           text NOT NULL DEFAULT 'idle',
    capabilities     text[] NOT NULL DEFAULT '{}',
    config           jsonb NOT NULL DEFAULT '{}',
    success_rate     numeric(5, 4),
    tasks_completed  integer NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agents_key UNIQUE (organization_id, name),
    CONSTRAINT agents_kind_check CHECK (kind IN ('development', 'design', 'social', 'analytics')),
    CONSTRAINT agents_status_check CHECK (status IN ('idle', 'working', 'paused', 'error')),
    CONSTRAINT agents_success_rate_check CHECK (success_rate BETWEEN 0 AND 1),
    CONSTRAINT agents_tasks_completed_check CHECK (tasks_completed >= 0)
);

CREATE TABLE agent_tasks (
    id                 uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id    uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    agent_id           uuid NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    parent_task_id     uuid REFERENCES agent_tasks (id) ON DELETE CASCADE,
    title              text NOT NULL,
    status             text NOT NULL DEFAULT 'pending',
    priority           integer NOT NULL DEFAULT 3,
    requires_approval  boolean NOT NULL DEFAULT false,
    approved_by        uuid REFERENCES users (id) ON DELETE SET NULL,
    input              jsonb NOT NULL DEFAULT '{}',
    output             jsonb,
    error              text,
    started_at         timestamptz,
    completed_at       timestamptz,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_tasks_status_check CHECK (status IN ('pending', 'running', 'completed', 'failed')),
    CONSTRAINT agent_tasks_priority_check CHECK (priority BETWEEN 1 AND 5),
    CONSTRAINT agent_tasks_completed_check CHECK (completed_at >= started_at)
);

CREATE TABLE agent_collaborations (
    id                    uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id       uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    task_id               uuid NOT NULL REFERENCES agent_tasks (id) ON DELETE CASCADE,
    requesting_agent_id   uuid NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    responding_agent_id   uuid NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    status                text NOT NULL DEFAULT 'requested',
    message               text,
    context               jsonb NOT NULL DEFAULT '{}',
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_collaborations_status_check CHECK (status IN ('requested', 'accepted', 'declined', 'done')),
    CONSTRAINT agent_collaborations_agents_check CHECK (requesting_agent_id <> responding_agent_id)
);

CREATE TABLE events (
    id               uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id  uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id          uuid REFERENCES users (id) ON DELETE SET NULL,
    agent_id         uuid REFERENCES agents (id) ON DELETE SET NULL,
    type             text NOT NULL,
    source           text NOT NULL,
    payload          jsonb NOT NULL DEFAULT '{}',
    occurred_at      timestamptz NOT NULL DEFAULT now(),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_type_check CHECK (type ~ '^[a-z_]+\.[a-z_]+$')
);

CREATE TABLE metrics (
    id               uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id  uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    agent_id         uuid REFERENCES agents (id) ON DELETE CASCADE,
    name             text NOT NULL,
    value            double precision NOT NULL,
    unit             text NOT NULL DEFAULT 'count',
    dimensions       jsonb NOT NULL DEFAULT '{}',
    recorded_at      timestamptz NOT NULL DEFAULT now(),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT metrics_unit_check CHECK (unit IN ('count', 'ms', 'percent', 'bytes'))
);

CREATE INDEX agents_created_by_idx ON agents (created_by);
CREATE INDEX agents_organization_id_status_idx ON agents (organization_id, status);
CREATE INDEX agent_tasks_organization_id_status_priority_idx ON agent_tasks (organization_id, status, priority);
CREATE INDEX agent_tasks_agent_id_created_at_idx ON agent_tasks (agent_id, created_at DESC);
CREATE INDEX agent_tasks_parent_task_id_idx ON agent_tasks (parent_task_id);
CREATE INDEX agent_tasks_approved_by_idx ON agent_tasks (approved_by);
CREATE INDEX agent_collaborations_organization_id_idx ON agent_collaborations (organization_id);
CREATE INDEX agent_collaborations_task_id_idx ON agent_collaborations (task_id);
CREATE INDEX agent_collaborations_requesting_agent_id_idx ON agent_collaborations (requesting_agent_id);
CREATE INDEX agent_collaborations_responding_agent_id_idx ON agent_collaborations (responding_agent_id);
CREATE INDEX events_organization_id_occurred_at_idx ON events (organization_id, occurred_at DESC);
CREATE INDEX events_organization_id_type_idx ON events (organization_id, type);
CREATE INDEX events_user_id_idx ON events (user_id);
CREATE INDEX events_agent_id_idx ON events (agent_id);
CREATE INDEX events_payload_idx ON events USING gin (payload);
CREATE INDEX metrics_organization_id_name_recorded_at_idx ON metrics (organization_id, name, recorded_at DESC);
CREATE INDEX metrics_agent_id_idx ON metrics (agent_id);
CREATE INDEX metrics_dimensions_idx ON metrics USING gin (dimensions);

-- Every table keeps its updated_at.
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON organizations FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON organization_members FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON integrations FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON webhooks FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON repositories FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON pull_requests FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON deployments FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON figma_files FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON design_components FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON social_accounts FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON social_posts FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON agents FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON agent_tasks FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON agent_collaborations FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON events FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER touch_updated_at BEFORE UPDATE ON metrics FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
