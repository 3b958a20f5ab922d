//! Row-level security that keeps the tenants of shared tables apart: what is missing, and the statements that close it.
//! Pure.
