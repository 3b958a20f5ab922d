//! One piece of work over many tenants, as it is remembered: what is asked for, the units, their leases and ends. Plain
//! data; stores keep it (`stores/tenant_run.rs`), [`wave`](super::wave) decides who is next, [`fanout`](super::fanout) works.

use std::time::Duration;

use super::registry::{Record, State};
use crate::config::file::TenancyModel;
use crate::error::{Code, Error, Result};

/// How long a lease holds unless it is renewed, by the server's clock: after a kill, others wait this long.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often a process renews its leases.
pub const RENEWAL: Duration = Duration::from_secs(4);

/// What is done in each tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Its migrations.
    Migrate,
    /// A seed set.
    Seed,
    /// The proof that it is apart.
    Verify,
}

impl What {
    /// The word in the record of runs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Migrate => "migrate",
            Self::Seed => "seed",
            Self::Verify => "verify",
        }
    }

    /// Whether what concerns all tenants at once is a unit as well: [`WHOLE`], done before every other.
    pub const fn has_whole(self) -> bool {
        matches!(self, Self::Verify)
    }

    /// For so long a run that was cut short may be gone on with. What tries it proves is older than that proves nothing.
    pub const fn keeps(self) -> Option<Duration> {
        match self {
            Self::Migrate | Self::Seed => None,
            Self::Verify => Some(Duration::from_secs(3600)),
        }
    }
}

/// The place of the unit that is the whole of it and no tenant's: before the first one, in a wave of its own.
pub const WHOLE: i64 = -1;

/// Which tenants are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// All of the project.
    #[default]
    All,
    /// Those with these keys, or else these slugs.
    Named(Vec<String>),
}

impl Selection {
    /// Reads `all`, names with commas between them, or `@file` with a name on each line.
    ///
    /// # Errors
    /// A file that cannot be read, a list without a name.
    pub fn read(text: &str) -> Result<Self> {
        if text == "all" {
            return Ok(Self::All);
        }
        let names: Vec<String> = match text.strip_prefix('@') {
            Some(file) => {
                let listed = std::fs::read_to_string(file).map_err(|error| {
                    Error::new(Code::Usage, format!("`{file}` cannot be read"))
                        .why(error.to_string())
                        .data("nothing was contacted")
                })?;
                listed.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned).collect()
            }
            None => text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        };
        if names.is_empty() {
            return Err(Error::new(Code::Usage, format!("`{text}` names no tenant"))
                .data("nothing was contacted")
                .hint("--tenants all, --tenants KEY,KEY or --tenants @file"));
        }
        Ok(Self::Named(names))
    }
}

/// A run that is asked for.
#[derive(Clone, Debug)]
pub struct Want {
    /// What is done.
    pub what: What,
    /// In which tenants.
    pub selection: Selection,
    /// Tenants with one of these heads have nothing to do; none: all that are complete have.
    pub settled: Option<Vec<String>>,
    /// The digest of what is done and to whom: processes that are asked for the same share a run.
    pub digest: String,
    /// The tenants' model.
    pub model: TenancyModel,
    /// So many tenants go first, and nothing follows where one of them fails; 0: none.
    pub canary: u32,
    /// So many tenants begin at a time, and the next when all of them have ended; 0: all of them.
    pub wave: u32,
    /// With more failures than this nothing further is begun.
    pub max_failures: Option<u32>,
    /// Only tenants that failed in the last run of this kind.
    pub only_failed: bool,
}

impl Want {
    /// Whether a record is that of a tenant in which work may be done.
    pub fn is_complete(&self, record: &Record) -> bool {
        matches!(record.state, State::Active | State::Suspended) && record.model == self.model
    }

    /// Whether a record says that there is nothing to do.
    pub fn is_settled(&self, record: &Record) -> bool {
        match &self.settled {
            Some(heads) => record.head.as_ref().is_some_and(|head| heads.contains(head)),
            None => false,
        }
    }

    /// The wave of the unit at a place (from 0): the canary is wave 0, and others begin at 1.
    pub fn wave_of(&self, place: u64) -> u64 {
        let canary = u64::from(self.canary);
        match place.checked_sub(canary) {
            None => 0,
            Some(_) if self.wave == 0 => 1,
            Some(rest) => 1 + rest / u64::from(self.wave),
        }
    }
}

/// What one query tells before anything is begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Tenants that are meant.
    pub total: u64,
    /// Of these: complete and with nothing to do.
    pub settled: u64,
    /// Of these: complete and with something to do.
    pub behind: u64,
    /// A run of this kind was begun and has not ended.
    pub has_run: bool,
    /// Names that no tenant has.
    pub unknown: Vec<String>,
}

/// Tenants that are at the same version.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Group {
    /// The newest version of their migrations; none where none is applied.
    pub version: Option<String>,
    /// All that is there to apply is applied to them, as it is now.
    pub is_settled: bool,
    /// How many they are.
    pub tenants: u64,
}

/// A run as a process finds or begins it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Its id.
    pub id: String,
    /// It was begun before, and goes on.
    pub is_joined: bool,
    /// How many units it has.
    pub units: u64,
    /// How many of them have not ended.
    pub open: u64,
}

/// A unit to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its place in the run.
    pub place: i64,
    /// The tenant, as the registry has it now; none: it was removed since the run began, or this is [`WHOLE`].
    pub record: Option<Record>,
    /// What was found of it when the whole was looked at: code and sentence.
    pub found: Option<(String, String)>,
}

/// What a process gets when it asks for work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Units that are now leased to it.
    pub units: Vec<Unit>,
    /// How many units nobody has begun, or whose lease ran out.
    pub waiting: u64,
    /// How many are leased, to anyone.
    pub leased: u64,
    /// Nothing further is begun: the canary failed, or too many did.
    pub is_halted: bool,
}

impl Turn {
    /// Whether there is nothing left to wait for.
    pub fn is_over(&self) -> bool {
        self.units.is_empty() && self.leased == 0 && (self.waiting == 0 || self.is_halted)
    }
}

/// How a unit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// As it should be.
    Done,
    /// It failed, and nothing further is tried in this run: code and sentence.
    Failed(String, String),
    /// The tenant is none in which work may be done: why.
    Skipped(String),
    /// It was not begun, or could not be now: another may take it, at once or after a pause.
    Back(Duration),
}

/// The end of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its place in the run.
    pub place: i64,
    /// How.
    pub how: How,
    /// Its record as it is now, where the registry is to be told.
    pub record: Option<Record>,
    /// How long it took.
    pub elapsed: Duration,
    /// What the whole was found to say of single tenants: key, code and sentence. Their units fail by it.
    pub marks: Vec<(String, String, String)>,
}

impl Ended {
    /// The end of a unit.
    pub fn new(place: i64, how: How, record: Option<Record>, elapsed: Duration) -> Self {
        Self { place, how, record, elapsed, marks: Vec::new() }
    }
}

/// A unit that failed, as the record of the run has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The tenant's key; empty: the whole.
    pub key: String,
    /// The code.
    pub code: String,
    /// The sentence.
    pub error: String,
    /// This process tried it.
    pub is_own: bool,
}

/// A run as it ended, or as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Units that are as they should be, whoever did them.
    pub done: u64,
    /// Units that failed.
    pub failed: u64,
    /// Units whose tenants were none to work in.
    pub skipped: u64,
    /// Units that were not begun.
    pub left: u64,
    /// The failures, at most a thousand.
    pub failures: Vec<Failure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(canary: u32, wave: u32) -> Want {
        Want {
            what: What::Migrate,
            selection: Selection::All,
            settled: None,
            digest: String::new(),
            model: TenancyModel::Schema,
            canary,
            wave,
            max_failures: None,
            only_failed: false,
        }
    }

    #[test]
    fn the_canary_is_wave_nought() {
        let waves = |canary, wave| (0..7).map(|place| want(canary, wave).wave_of(place)).collect::<Vec<_>>();
        assert_eq!(waves(0, 0), [1, 1, 1, 1, 1, 1, 1]);
        assert_eq!(waves(2, 0), [0, 0, 1, 1, 1, 1, 1]);
        assert_eq!(waves(1, 2), [0, 1, 1, 2, 2, 3, 3]);
        assert_eq!(waves(0, 3), [1, 1, 1, 2, 2, 2, 3]);
    }

    #[test]
    fn a_selection_is_read_as_it_is_typed() {
        assert_eq!(Selection::read("all").expect("all"), Selection::All);
        let named = |names: &[&str]| Selection::Named(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(Selection::read("a,auth0|b").expect("names"), named(&["a", "auth0|b"]));
        assert!(Selection::read(",").is_err());
        assert!(Selection::read("@/no/such/file").is_err());
    }

    #[test]
    fn a_turn_is_over_when_nothing_can_follow() {
        let turn = |waiting, leased, is_halted| Turn { units: Vec::new(), waiting, leased, is_halted };
        assert!(turn(0, 0, false).is_over());
        assert!(turn(5, 0, true).is_over());
        assert!(!turn(5, 0, false).is_over(), "a wave that is to begin");
        assert!(!turn(0, 1, false).is_over(), "another may die");
        assert!(!turn(5, 1, true).is_over());
    }
}
