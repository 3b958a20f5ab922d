//! The names of lyrox's own keys, the prefix that holds the project's, and the slots of a cluster. Pure.

/// The keys of one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// What every key of the project begins with.
    pub prefix: String,
    /// What every key of lyrox's own begins with.
    own: String,
    is_cluster: bool,
}

impl Keys {
    /// The keys below a prefix. In a cluster lyrox's own must share one slot: they get a hash tag where the
    /// prefix has none.
    pub fn new(prefix: &str, is_cluster: bool) -> Self {
        let needs_tag = is_cluster && hash_tag(prefix.as_bytes()).is_none();
        let own = if needs_tag { format!("{prefix}{{lyrox}}:") } else { format!("{prefix}lyrox:") };
        Self { prefix: prefix.to_owned(), own, is_cluster }
    }

    /// Whether keys are spread over nodes.
    pub const fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.own)
    }

    /// Hash: a row per version.
    pub fn migrations(&self) -> String {
        self.named("migrations")
    }
    /// Hash: the text that was applied, per version.
    pub fn texts(&self) -> String {
        self.named("texts")
    }
    /// Hash: how far an unfinished migration is, per version.
    pub fn journal(&self) -> String {
        self.named("journal")
    }
    /// List: what happened.
    pub fn events(&self) -> String {
        self.named("events")
    }
    /// Hash: what migrations made outside the prefix, and the keys they set.
    pub fn owned(&self) -> String {
        self.named("owned")
    }
    /// Hash: the checksum under which a seed file was applied, per file.
    pub fn seeds(&self) -> String {
        self.named("seeds")
    }
    /// Hash: the registry of tenants or its copy, a record per key.
    pub fn tenants(&self) -> String {
        self.named("tenants")
    }
    /// Hash: users that a verification of tenants made and has not removed yet.
    pub fn verify(&self) -> String {
        self.named("verify")
    }
    /// String: the mark.
    pub fn environment(&self) -> String {
        self.named("environment")
    }
    /// String: the layout of all this.
    pub fn layout(&self) -> String {
        self.named("layout")
    }
    /// Hash: the snapshot and its head.
    pub fn snapshot(&self) -> String {
        self.named("snapshot")
    }
    /// String: a reset was begun and not finished.
    pub fn resetting(&self) -> String {
        self.named("resetting")
    }
    /// String: the lock.
    pub fn lock(&self) -> String {
        self.named("lock")
    }

    /// Whether a key is one of lyrox's own.
    pub fn is_own(&self, key: &[u8]) -> bool {
        key.starts_with(self.own.as_bytes()) || key.starts_with(format!("{}lyrox:", self.prefix).as_bytes())
    }

    /// Whether a key is one of the project's.
    pub fn is_ours(&self, key: &[u8]) -> bool {
        key.starts_with(self.prefix.as_bytes())
    }

    /// The pattern that matches every key below the prefix, and no other.
    pub fn pattern(&self) -> String {
        let mut pattern = String::with_capacity(self.prefix.len() + 1);
        for c in self.prefix.chars() {
            if "*?[]\\^-".contains(c) {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern.push('*');
        pattern
    }

    /// The slot of lyrox's own keys.
    pub fn own_slot(&self) -> u16 {
        slot(self.migrations().as_bytes())
    }
}

/// What stands between the first `{` and the next `}`, where that is not empty.
fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|byte| *byte == b'{')?;
    let length = key[open + 1..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &key[open + 1..open + 1 + length])
}

/// The slot of a key: CRC16 (XMODEM) of its hash tag, or of the whole key, modulo 16384.
pub fn slot(key: &[u8]) -> u16 {
    let mut crc: u16 = 0;
    for byte in hash_tag(key).unwrap_or(key) {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % 16384
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // Values of the cluster specification and of CLUSTER KEYSLOT.
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{}{bar}"), slot(b"foo{}{bar}"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
    }

    #[test]
    fn a_prefix_never_becomes_a_pattern() {
        assert_eq!(Keys::new("app:", false).pattern(), "app:*");
        assert_eq!(Keys::new("a*b?[c]\\:", false).pattern(), "a\\*b\\?\\[c\\]\\\\:*");
    }

    #[test]
    fn own_keys_share_a_slot_in_a_cluster() {
        let keys = Keys::new("app:", true);
        assert_eq!(slot(keys.lock().as_bytes()), slot(keys.events().as_bytes()));
        assert!(keys.lock().starts_with("app:") && keys.is_own(keys.lock().as_bytes()));
        let tagged = Keys::new("{app}:", true);
        assert_eq!(tagged.lock(), "{app}:lyrox:lock");
        assert_eq!(slot(tagged.lock().as_bytes()), slot(b"{app}:anything"));
    }
}
