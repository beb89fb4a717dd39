//! Where a server is.

use axum::http::Uri;
use std::fmt;

/// The address of a server, such as `http://127.0.0.1:9090`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

impl ServerAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is not the address of a server: {why}");
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| wrong("it is no URL"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("hosts speak plain http only")),
            _ => return Err(wrong("it does not begin with http://")),
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("it has a path or a query"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("no host"))?;
        Ok(Self { host: host.to_owned(), port: uri.port_u16().unwrap_or(80) })
    }

    /// Host and port.
    #[must_use]
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_address_is_plain_http() {
        let address = ServerAddress::parse("http://10.0.0.1:9090/").unwrap();
        assert_eq!(address.to_string(), "http://10.0.0.1:9090");
        assert_eq!(ServerAddress::parse("http://[::1]:7").unwrap().authority(), "[::1]:7");
        assert_eq!(ServerAddress::parse("http://flows").unwrap().authority(), "flows:80");
        for wrong in ["", "flows:9090", "https://flows", "http://flows/v1", "http://", "ftp://x"] {
            let said = ServerAddress::parse(wrong).unwrap_err();
            assert!(said.contains("is not the address"), "{wrong}: {said}");
        }
    }
}
