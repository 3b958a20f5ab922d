-- Integrations: what an organization is connected to, and what it wants to be told.

CREATE TABLE integrations (
    id                     uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id        uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    created_by             uuid REFERENCES users (id) ON DELETE SET NULL,
    provider               text NOT NULL,
    name                   text NOT NULL,
    status                 text NOT NULL DEFAULT 'active',
    -- Encrypted by the application: version, nonce and cipher text. Never in clear.
    encrypted_credentials  text NOT NULL,
    scopes                 text[] NOT NULL DEFAULT '{}',
    config                 jsonb NOT NULL DEFAULT '{}',
    metadata               jsonb NOT NULL DEFAULT '{}',
    last_synced_at         timestamptz,
    expires_at             timestamptz,
    created_at             timestamptz NOT NULL DEFAULT now(),
    updated_at             timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT integrations_key UNIQUE (organization_id, provider, name),
    CONSTRAINT integrations_provider_check CHECK (provider IN ('github', 'vercel', 'figma', 'slack', 'twitter')),
    CONSTRAINT integrations_status_check CHECK (status IN ('active', 'inactive', 'error')),
    CONSTRAINT integrations_credentials_check CHECK (encrypted_credentials LIKE 'v1:%')
);

CREATE TABLE webhooks (
    id               uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id  uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    integration_id   uuid NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
    url              text NOT NULL,
    secret_hash      text NOT NULL,
    events           text[] NOT NULL,
    is_active        boolean NOT NULL DEFAULT true,
    failure_count    integer NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_key UNIQUE (integration_id, url),
    CONSTRAINT webhooks_url_check CHECK (url LIKE 'https://%'),
    CONSTRAINT webhooks_events_check CHECK (cardinality(events) > 0),
    CONSTRAINT webhooks_failure_count_check CHECK (failure_count >= 0)
);

CREATE INDEX integrations_created_by_idx ON integrations (created_by);
CREATE INDEX integrations_organization_id_status_idx ON integrations (organization_id, status);
CREATE INDEX webhooks_organization_id_idx ON webhooks (organization_id);
CREATE INDEX webhooks_integration_id_is_active_idx ON webhooks (integration_id, is_active);
