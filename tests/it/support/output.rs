//! What a run of the binary printed and how it ended, with assertions that show all of it.

use std::fmt;

/// One finished run.
pub struct Output {
    /// The arguments, for messages.
    pub arguments: String,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// The exit code; 128 + signal where a signal ended it.
    pub code: i32,
}

impl Output {
    /// Takes the run's pieces.
    pub fn new(arguments: &[&str], output: &std::process::Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        Self {
            arguments: arguments.join(" "),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code,
        }
    }

    /// Fails the test unless the run ended with this exit code.
    #[track_caller]
    pub fn exit(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "\n{self}");
        self
    }

    /// Fails the test unless the run ended with 0.
    #[track_caller]
    pub fn ok(&self) -> &Self {
        self.exit(0)
    }

    /// Fails the test unless standard output or standard error holds the text.
    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "`{text}` is not in\n{self}");
        self
    }

    /// Fails the test if standard output or standard error holds the text.
    #[track_caller]
    pub fn never_says(&self, text: &str) -> &Self {
        assert!(!self.stdout.contains(text) && !self.stderr.contains(text), "`{text}` is in\n{self}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// The item of the JSON report with this id.
    #[track_caller]
    pub fn item(&self, id: &str) -> serde_json::Value {
        let report = self.json();
        let items = report["items"].as_array().expect("items").clone();
        items.into_iter().find(|item| item["id"] == id).unwrap_or_else(|| panic!("no item `{id}`\n{self}"))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "$ lyrox {}\n{}--- standard error\n{}--- exit {}",
            self.arguments, self.stdout, self.stderr, self.code
        )
    }
}
