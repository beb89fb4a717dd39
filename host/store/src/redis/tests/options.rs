//! The URL, and the password that nothing shows.

use crate::RedisOptions;
use std::time::Duration;

fn read(url: &str) -> RedisOptions {
    RedisOptions::read(url, None).unwrap()
}

#[test]
fn a_url_says_where_and_how() {
    let plain = read("redis://localhost");
    assert_eq!(plain.nodes, [("localhost".to_owned(), 6_379)]);
    assert!(!plain.tls && !plain.cluster);
    assert_eq!((plain.user.as_deref(), plain.password), (None, None));
    assert_eq!((plain.namespace.as_str(), plain.shards, plain.connections), ("default", None, 4));

    let all = read(
        "rediss://app:se%3Acret@[::1]:7000/3?namespace=prod.1&shards=16&connections=8\
         &attempt_ms=1500&patience_ms=9000&ca_file=%2Fetc%2Fca.pem",
    );
    assert_eq!(all.nodes, [("::1".to_owned(), 7_000)]);
    assert!(all.tls && !all.cluster);
    assert_eq!((all.user.as_deref(), all.database), (Some("app"), 3));
    assert_eq!(all.password.as_ref().unwrap().0, "se:cret");
    assert_eq!((all.namespace.as_str(), all.shards, all.connections), ("prod.1", Some(16), 8));
    assert_eq!((all.attempt, all.patience), (Duration::from_millis(1_500), Duration::from_secs(9)));
    assert_eq!(all.ca_file.unwrap().to_str(), Some("/etc/ca.pem"));

    let cluster = read("redis+cluster://a:1,b:2,c");
    assert!(cluster.cluster && !cluster.tls);
    assert_eq!(cluster.nodes.len(), 3);
    assert!(read("rediss+cluster://a").tls);
}

#[test]
fn a_password_comes_from_the_url_or_a_file_or_the_environment() {
    let environment = || Some("from-environment".to_owned());
    let password = |url: &str| {
        RedisOptions::read(url, environment()).unwrap().password.map(|password| password.0)
    };
    assert_eq!(password("redis://app@h").as_deref(), Some("from-environment"));
    assert_eq!(password("redis://app:here@h").as_deref(), Some("here"));
    // A password with characters that nobody encoded.
    assert_eq!(password("redis://:a/b@c@h:1/0").as_deref(), Some("a/b@c"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from-file\n").unwrap();
    let url = format!("redis://h?password_file={}", file.path().display());
    assert_eq!(password(&url).as_deref(), Some("from-file"));
}

#[test]
fn a_bad_url_says_what_is_wrong_and_never_the_password() {
    for (url, word) in [
        ("localhost:6379", "redis://"),
        ("http://:hidden@h", "rediss://"),
        ("redis://:hidden@", "host"),
        ("redis://:hidden@h:port", "65535"),
        ("redis://:hidden@h:0", "65535"),
        ("redis://:hidden@[::1", "]"),
        ("redis://:hidden@a,b", "redis+cluster"),
        ("redis+cluster://:hidden@a,b/2", "database 0"),
        ("redis://:hidden@h/x", "database"),
        ("redis://:hidden@h?namespace=a{b}", "namespace"),
        ("redis://:hidden@h?namespace=", "namespace"),
        ("redis://:hidden@h?shards=0", "1 to 4096"),
        ("redis://:hidden@h?connections=65", "1 to 64"),
        ("redis://:hidden@h?patience_ms=never", "patience_ms"),
        ("redis://:hidden@h?ca_file=x", "rediss"),
        ("redis://:hidden@h?password_file=x", "password_file"),
        ("redis://h?password_file=/no/such/file", "/no/such/file"),
        ("redis://:hidden@h?color=red", "color"),
        ("redis://:%ff@h", "UTF-8"),
    ] {
        let error = RedisOptions::read(url, None).unwrap_err();
        assert_eq!(error.code(), "store.bad_url", "{url}");
        let text = format!("{error} {error:?}");
        assert!(text.contains(word), "{url}: {text}");
        assert!(!text.contains("hidden"), "{text}");
    }
}

#[test]
fn nothing_shows_the_password() {
    let options = read("rediss://app:hidden@h/1?namespace=n");
    assert!(!format!("{options:?} {options:#?} {options}").contains("hidden"));
    assert_eq!(options.to_string(), "rediss://h:6379/1?namespace=n");
    let cluster = read("redis+cluster://a:1,b:2");
    assert_eq!(cluster.to_string(), "redis+cluster://a:1,b:2?namespace=default");
}
