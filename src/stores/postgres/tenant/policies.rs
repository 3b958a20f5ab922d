//! What the catalog says of row-level security on the project's tables.
