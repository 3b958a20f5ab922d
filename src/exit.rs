//! Exit codes: one documented constant per outcome, and the rule that lets one cause decide.

use schemars::JsonSchema;
use serde::Serialize;

/// What the process ends with. The numbers are a contract with scripts and CI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
pub enum Exit {
    /// Everything asked for was done.
    Done,
    /// A migration, seed, test, lint or expectation failed, or a leak was found.
    Failed,
    /// Wrong usage or configuration; nothing was contacted.
    Usage,
    /// Consent is missing or was declined.
    Consent,
    /// Cannot connect, TLS or authentication failed, or a local server cannot start.
    Connect,
    /// A lock was not obtained in time; trying again may help.
    Lock,
    /// The state needs a human: changed file, drift, wrong mark, in doubt.
    State,
    /// Some tenants failed, others are done.
    Tenants,
    /// `--check` found pending work.
    Pending,
    /// A bug in lyrox.
    Bug,
    /// Ended by SIGINT.
    Interrupted,
    /// Ended by SIGTERM.
    Terminated,
}

impl Exit {
    /// The number handed to the operating system.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Consent => 3,
            Self::Connect => 4,
            Self::Lock => 5,
            Self::State => 6,
            Self::Tenants => 7,
            Self::Pending => 8,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// Lower decides first: signal, bug, 2, 3, 4, 5, 6, 7, 1, 8, 0.
    const fn rank(self) -> u8 {
        match self {
            Self::Interrupted | Self::Terminated => 0,
            Self::Bug => 1,
            Self::Usage => 2,
            Self::Consent => 3,
            Self::Connect => 4,
            Self::Lock => 5,
            Self::State => 6,
            Self::Tenants => 7,
            Self::Failed => 8,
            Self::Pending => 9,
            Self::Done => 10,
        }
    }

    /// Of two causes, the one that decides the exit code.
    pub const fn decide(self, other: Self) -> Self {
        if other.rank() < self.rank() { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn one_cause_decides_in_the_documented_order() {
        let order = [
            Exit::Interrupted,
            Exit::Bug,
            Exit::Usage,
            Exit::Consent,
            Exit::Connect,
            Exit::Lock,
            Exit::State,
            Exit::Tenants,
            Exit::Failed,
            Exit::Pending,
            Exit::Done,
        ];
        for (index, first) in order.iter().enumerate() {
            for later in &order[index..] {
                assert_eq!(first.decide(*later), *first);
                assert_eq!(later.decide(*first), *first);
            }
        }
    }
}
