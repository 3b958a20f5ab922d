//! Values that are made, not copied: passwords, times, random ids. Knows no store.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use crate::error::{Code, Error, Result};
use crate::secret::Secret;

/// The names of the transforms, as `{ NAME = ... }` writes them.
pub const NAMES: [&str; 15] = [
    "ref",
    "argon2id",
    "bcrypt",
    "encrypted",
    "env",
    "now",
    "uuid",
    "cuid",
    "cuid2",
    "ulid",
    "objectid",
    "base64",
    "json",
    "literal",
    "null",
];

/// bcrypt's cost: about a quarter of a second.
const BCRYPT_COST: u32 = 12;

/// A password that is stored as a hash.
#[derive(Clone, Debug)]
pub enum Password {
    /// Argon2id with the library's parameters, as a PHC string.
    Argon2id(Secret),
    /// bcrypt.
    Bcrypt(Secret),
}

impl Password {
    /// Whether a stored hash is of this password: then it is kept, and the row is unchanged.
    pub fn keeps(&self, stored: &str) -> bool {
        match self {
            Self::Argon2id(password) => {
                stored.starts_with("$argon2id$")
                    && PasswordHash::new(stored).is_ok_and(|hash| {
                        Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok()
                    })
            }
            Self::Bcrypt(password) => bcrypt::verify(password.expose(), stored).unwrap_or(false),
        }
    }

    /// A new hash with a random salt.
    ///
    /// # Errors
    /// A password longer than the algorithm takes.
    pub fn hash(&self) -> Result<String> {
        let refuse = |why: String| Error::new(Code::SeedFile, "a password cannot be hashed").why(why);
        match self {
            Self::Argon2id(password) => Argon2::default()
                .hash_password(password.expose().as_bytes())
                .map(|hash| hash.to_string())
                .map_err(|error| refuse(error.to_string())),
            Self::Bcrypt(password) => bcrypt::non_truncating_hash(password.expose(), BCRYPT_COST)
                .map_err(|_| refuse("bcrypt takes 72 bytes and no NUL character".into())),
        }
    }
}

/// The instant that lies `offset` from `now`: `-2d`, `+1h30m`, empty for now itself.
///
/// # Errors
/// Words for a text that is no such offset.
pub fn instant(now: Timestamp, offset: &str) -> Result<Timestamp, String> {
    let wrong = || format!("`{offset}` is no distance in time; write it like `-2d`, `1h30m`, or leave it empty");
    let text = offset.trim();
    if text.is_empty() || text == "0" || text == "now" {
        return Ok(now);
    }
    let span: jiff::Span = text.trim_start_matches('+').parse().map_err(|_| wrong())?;
    let distance: SignedDuration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    now.checked_add(distance).map_err(|_| wrong())
}

/// A namespace of version 5 UUIDs: one of the four that RFC 9562 names, or any UUID.
///
/// # Errors
/// Words for a text that is neither.
pub fn namespace(text: &str) -> Result<Uuid, String> {
    match text {
        "dns" => Ok(Uuid::NAMESPACE_DNS),
        "url" => Ok(Uuid::NAMESPACE_URL),
        "oid" => Ok(Uuid::NAMESPACE_OID),
        "x500" => Ok(Uuid::NAMESPACE_X500),
        other => Uuid::parse_str(other)
            .map_err(|_| format!("`{other}` is no namespace; `dns`, `url`, `oid`, `x500` and any UUID are")),
    }
}

/// A random id.
///
/// # Errors
/// Words for a version that is not 4 or 7.
pub fn random_id(version: &str) -> Result<String, String> {
    match version {
        "v4" => Ok(Uuid::new_v4().to_string()),
        "v7" => Ok(Uuid::now_v7().to_string()),
        other => Err(format!("`{other}` is no version; `v4`, `v5` and `v7` are")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_kept_while_it_is_of_the_password() {
        for (password, other) in [
            (Password::Argon2id(Secret::new("temp-password-1")), Password::Argon2id(Secret::new("temp-password-2"))),
            (Password::Bcrypt(Secret::new("temp-password-1")), Password::Bcrypt(Secret::new("temp-password-2"))),
        ] {
            let hash = password.hash().expect("a hash");
            assert!(password.keeps(&hash) && !other.keeps(&hash));
            assert!(!password.keeps("temp-password-1") && !password.keeps(""));
            assert_ne!(hash, password.hash().expect("a hash"), "salted");
        }
        assert!(Password::Bcrypt(Secret::unregistered("x".repeat(73))).hash().is_err(), "never cut silently");
    }

    #[test]
    fn times_lie_before_and_after_now() {
        let now: Timestamp = "2025-11-10T12:00:00Z".parse().expect("a time");
        let shown = |offset: &str| instant(now, offset).map(|time| time.to_string());
        assert_eq!(shown("-2d"), Ok("2025-11-08T12:00:00Z".into()));
        assert_eq!(shown("+1h30m"), Ok("2025-11-10T13:30:00Z".into()));
        assert_eq!(shown(""), Ok("2025-11-10T12:00:00Z".into()));
        assert!(shown("yesterday").is_err() && shown("-1mo").is_err());
    }
}
