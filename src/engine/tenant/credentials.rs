//! Passwords of tenants' users: made here, handed out once, stored nowhere.

use rand::RngExt as _;

use super::Tenant;
use crate::config::file::{Tenancy, TenancyModel};
use crate::config::{Target, Targets};
use crate::error::Result;
use crate::kind::StoreKind;
use crate::secret::Secret;
use crate::url::SecretUrl;

/// So many characters of 62 are 190 bits.
const LENGTH: usize = 32;

/// What one user logs in with.
#[derive(Clone, Debug)]
pub struct Login {
    /// The tenant.
    pub tenant: Tenant,
    /// The store.
    pub store: StoreKind,
    /// The whole URL, password included.
    pub url: SecretUrl,
}

/// Takes passwords on, once: a file, a terminal. Called before the tenants can be served.
pub trait Keeper {
    /// Takes them; they are safe when this returns.
    ///
    /// # Errors
    /// A file that cannot be written: the tenants stay pending.
    fn keep(&self, logins: &[Login]) -> Result<()>;

    /// After the last of them.
    ///
    /// # Errors
    /// What they went to cannot be closed.
    fn finish(&self) -> Result<()> {
        Ok(())
    }
}

/// Knows nobody: the passwords are lost, and new ones are made when they are wanted.
pub struct Nobody;

impl Keeper for Nobody {
    fn keep(&self, _logins: &[Login]) -> Result<()> {
        Ok(())
    }
}

/// A password that no dictionary has: letters and digits, so that it reads the same in every URL and file.
pub fn password() -> Secret {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    // The generator is the operating system's seed stretched by a cipher: fit for secrets.
    let mut random = rand::rng();
    let text: String = (0..LENGTH).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
    // Not searched for in output: a thousand of them would slow it, and no message is made of one.
    Secret::unregistered(text)
}

/// The stores in which a tenant has a user of its own: in the model `row` rows and documents are shared by all, and so are
/// the users that reach them.
pub fn stores(tenancy: &Tenancy, targets: &Targets) -> Vec<StoreKind> {
    if !tenancy.users {
        return Vec::new();
    }
    let has = |kind: &StoreKind| tenancy.model != TenancyModel::Row || *kind == StoreKind::Redis;
    targets.stores.iter().map(|target| target.kind).filter(has).collect()
}

/// With what a tenant's user logs in.
pub fn login(tenant: &Tenant, target: &Target, tenancy: &Tenancy, password: Secret) -> Login {
    let url = target.app.url.with_login(&tenant.name(), password);
    let url = match target.kind {
        StoreKind::Postgres if tenancy.model == TenancyModel::Database => url.with_database(&tenant.name()),
        StoreKind::Mongodb => url.with_database(&tenant.name()).with_option("authSource", &tenant.name()),
        StoreKind::Postgres | StoreKind::Redis => url,
    };
    Login { tenant: tenant.clone(), store: target.kind, url }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, two) = (password(), password());
        assert_eq!(one.expose().len(), LENGTH);
        assert_ne!(one.expose(), two.expose());
        assert!(one.expose().chars().all(|c| c.is_ascii_alphanumeric()));
    }
}
