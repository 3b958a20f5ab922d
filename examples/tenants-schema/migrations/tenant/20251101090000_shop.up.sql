-- One shop: names without a schema are made in `t_<slug>`. No table needs a tenant column.
CREATE TABLE settings (
    name  text PRIMARY KEY,
    value text NOT NULL
);
CREATE TABLE orders (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    number     text NOT NULL UNIQUE,
    total      numeric(12, 2) NOT NULL CHECK (total >= 0),
    ordered_at timestamptz NOT NULL DEFAULT now()
);
