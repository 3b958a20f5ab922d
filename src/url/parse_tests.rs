//! The reader, held to what it promises.

use proptest::prelude::*;

use super::*;
use crate::url::TlsMode;

fn good(kind: StoreKind, text: &str) -> SecretUrl {
    parse(kind, text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
}

/// Everything a client would get, the password included.
fn parts(url: &SecretUrl) -> String {
    let password = url.password().map(Secret::expose);
    format!("{:?}", (url.user(), password, url.hosts(), url.database(), url.options(), url.tls() == TlsMode::Off))
}

#[test]
fn raw_passwords_are_read_right_and_named() {
    for (raw, named) in [
        ("??", "?"),
        ("p@ss", "@"),
        ("p:s/s", ":/"),
        ("a#b[c]", "#[]"),
        ("100%", "%"),
        ("%zz", "%"),
        ("x@y.z/a?b=c", "@/?"),
    ] {
        for (kind, text) in [
            (StoreKind::Postgres, format!("postgres://u:{raw}@db.example.com:5432/app?sslmode=require")),
            (StoreKind::Mongodb, format!("mongodb://u:{raw}@a.example.com:1,b.example.com:2/app?authSource=admin")),
            (StoreKind::Redis, format!("rediss://u:{raw}@r.example.com:6379/0")),
        ] {
            let url = good(kind, &text);
            assert_eq!(url.user(), Some("u"), "{text}");
            assert_eq!(url.password().map(Secret::expose), Some(raw), "{text}");
            assert!(url.host().name.ends_with(".example.com"), "{text}");
            assert!(url.problems().contains(&Problem::RawPassword(named.into())), "{text}: {:?}", url.problems());
        }
    }
}

#[test]
fn every_form_of_place_is_read() {
    let url = good(StoreKind::Postgres, "postgresql://u@%2Fvar%2Frun%2Fpostgresql:5433/db");
    assert_eq!((url.host().name.as_str(), url.host().port), ("/var/run/postgresql", Some(5433)));
    assert!(url.is_local() && url.host().is_socket());
    let url = good(StoreKind::Postgres, "postgresql:///db?host=/run/pg&port=5433&user=me&password=s%40cret");
    assert_eq!((url.host().name.as_str(), url.host().port), ("/run/pg", Some(5433)));
    assert_eq!((url.user(), url.database(), url.options().len()), (Some("me"), Some("db"), 0));
    assert_eq!(url.password().map(Secret::expose), Some("s@cret"));
    let url = good(StoreKind::Postgres, "postgres:///db?host=a,b&port=1,2");
    assert_eq!(url.authority(), "a:1,b:2");
    let url = good(StoreKind::Postgres, "POSTGRES://u:p@[fe80::1]:5/db");
    assert_eq!((url.host().name.as_str(), url.host().port), ("fe80::1", Some(5)));
    let url = good(StoreKind::Mongodb, "mongodb://u:p@%2Ftmp%2Fmongodb-27017.sock/db");
    assert_eq!(url.host().name, "/tmp/mongodb-27017.sock");
    let url = good(StoreKind::Mongodb, "mongodb+srv://u:p@c.abc.mongodb.net/?retryWrites=true");
    assert!(url.is_srv() && !url.is_local() && url.database().is_none());
    let url = good(StoreKind::Redis, "unix://u:p@/run/redis.sock?db=3");
    assert_eq!((url.host().name.as_str(), url.user(), url.database()), ("/run/redis.sock", Some("u"), Some("3")));
    let url = good(StoreKind::Redis, "redis+unix:///run/redis.sock?db=3&user=u&pass=p%3F");
    assert_eq!((url.user(), url.password().map(Secret::expose)), (Some("u"), Some("p?")));
    let url = good(StoreKind::Redis, "redis://justapassword@h");
    assert_eq!((url.user(), url.password().map(Secret::expose)), (None, Some("justapassword")));
}

#[test]
fn what_cannot_be_read_is_refused_without_quoting_it() {
    for (kind, text) in [
        (StoreKind::Postgres, "s3cr3t"),
        (StoreKind::Postgres, "s3cr3t://s3cr3t"),
        (StoreKind::Postgres, "redis://:s3cr3t@h"),
        (StoreKind::Postgres, "postgres://u:s3cr3t"),
        (StoreKind::Postgres, "postgres://u:p@s3cr3t s3cr3t/db"),
        (StoreKind::Postgres, "postgres://u:p@h:s3cr3t/db"),
        (StoreKind::Postgres, "postgres://u:p@h:0/s3cr3t"),
        (StoreKind::Postgres, "postgres://u:p@h/s3cr3t%"),
        (StoreKind::Postgres, "postgres://u:p@h/db?s3cr3t=%z"),
        (StoreKind::Postgres, "postgres://u:p@h#s3cr3t"),
        (StoreKind::Postgres, "postgres://u:p@[s3cr3t]/db"),
        (StoreKind::Postgres, "postgres://u:p@h/db?s3cr3t=1"),
        (StoreKind::Postgres, "host=h password=a s3cr3t"),
        (StoreKind::Postgres, "host=h password='a s3cr3t"),
        (StoreKind::Mongodb, "mongodb://u:p@/s3cr3t"),
        (StoreKind::Mongodb, "mongodb://:s3cr3t@h"),
        (StoreKind::Mongodb, "mongodb+srv://u:s3cr3t@h:27017/db"),
        (StoreKind::Mongodb, "mongodb+srv://u:s3cr3t@a,b/db"),
        (StoreKind::Redis, "redis://:p@h/s3cr3t"),
        (StoreKind::Redis, "https://s3cr3t.upstash.io"),
    ] {
        let error = parse(kind, text).expect_err(text);
        assert_eq!(error.code(), Code::UrlInvalid, "{text}");
        let shown = format!("{error:?} {:?}", error.hint_text());
        assert!(!shown.contains("s3cr3t"), "{text}: {shown}");
    }
}

fn password() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{1,24}",
        "[@:/?#%&=+\\[\\]]{1,12}",
        proptest::collection::vec(any::<char>().prop_filter("no NUL", |c| *c != '\0'), 1..16)
            .prop_map(|characters| characters.into_iter().collect()),
    ]
}

fn url(kind: StoreKind) -> impl Strategy<Value = SecretUrl> {
    let hosts = prop_oneof![
        Just(vec![Host { name: "db.example.com".into(), port: Some(1234) }]),
        Just(match kind {
            StoreKind::Redis => vec![Host { name: "a".into(), port: None }],
            _ => vec![Host { name: "a".into(), port: None }, Host { name: "b".into(), port: Some(2) }],
        }),
        Just(vec![Host { name: "::1".into(), port: Some(65535) }]),
        Just(vec![Host { name: "/var/run/x y@z.sock".into(), port: None }]),
    ];
    let database = match kind {
        StoreKind::Redis => "[1-9][0-9]?".boxed(),
        StoreKind::Mongodb => "[!#%&'()*+,.0-9:;<=>?@A-Z_a-z~-]{1,12}".boxed(),
        StoreKind::Postgres => "[ -~]{1,12}".boxed(),
    };
    let names = match kind {
        StoreKind::Postgres => "application_name|search_path|options",
        _ => "[a-z]{1,3}x",
    };
    let options = proptest::collection::vec((names, "[ -~]{0,12}"), 0..3);
    let user = match kind {
        StoreKind::Mongodb => password().prop_map(Some).boxed(),
        _ => proptest::option::of(password()).boxed(),
    };
    (user, password(), hosts, proptest::option::of(database), options).prop_map(
        move |(user, password, hosts, database, options)| SecretUrl {
            kind,
            scheme: schemes(kind)[0].into(),
            user,
            password: Some(Secret::unregistered(password)),
            hosts,
            database,
            options,
            is_insecure: false,
            problems: Vec::new(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_written_out_reads_back(url in prop_oneof![
        url(StoreKind::Postgres), url(StoreKind::Mongodb), url(StoreKind::Redis)
    ]) {
        let text = url.expose();
        let again = parse(url.kind(), &text).map_err(|error| TestCaseError::fail(format!("{text}: {error:?}")))?;
        prop_assert_eq!(parts(&again), parts(&url), "{}", text);
        let is_odd = |problem: &Problem| !matches!(problem, Problem::Placeholder | Problem::PlaceholderElsewhere | Problem::Repeated(_));
        prop_assert!(!again.problems().iter().any(is_odd), "{}: {:?}", text, again.problems());
    }

    #[test]
    fn a_raw_password_is_read_as_it_stands(raw in "[!-~]{1,24}") {
        // `%41` is an escape and `@h?user=` a place with a parameter: those have two readings.
        prop_assume!(!has_only_good_escapes(&raw) || !raw.contains('%'));
        for (kind, head, tail) in [
            (StoreKind::Postgres, "postgres://u", "h.example:5432/db?sslmode=require"),
            (StoreKind::Mongodb, "mongodb://u", "a:1,b:2/db?authSource=admin"),
            (StoreKind::Redis, "redis://", "[::1]:6379/1"),
        ] {
            let url = parse(kind, &format!("{head}:{raw}@{tail}"));
            let url = url.map_err(|error| TestCaseError::fail(format!("{raw}: {error:?}")))?;
            prop_assert_eq!(url.password().map(Secret::expose), Some(raw.as_str()));
            prop_assert_eq!(url.database(), Some(if kind == StoreKind::Redis { "1" } else { "db" }));
        }
    }

    #[test]
    fn an_unreadable_url_is_never_quoted(raw in "[!-~]{6,24}", tail in "[!-~]{0,12}") {
        for kind in StoreKind::ALL {
            for text in [raw.clone(), format!("{}://{raw}", schemes(kind)[0]), format!("{}://u:{raw}@{tail} ", schemes(kind)[0])] {
                if let Err(error) = parse(kind, &text) {
                    let shown = format!("{error:?} {:?}", error.hint_text());
                    prop_assert!(!shown.contains(&raw), "{}", shown);
                }
            }
        }
    }
}
