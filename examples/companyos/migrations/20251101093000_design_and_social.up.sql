-- Design: files and the components in them. Social: accounts and what is posted there.

CREATE TABLE figma_files (
    id                uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id   uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    integration_id    uuid NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
    file_key          text NOT NULL,
    name              text NOT NULL,
    metadata          jsonb NOT NULL DEFAULT '{}',
    last_modified_at  timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT figma_files_key UNIQUE (organization_id, file_key)
);

CREATE TABLE design_components (
    id               uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id  uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    figma_file_id    uuid NOT NULL REFERENCES figma_files (id) ON DELETE CASCADE,
    repository_id    uuid REFERENCES repositories (id) ON DELETE SET NULL,
    node_id          text NOT NULL,
    name             text NOT NULL,
    kind             text NOT NULL DEFAULT 'component',
    properties       jsonb NOT NULL DEFAULT '{}',
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT design_components_key UNIQUE (figma_file_id, node_id),
    CONSTRAINT design_components_kind_check CHECK (kind IN ('component', 'variant', 'style'))
);

CREATE TABLE social_accounts (
    id               uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id  uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    integration_id   uuid NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
    platform         text NOT NULL,
    handle           text NOT NULL,
    is_active        boolean NOT NULL DEFAULT true,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT social_accounts_key UNIQUE (organization_id, platform, handle),
    CONSTRAINT social_accounts_platform_check CHECK (platform IN ('twitter', 'linkedin', 'mastodon'))
);

CREATE TABLE social_posts (
    id                 uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id    uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    social_account_id  uuid NOT NULL REFERENCES social_accounts (id) ON DELETE CASCADE,
    author_id          uuid REFERENCES users (id) ON DELETE SET NULL,
    content            text NOT NULL,
    status             text NOT NULL DEFAULT 'draft',
    scheduled_at       timestamptz,
    published_at       timestamptz,
    engagement         jsonb NOT NULL DEFAULT '{}',
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT social_posts_status_check CHECK (status IN ('draft', 'scheduled', 'published', 'failed')),
    CONSTRAINT social_posts_content_check CHECK (length(content) BETWEEN 1 AND 500),
    CONSTRAINT social_posts_scheduled_check CHECK (status <> 'scheduled' OR scheduled_at IS NOT NULL),
    CONSTRAINT social_posts_published_check CHECK (status <> 'published' OR published_at IS NOT NULL)
);

CREATE INDEX figma_files_integration_id_idx ON figma_files (integration_id);
CREATE INDEX design_components_organization_id_idx ON design_components (organization_id);
CREATE INDEX design_components_repository_id_idx ON design_components (repository_id);
CREATE INDEX social_accounts_integration_id_idx ON social_accounts (integration_id);
CREATE INDEX social_posts_organization_id_status_idx ON social_posts (organization_id, status);
CREATE INDEX social_posts_social_account_id_idx ON social_posts (social_account_id);
CREATE INDEX social_posts_author_id_idx ON social_posts (author_id);
-- The scheduler looks for what is due.
CREATE INDEX social_posts_scheduled_at_idx ON social_posts (scheduled_at) WHERE status = 'scheduled';
