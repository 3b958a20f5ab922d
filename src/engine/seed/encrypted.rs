//! Values that are stored encrypted with AES-256-GCM. The form is written down in `docs/seeds.md`, for the
//! application to read: nonce (12 bytes), ciphertext, tag (16 bytes), no associated data; as a text
//! `aes-256-gcm:` and the base64 of that. Knows no store.

use std::fmt;

use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

use crate::error::{Code, Error, Result};
use crate::secret::Secret;

/// What a stored text begins with.
pub const PREFIX: &str = "aes-256-gcm:";
const NONCE: usize = 12;

/// A text that is stored encrypted.
#[derive(Clone)]
pub struct Encrypted {
    text: Secret,
    cipher: Box<Aes256Gcm>,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Encrypted(***)")
    }
}

impl Encrypted {
    /// A text and the key: 32 bytes as 64 hexadecimal digits or as base64.
    ///
    /// # Errors
    /// Words for a key that is not 32 bytes; they say nothing of it but its length.
    pub fn new(text: Secret, key: &Secret) -> Result<Self, String> {
        let bytes = key_bytes(key.expose()).ok_or("it is neither 64 hexadecimal digits nor base64")?;
        let cipher = Aes256Gcm::new_from_slice(&bytes)
            .map_err(|_| format!("it holds {} bytes where AES-256 takes 32", bytes.len()))?;
        Ok(Self { text, cipher: Box::new(cipher) })
    }

    /// Encrypts under a new random nonce.
    ///
    /// # Errors
    /// The text is longer than the cipher takes (64 GB).
    pub fn seal(&self) -> Result<Vec<u8>> {
        let nonce: [u8; NONCE] = rand::random();
        let sealed = self
            .cipher
            .encrypt(&Nonce::from(nonce), self.text.expose().as_bytes())
            .map_err(|_| Error::new(Code::SeedFile, "a value cannot be encrypted"))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Whether stored bytes are this text under this key: then they are kept, and the row is unchanged.
    pub fn opens(&self, stored: &[u8]) -> bool {
        let Some((nonce, sealed)) = stored.split_at_checked(NONCE) else { return false };
        let Ok(nonce) = <[u8; NONCE]>::try_from(nonce) else { return false };
        self.cipher.decrypt(&Nonce::from(nonce), sealed).is_ok_and(|text| text == self.text.expose().as_bytes())
    }
}

/// Sealed bytes as a text.
pub fn to_text(sealed: &[u8]) -> String {
    format!("{PREFIX}{}", STANDARD.encode(sealed))
}

/// The sealed bytes of a text.
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text.strip_prefix(PREFIX)?).ok()
}

/// Bytes as PostgreSQL writes a `bytea`.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("\\x"), |mut text, byte| {
        use fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The bytes of a `bytea` as PostgreSQL writes it.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    hex(text.strip_prefix("\\x")?)
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

fn key_bytes(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    if text.len() == 64
        && let Some(bytes) = hex(text)
    {
        return Some(bytes);
    }
    [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD].into_iter().find_map(|form| form.decode(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted(text: &str, key: &str) -> Result<Encrypted, String> {
        Encrypted::new(Secret::unregistered(text), &Secret::unregistered(key))
    }

    #[test]
    fn the_form_is_that_of_the_standard() {
        // The GCM specification's test case 14: a key, a nonce and a text of zeros.
        let key = "0".repeat(64);
        let stored = "000000000000000000000000cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919";
        let value = encrypted(&"\0".repeat(16), &key).expect("a key");
        assert!(value.opens(&hex(stored).expect("digits")));
        assert!(!value.opens(&hex(&stored.replace("b919", "b918")).expect("digits")));
    }

    #[test]
    fn a_stored_value_is_kept_while_text_and_key_are_the_same() {
        let key = STANDARD.encode([7_u8; 32]);
        let value = encrypted("token-1", &key).expect("a key");
        let sealed = value.seal().expect("bytes");
        assert_ne!(sealed, value.seal().expect("bytes"), "a nonce is used once");
        assert!(value.opens(&sealed) && !value.opens(&[]) && !value.opens(&sealed[1..]));
        assert!(!encrypted("token-2", &key).expect("a key").opens(&sealed));
        assert!(!encrypted("token-1", &STANDARD.encode([8_u8; 32])).expect("a key").opens(&sealed));
        assert_eq!(from_text(&to_text(&sealed)).as_deref(), Some(sealed.as_slice()));
        assert_eq!(from_hex(&to_hex(&sealed)).as_deref(), Some(sealed.as_slice()));
        for short in ["", "abc!", &STANDARD.encode([1_u8; 16]), &"0".repeat(32)] {
            assert!(encrypted("x", short).is_err(), "{short}");
        }
    }
}
