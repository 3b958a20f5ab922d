//! Local servers, for real: started, found, killed, copied, moved, out of disk, fetched.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test says what it measured and why it was skipped")]

mod crash;
mod disk;
mod fetch;
mod life;
mod local;
mod rights;
