//! TLS, with an authority made for the test.

use super::server::{Server, free_port};
use crate::contract::{first, run_id};
use crate::{Redis, Store};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::path::Path;
use tempfile::TempDir;

/// Files `ca.pem`, `cert.pem`, `key.pem` of a server on 127.0.0.1.
fn write_certificates(directory: &Path) {
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&key, &authority).unwrap();
    std::fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(directory.join("cert.pem"), server.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
}

async fn server() -> (Server, u16, TempDir) {
    let files = tempfile::tempdir().unwrap();
    write_certificates(files.path());
    let port = free_port();
    let file = |name: &str| files.path().join(name).display().to_string();
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-ca-cert-file",
        &ca,
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
    ])
    .await;
    (server, port, files)
}

#[tokio::test]
async fn commits_go_through_tls() {
    let (_server, port, files) = server().await;
    let ca = files.path().join("ca.pem");
    let url = format!("rediss://127.0.0.1:{port}?ca_file={}", ca.display());
    let store = Redis::open(&super::options(&url)).await.unwrap();
    store.commit(first(1)).await.unwrap();
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(first(1).record));
}

#[tokio::test]
async fn a_certificate_of_somebody_else_is_refused() {
    let (_server, port, _files) = server().await;
    let stranger = tempfile::tempdir().unwrap();
    write_certificates(stranger.path());
    let ca = stranger.path().join("ca.pem");
    let url = format!("rediss://127.0.0.1:{port}?ca_file={}", ca.display());
    let error = Redis::open(&super::options(&url)).await.unwrap_err();
    assert_eq!(error.code(), "store.unavailable");
    assert!(error.to_string().contains("certificate"), "{error}");
    let missing = super::options(&format!("rediss://127.0.0.1:{port}?ca_file=/no/such/file"));
    let error = Redis::open(&missing).await.unwrap_err();
    assert!(error.to_string().contains("/no/such/file"), "{error}");
}
