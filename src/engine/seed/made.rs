//! Ids in the forms that applications use: cuid, cuid2, ULID, ObjectId. Without a name they are new, random
//! and begin with the time where their form says so; with a name they follow from it. Knows no store.

use std::sync::atomic::{AtomicU32, Ordering};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::ids::Origin;

/// The length of a cuid2 where none is given.
pub const CUID2_LENGTH: usize = 24;

/// The form of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `c` and 24 digits of base 36: time, counter, host, random.
    Cuid,
    /// A letter and base 36 digits, so many characters together (2 to 32), with no order.
    Cuid2(usize),
    /// 26 characters of Crockford's base 32: 48 bits of time, 80 random ones.
    Ulid,
    /// 12 bytes as hexadecimal digits: seconds, then random ones.
    ObjectId,
}

/// A new id.
pub fn new(form: Form, now: Timestamp) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let millis = u128::try_from(now.as_millisecond()).unwrap_or(0);
    let random: [u8; 32] = rand::random();
    let (first, second) = halves(&random);
    match form {
        Form::Cuid => {
            let count = u128::from(COUNT.fetch_add(1, Ordering::Relaxed));
            format!("c{}{}{}", base36(millis, 8), base36(count, 4), base36(first, 12))
        }
        Form::Cuid2(length) => cuid2(first, second, length),
        Form::Ulid => base32((millis << 80) | (first >> 48)),
        Form::ObjectId => {
            let seconds = u32::try_from(millis / 1000).unwrap_or(0);
            seconds.to_be_bytes().iter().chain(&random[..8]).map(|byte| format!("{byte:02x}")).collect()
        }
    }
}

/// The id that follows from a name: the same on every machine and in every run.
pub fn named(form: Form, origin: &Origin<'_>, name: &str) -> String {
    let word = match form {
        Form::Cuid => "cuid",
        Form::Cuid2(_) => "cuid2",
        Form::Ulid => "ulid",
        // The `_id` that a document of this name gets.
        Form::ObjectId => return origin.uuid(name).as_bytes()[..12].iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let text = [word, origin.project, origin.tenant, origin.store.name(), origin.target, name].join("\0");
    let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let (first, second) = halves(&hash);
    match form {
        Form::Cuid => format!("c{}", base36(first, 24)),
        Form::Cuid2(length) => cuid2(first, second, length),
        Form::Ulid | Form::ObjectId => base32(first),
    }
}

fn halves(bytes: &[u8; 32]) -> (u128, u128) {
    let half =
        |from: usize| bytes[from..from + 16].iter().fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    (half(0), half(16))
}

/// The last `width` digits of a number, leading zeros included.
fn digits(mut number: u128, alphabet: &[u8], width: usize) -> String {
    let base = alphabet.len() as u128;
    let mut text = vec![alphabet[0]; width];
    for place in text.iter_mut().rev() {
        *place = alphabet[usize::try_from(number % base).unwrap_or(0)];
        number /= base;
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn base36(number: u128, width: usize) -> String {
    digits(number, b"0123456789abcdefghijklmnopqrstuvwxyz", width)
}

/// 128 bits as 26 characters; the alphabet has no I, L, O and U.
fn base32(number: u128) -> String {
    digits(number, b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26)
}

fn cuid2(first: u128, second: u128, length: usize) -> String {
    let letter = digits(first % 26, b"abcdefghijklmnopqrstuvwxyz", 1);
    // Each half holds 24 digits: more than 32 characters are never asked for.
    let rest = format!("{}{}", base36(first / 26, 16), base36(second, 16));
    format!("{letter}{}", &rest[..length.clamp(2, 32) - 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::StoreKind;

    fn now() -> Timestamp {
        "2016-07-30T23:54:10.259Z".parse().expect("a time")
    }

    #[test]
    fn new_ids_have_their_form_and_are_never_the_same() {
        // The ULID specification's own example of a time: 01ARYZ6S41 is 1469918176385 ms.
        let time = Timestamp::from_millisecond(1_469_918_176_385).expect("a time");
        assert!(new(Form::Ulid, time).starts_with("01ARYZ6S41"));
        let cuid = new(Form::Cuid, now());
        assert!(cuid.len() == 25 && cuid.starts_with('c'), "{cuid}");
        let millis = i64::from_str_radix(&cuid[1..9], 36).expect("digits");
        assert_eq!(millis, now().as_millisecond());
        let object = new(Form::ObjectId, now());
        assert_eq!((object.len(), &object[..8]), (24, "579d3e22"), "{object}");
        for length in [2, 24, 32] {
            let id = new(Form::Cuid2(length), now());
            assert_eq!(id.len(), length);
            assert!(id.starts_with(|c: char| c.is_ascii_lowercase()));
            assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{id}");
        }
        for form in [Form::Cuid, Form::Cuid2(CUID2_LENGTH), Form::Ulid, Form::ObjectId] {
            assert_ne!(new(form, now()), new(form, now()), "{form:?}");
        }
    }

    #[test]
    fn named_ids_follow_from_their_name() {
        let origin = Origin { project: "p", tenant: "", store: StoreKind::Postgres, target: "User" };
        // Written down: a change of these values changes the ids of every seeded database.
        for (form, expected) in [
            (Form::Cuid, "cr65z1kbagcklxs406j62nt77"),
            (Form::Cuid2(CUID2_LENGTH), "u6sy88bvthgm7alsjttv67jv"),
            (Form::Ulid, "591EZ242AMYREH579P1MW6W3KX"),
            (Form::ObjectId, "ce748d10d62e58fa8907b3fc"),
        ] {
            assert_eq!(named(form, &origin, "pedro"), expected, "{form:?}");
            assert_ne!(named(form, &origin, "maya"), expected);
            assert_ne!(named(form, &Origin { tenant: "t", ..origin }, "pedro"), expected);
        }
    }
}
