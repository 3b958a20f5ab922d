//! What must not happen by accident, tried on real servers whose own logs are the witnesses.

mod reset;
mod roles;
mod tls;
pub mod witness;
