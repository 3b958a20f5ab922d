//! What a customer's data meets: hostile names and bundles, triggers, rights, others at work at the same moment.

mod bundles;
mod making;
mod removal;
