# The same checks as CI.
check: format lint test

# Format check.
format:
    cargo fmt --all --check

# Clippy with warnings denied, and the licences and sources of all dependencies.
lint:
    cargo clippy --all-targets --locked -- -D warnings
    cargo deny check bans licenses sources

# The whole suite: starts its own servers.
test:
    cargo test --locked

# The other tools themselves on one database with lyrox, both ways: installs them into target/interop first.
interop:
    tests/interop/install
    cargo test --locked --test it interop:: -- --ignored --test-threads=2 --nocapture

# The promises under failure with the number of rounds that each names; or one of them: `just soak p07`.
soak promise="":
    LYROX_SOAK=1 cargo test --locked --test it promises::{{promise}} -- --test-threads=1 --nocapture

# Writes what is generated from code: docs/errors.md and docs/report.schema.json.
generate:
    LYROX_WRITE_GENERATED=1 cargo test --locked --test it generated

# Writes the screens in docs/screens: lyrox at a real terminal, on servers of its own. Needs Python 3.
screens:
    cargo build --release --locked
    python3 docs/screens/make.py target/release/lyrox
