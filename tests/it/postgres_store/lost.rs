//! Connections that are lost, and the truth about what they left.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lyrox::config::file::Transaction;
use lyrox::config::{self, Choice, Targets};
use lyrox::engine::ledger::State;
use lyrox::engine::plan::Goal;
use lyrox::error::Code;
use lyrox::kind::StoreKind;
use lyrox::stores::Store as _;
use lyrox::stores::postgres::PostgresStore;

use super::{Bench, mark, place};
use crate::support::{block_on, sql};

#[test]
fn a_killed_session_rolls_back_and_the_truth_is_told() {
    let bench = Bench::new(
        "killed",
        &[
            ("1_a.up.sql", "CREATE TABLE a (id int);"),
            ("2_b.up.sql", "CREATE TABLE b (id int);\nSELECT pg_sleep(20);\n"),
        ],
    );
    let url = bench.project.postgres.clone();
    let killer = std::thread::spawn(move || kill_sleeper(&url));
    let applied = bench.run(&Goal::Latest, Transaction::Each);
    assert!(killer.join().expect("a killer"));
    let (index, error) = applied.failure.expect("a failure");
    assert_eq!((index, error.code()), (1, Code::ConnectClosed), "{error:?}");
    assert_eq!(
        error.data_text(),
        Some("rolled back by the server; nothing of this transaction was applied; 1_a stays applied")
    );
    assert_eq!(bench.states(), [("1".into(), State::Applied)]);
    assert!(!bench.has("b"));
}

/// Ends the session that sleeps, as an administrator would.
fn kill_sleeper(url: &str) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        let query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event = 'PgSleep'";
        if sql(url, query).is_ok_and(|rows| rows[0][0].as_deref() == Some("1")) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn a_killed_session_in_a_journaled_file_is_settled_by_the_next_run() {
    let bench = Bench::new(
        "cut",
        &[(
            "1_a.up.sql",
            "-- lyrox: no-transaction\nCREATE TABLE a (id int);\nDO $$ BEGIN PERFORM pg_sleep(20); END $$;\nCREATE TABLE b (id int);\n",
        )],
    );
    let url = bench.project.postgres.clone();
    let killer = std::thread::spawn(move || kill_sleeper(&url));
    let error = bench.fail();
    assert!(killer.join().expect("a killer"));
    assert_eq!(error.code(), Code::ConnectClosed, "{error:?}");
    assert!(
        error.data_text().is_some_and(|data| data.starts_with("steps 1 to 1 of 3 are in effect")),
        "{:?}",
        error.data_text()
    );

    // Nobody can tell whether the block took effect: a person is asked, with the exact command.
    let error = bench.fail();
    assert_eq!((error.code(), place(&error).1), (Code::InDoubt, 3), "{error:?}");
    let hint = error.hint_text().expect("a hint").to_owned();
    assert!(hint.contains("lyrox db repair --done 1 --only postgres"), "{hint}");
    bench.project.lyrox(&["db", "repair", "--done", "1", "--only", "postgres"]).ok();
    bench.migrate();
    assert!(bench.has("b"));
}

/// Stands between lyrox and the server. When armed it swallows the first answer that holds the needle, and
/// cuts the connection; then it lets others through, or none.
struct Proxy {
    port: u16,
    is_armed: Arc<AtomicBool>,
    has_cut: Arc<AtomicBool>,
}

impl Proxy {
    fn new(server: String, needle: &'static [u8], lets_through: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (is_armed, has_cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (armed, cut) = (is_armed.clone(), has_cut.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if cut.load(Ordering::SeqCst) && !lets_through {
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(&server) else { continue };
                let (armed, cut) = (armed.clone(), cut.clone());
                let (mut from_client, mut to_server) =
                    (client.try_clone().expect("a stream"), upstream.try_clone().expect("a stream"));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from_client, &mut to_server);
                    let _ = to_server.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || answer(upstream, client, &armed, &cut, needle));
            }
        });
        Self { port, is_armed, has_cut }
    }
}

fn answer(mut server: TcpStream, mut client: TcpStream, armed: &AtomicBool, cut: &AtomicBool, needle: &[u8]) {
    let mut bytes = [0; 65_536];
    while let Ok(count) = server.read(&mut bytes) {
        let is_found = bytes[..count].windows(needle.len()).any(|window| window == needle);
        if count > 0 && is_found && armed.load(Ordering::SeqCst) && !cut.swap(true, Ordering::SeqCst) {
            break;
        }
        if count == 0 || client.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

/// A bench whose connection goes through a proxy.
fn behind(name: &str, needle: &'static [u8], lets_through: bool) -> (Bench, Proxy) {
    let bench =
        Bench::new(name, &[("1_a.up.sql", "CREATE TABLE a (id int);"), ("2_b.up.sql", "INSERT INTO a VALUES (1);")]);
    let url = lyrox::url::parse(StoreKind::Postgres, &bench.project.postgres).expect("a URL");
    let server = format!("{}:{}", url.host().name, url.port_of(url.host()));
    let proxy = Proxy::new(server.clone(), needle, lets_through);
    let through = bench.project.postgres.replace(&server, &format!("127.0.0.1:{}", proxy.port));
    assert_ne!(through, bench.project.postgres);
    bench.project.write(".env", &format!("DATABASE_URL='{through}'\n"));
    let choice = Choice { directory: Some(bench.project.root().to_owned()), ..Choice::default() };
    let config = config::load(&choice).expect("a configuration");
    let targets = Targets::resolve(&config, &[], &Default::default()).expect("targets");
    (Bench { config, targets, ..bench }, proxy)
}

#[test]
fn a_commit_whose_answer_is_lost_is_told_truthfully() {
    let (bench, proxy) = behind("doubt", b"COMMIT\0", true);
    let mut store = bench.open();
    block_on(async {
        store.try_lock().await.expect("a lock");
        store.prepare(&mark()).await.expect("a ledger");
        let ledger = store.ledger().await.expect("a ledger");
        proxy.is_armed.store(true, Ordering::SeqCst);
        let applied = store
            .apply(&bench.steps(&ledger, &Goal::Latest), &bench.options(&ledger, Transaction::Each), &bench.events)
            .await;
        assert!(proxy.has_cut.load(Ordering::SeqCst));
        assert!(applied.failure.is_none(), "{:?}", applied.failure);
        assert_eq!(applied.done.len(), 2);
        store.unlock().await.expect("the lock given back");
        store.close().await;
    });
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "1");
}

#[test]
fn a_commit_that_cannot_be_asked_about_is_in_doubt() {
    let (bench, proxy) = behind("blind", b"COMMIT\0", false);
    let mut store = bench.open();
    block_on(async {
        store.try_lock().await.expect("a lock");
        store.prepare(&mark()).await.expect("a ledger");
        let ledger = store.ledger().await.expect("a ledger");
        proxy.is_armed.store(true, Ordering::SeqCst);
        let applied = store
            .apply(&bench.steps(&ledger, &Goal::Latest), &bench.options(&ledger, Transaction::Each), &bench.events)
            .await;
        let (index, error) = applied.failure.expect("a failure");
        assert_eq!((index, error.code()), (0, Code::InDoubt), "{error:?}");
        store.close().await;
    });
}

#[test]
fn connecting_fails_with_the_cause_and_a_hint() {
    let bench = Bench::new("connect", &[]);
    let url = lyrox::url::parse(StoreKind::Postgres, &bench.project.postgres).expect("a URL");
    let place = format!("{}:{}", url.host().name, url.port_of(url.host()));
    let user = url.user().expect("a user").to_owned();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute = format!("127.0.0.1:{}", silent.local_addr().expect("an address").port());
    let closed = format!(
        "127.0.0.1:{}",
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
    );
    std::thread::spawn(move || {
        for client in silent.incoming().map_while(Result::ok).take(1) {
            drop(client);
        }
    });
    for (url, code) in [
        (format!("postgres://{user}:wrong-secret-word@{place}/postgres"), Code::AuthPostgres),
        (url.with_database("no_such_database").expose(), Code::DatabaseMissing),
        (format!("postgres://{user}:wrong-secret-word@{closed}/x"), Code::ConnectRefused),
        (format!("postgres://{user}:wrong-secret-word@{mute}/x"), Code::ConnectClosed),
        (format!("postgres://{user}:wrong-secret-word@no-such-host.invalid/x"), Code::ConnectName),
        (format!("{}?sslmode=verify-full", url.expose()), Code::Tls),
    ] {
        bench.project.write(".env", &format!("DATABASE_URL='{url}'\n"));
        let choice = Choice { directory: Some(bench.project.root().to_owned()), ..Choice::default() };
        let config = config::load(&choice).expect("a configuration");
        let targets = Targets::resolve(&config, &[], &Default::default()).expect("targets");
        let opened = block_on(PostgresStore::open(&config, targets.get(StoreKind::Postgres).expect("a target")));
        let Err(error) = opened else { panic!("{code} expected") };
        assert_eq!(error.code(), code, "{error:?}");
        assert!(error.hint_text().is_some(), "{error:?}");
        assert!(!format!("{error:?} {:?}", error.hint_text()).contains("wrong-secret-word"));
    }
}
