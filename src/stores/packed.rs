//! A migration's text as ledgers keep it: compressed, and only up to a limit. Pure.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;

/// Longer texts are not kept: the checksum alone tells an edit.
pub const LIMIT: usize = 1024 * 1024;

/// The text, compressed; none where it is too long to be kept.
pub fn pack(text: &str) -> Option<Vec<u8>> {
    if text.len() > LIMIT {
        return None;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).ok()?;
    encoder.finish().ok()
}

/// The text again; none where the bytes are not what [`pack`] makes.
pub fn unpack(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    // A damaged ledger must not fill the memory.
    ZlibDecoder::new(bytes).take(LIMIT as u64 + 1).read_to_string(&mut text).ok()?;
    (text.len() <= LIMIT).then_some(text)
}

/// [`pack`] for ledgers that hold text only.
pub fn pack_base64(text: &str) -> Option<String> {
    pack(text).map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// [`unpack`] of what [`pack_base64`] makes.
pub fn unpack_base64(text: &str) -> Option<String> {
    unpack(&base64::engine::general_purpose::STANDARD.decode(text).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_long_ones_are_not_kept() {
        let text = "[ { \"create\": \"é\" } ]\n".repeat(100);
        let packed = pack(&text).expect("a short text");
        assert!(packed.len() < text.len() / 4);
        assert_eq!(unpack(&packed).as_deref(), Some(text.as_str()));
        assert_eq!(unpack_base64(&pack_base64(&text).expect("a short text")).as_deref(), Some(text.as_str()));
        assert!(pack(&"x".repeat(LIMIT + 1)).is_none());
        assert!(unpack(b"nonsense").is_none());
        let bomb = ZlibEncoder::new(Vec::new(), Compression::best());
        let mut bomb = bomb;
        bomb.write_all(&vec![b'x'; LIMIT * 2]).expect("memory");
        assert!(unpack(&bomb.finish().expect("memory")).is_none());
    }
}
