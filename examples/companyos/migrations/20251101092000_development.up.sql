-- Development: repositories, what is asked to go into them, and where it runs.

CREATE TABLE repositories (
    id               uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id  uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    integration_id   uuid NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
    full_name        text NOT NULL,
    default_branch   text NOT NULL DEFAULT 'main',
    is_private       boolean NOT NULL DEFAULT true,
    metadata         jsonb NOT NULL DEFAULT '{}',
    last_pushed_at   timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT repositories_key UNIQUE (organization_id, full_name)
);

CREATE TABLE pull_requests (
    id               uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id  uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    repository_id    uuid NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    author_id        uuid REFERENCES users (id) ON DELETE SET NULL,
    number           integer NOT NULL,
    title            text NOT NULL,
    status           text NOT NULL DEFAULT 'open',
    review_status    text NOT NULL DEFAULT 'pending',
    source_branch    text NOT NULL,
    target_branch    text NOT NULL DEFAULT 'main',
    merged_at        timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pull_requests_key UNIQUE (repository_id, number),
    CONSTRAINT pull_requests_number_check CHECK (number > 0),
    CONSTRAINT pull_requests_status_check CHECK (status IN ('open', 'closed', 'merged')),
    CONSTRAINT pull_requests_review_status_check CHECK (review_status IN ('pending', 'approved', 'changes_requested')),
    CONSTRAINT pull_requests_merged_check CHECK ((status = 'merged') = (merged_at IS NOT NULL))
);

CREATE TABLE deployments (
    id               uuid PRIMARY KEY DEFAULT uuid_generate_v4(),
    organization_id  uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    repository_id    uuid NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    pull_request_id  uuid REFERENCES pull_requests (id) ON DELETE SET NULL,
    environment      text NOT NULL,
    status           text NOT NULL DEFAULT 'created',
    url              text,
    commit_sha       text NOT NULL,
    metadata         jsonb NOT NULL DEFAULT '{}',
    ready_at         timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT deployments_key UNIQUE (repository_id, environment, commit_sha),
    CONSTRAINT deployments_environment_check CHECK (environment IN ('production', 'preview')),
    CONSTRAINT deployments_status_check CHECK (status IN ('created', 'building', 'ready', 'error')),
    CONSTRAINT deployments_commit_sha_check CHECK (commit_sha ~ '^[0-9a-f]{40}$')
);

CREATE INDEX repositories_integration_id_idx ON repositories (integration_id);
CREATE INDEX pull_requests_organization_id_status_idx ON pull_requests (organization_id, status);
CREATE INDEX pull_requests_repository_id_review_status_idx ON pull_requests (repository_id, review_status);
CREATE INDEX pull_requests_author_id_idx ON pull_requests (author_id);
CREATE INDEX deployments_organization_id_environment_idx ON deployments (organization_id, environment);
CREATE INDEX deployments_repository_id_created_at_idx ON deployments (repository_id, created_at DESC);
CREATE INDEX deployments_pull_request_id_idx ON deployments (pull_request_id);
