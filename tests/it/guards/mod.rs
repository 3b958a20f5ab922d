//! What must not happen by accident, tried on real servers whose own logs are the witnesses.

mod hostile;
mod reset;
mod roles;
mod tls;
pub mod witness;
