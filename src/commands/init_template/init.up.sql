CREATE TABLE note (
    id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    title      text NOT NULL UNIQUE,
    body       text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
