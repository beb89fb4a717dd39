//! Which hosts a task may reach. The check is on the authority of the request's URI, before any
//! name is resolved: whoever grants a name trusts what it resolves to.

/// Whether one of the grants covers the host and port. A grant is `name` (ports 80 and 443),
/// `name:port` or `name:*` (any port); IPv6 addresses stand in brackets.
pub(crate) fn allows(grants: &[String], host: &str, port: u16) -> bool {
    grants.iter().any(|grant| {
        let (name, ports) = split(grant);
        same_host(name, host)
            && match ports {
                None => port == 80 || port == 443,
                Some("*") => true,
                Some(number) => number.parse() == Ok(port),
            }
    })
}

/// Splits a grant at the colon before its port, which is not one of those inside brackets.
fn split(grant: &str) -> (&str, Option<&str>) {
    match grant.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (grant, None),
    }
}

fn same_host(granted: &str, asked: &str) -> bool {
    let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    !granted.is_empty() && plain(granted) == plain(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_its_host_and_ports_and_nothing_else() {
        let grants = |text: &str| vec![text.to_owned()];
        assert!(allows(&grants("api.example.com"), "API.example.com.", 443));
        assert!(allows(&grants("api.example.com"), "api.example.com", 80));
        assert!(!allows(&grants("api.example.com"), "api.example.com", 8080));
        assert!(!allows(&grants("example.com"), "api.example.com", 443));
        assert!(!allows(&grants("example.com"), "example.com.evil.net", 443));
        assert!(allows(&grants("localhost:8080"), "localhost", 8080));
        assert!(!allows(&grants("localhost:8080"), "localhost", 80));
        assert!(allows(&grants("db:*"), "db", 1));
        assert!(allows(&grants("[::1]:9"), "[::1]", 9));
        assert!(allows(&grants("[::1]"), "[::1]", 80));
        assert!(!allows(&grants(""), "", 80));
        assert!(!allows(&grants("*"), "anything", 80));
        assert!(!allows(&[], "localhost", 80));
    }
}
