//! TLS beside plain text on one port, and what is said when it can't be set up.

mod common;

use std::path::{Path, PathBuf};

use common::*;
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use sluice_remoting::tls::{
    ClientAuth, HANDSHAKE_BYTE, TlsClientOptions, TlsError, TlsMode, TlsServerOptions, acceptor,
    connector,
};
use sluice_remoting::{Client, ClientOptions, RemotingError, Server, ServerOptions};
use tempfile::TempDir;

/// An authority, and the files of those it vouches for.
struct Authority {
    files: TempDir,
    certificate: Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        let authority = Authority {
            files: tempfile::tempdir().expect("a directory"),
            certificate,
            key,
        };
        authority.write("ca.pem", &authority.certificate.pem());
        authority
    }

    /// Certificate and key of `name`, signed.
    fn issue(&self, name: &str) -> (Option<PathBuf>, Option<PathBuf>) {
        let key = KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("parameters");
        let signed = params.signed_by(&key, &self.certificate, &self.key);
        let certificate = self.write(&format!("{name}.pem"), &signed.expect("signed").pem());
        let key = self.write(&format!("{name}.key"), &key.serialize_pem());
        (Some(certificate), Some(key))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn server(&self) -> TlsServerOptions {
        let (cert_path, key_path) = self.issue("server");
        TlsServerOptions {
            cert_path,
            key_path,
            trust_cert_path: Some(self.path("ca.pem")),
            ..TlsServerOptions::default()
        }
    }

    fn client(&self) -> TlsClientOptions {
        TlsClientOptions {
            trust_cert_path: Some(self.path("ca.pem")),
            ..TlsClientOptions::default()
        }
    }

    fn client_with_certificate(&self) -> TlsClientOptions {
        let (cert_path, key_path) = self.issue("client");
        TlsClientOptions {
            cert_path,
            key_path,
            ..self.client()
        }
    }
}

async fn start(tls: TlsServerOptions) -> (Server, Events) {
    let options = ServerOptions {
        tls,
        ..ServerOptions::default()
    };
    let (server, _, events) = serve(options).await;
    (server, events)
}

/// One request over TLS, or over plain text.
async fn ask(server: &Server, tls: Option<TlsClientOptions>) -> Result<String, RemotingError> {
    let options = ClientOptions {
        connect_timeout: PATIENCE,
        tls,
        ..ClientOptions::default()
    };
    let client = Client::new(options, script().0)?;
    let echo = request(ECHO, 0).with_body("hello");
    let address = server.address().to_string();
    let response = within(client.call(&address, echo, PATIENCE)).await?;
    let body = response.body;
    Ok(String::from_utf8(body.to_vec()).expect("text"))
}

#[tokio::test]
async fn tls_and_plain_text_share_a_port() {
    let authority = Authority::new();
    let (server, _events) = start(authority.server()).await;
    assert_eq!(ask(&server, None).await.expect("plain"), "hello");
    let tls = ask(&server, Some(authority.client())).await;
    assert_eq!(tls.expect("encrypted"), "hello");
    let any = ask(&server, Some(TlsClientOptions::default())).await;
    assert_eq!(any.expect("a client that checks nothing"), "hello");
}

#[tokio::test]
async fn test_mode_makes_a_certificate_of_its_own() {
    let options = TlsServerOptions {
        test_mode: true,
        ..TlsServerOptions::default()
    };
    let (server, _events) = start(options).await;
    let answer = ask(&server, Some(TlsClientOptions::default())).await;
    assert_eq!(answer.expect("encrypted"), "hello");
    let checked = ask(&server, Some(Authority::new().client())).await;
    let error = checked.expect_err("nobody vouches for it");
    assert!(matches!(error, RemotingError::Connect { .. }), "{error}");
}

#[tokio::test]
async fn large_answers_pass_through_tls_whole() {
    let authority = Authority::new();
    let (server, mut events) = start(authority.server()).await;
    let connector = connector(&authority.client()).expect("a connector");
    let tcp = tokio::net::TcpStream::connect(server.address())
        .await
        .expect("a connection");
    let name = "127.0.0.1".try_into().expect("a name");
    let stream = within(connector.connect(name, tcp)).await.expect("TLS");
    let mut peer = Peer::over(stream);
    for opaque in 0..3 {
        peer.send(&large(3_000_001, opaque)).await;
    }
    for opaque in 0..3 {
        let answer = peer.receive().await.expect("an answer");
        assert_eq!((answer.opaque, answer.body.len()), (opaque, 3_000_001));
    }
    peer.send(&request(HOLD, 9)).await;
    let held = events.held().await;
    assert!(held.connection().is_tls());
    held.refuse(2, "later");
    assert_eq!(peer.receive().await.expect("an answer").remark(), "later");
    peer.nothing_is_due().await;
}

#[tokio::test]
async fn the_end_of_an_encrypted_stream_is_announced() {
    let authority = Authority::new();
    let (server, _events) = start(authority.server()).await;
    let connector = connector(&authority.client()).expect("a connector");
    let tcp = tokio::net::TcpStream::connect(server.address())
        .await
        .expect("a connection");
    let name = "127.0.0.1".try_into().expect("a name");
    let stream = within(connector.connect(name, tcp)).await.expect("TLS");
    let mut peer = Peer::over(stream);
    peer.nothing_is_due().await;
    within(server.shutdown(PATIENCE)).await;
    let mut rest = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut peer.stream, &mut rest);
    assert_eq!(within(ended).await.expect("no truncation"), 0);
}

#[tokio::test]
async fn enforcing_refuses_plain_text() {
    let authority = Authority::new();
    let options = TlsServerOptions {
        mode: TlsMode::Enforcing,
        ..authority.server()
    };
    let (server, _events) = start(options).await;
    let mut plain = Peer::connect(server.address()).await;
    plain.send(&request(ECHO, 1)).await;
    assert!(plain.receive().await.is_none());
    let tls = ask(&server, Some(authority.client())).await;
    assert_eq!(tls.expect("encrypted"), "hello");
}

#[tokio::test]
async fn disabled_refuses_tls() {
    let authority = Authority::new();
    let options = TlsServerOptions {
        mode: TlsMode::Disabled,
        ..authority.server()
    };
    for options in [options, TlsServerOptions::default()] {
        let (server, _events) = start(options).await;
        let tls = ask(&server, Some(authority.client())).await;
        let error = tls.expect_err("TLS is off");
        assert!(matches!(error, RemotingError::Connect { .. }), "{error}");
        assert_eq!(ask(&server, None).await.expect("plain"), "hello");
    }
}

#[tokio::test]
async fn a_required_client_certificate_must_be_shown_and_vouched_for() {
    let authority = Authority::new();
    let options = TlsServerOptions {
        client_auth: ClientAuth::Require,
        ..authority.server()
    };
    let (server, _events) = start(options).await;
    let known = ask(&server, Some(authority.client_with_certificate())).await;
    assert_eq!(known.expect("a known client"), "hello");
    ask(&server, Some(authority.client()))
        .await
        .expect_err("no certificate");
    let stranger = Authority::new().client_with_certificate();
    let stranger = TlsClientOptions {
        trust_cert_path: Some(authority.path("ca.pem")),
        ..stranger
    };
    ask(&server, Some(stranger))
        .await
        .expect_err("a stranger's certificate");
}

#[tokio::test]
async fn an_optional_client_certificate_is_checked_if_shown() {
    let authority = Authority::new();
    let options = TlsServerOptions {
        client_auth: ClientAuth::Optional,
        ..authority.server()
    };
    let (server, _events) = start(options).await;
    for tls in [authority.client(), authority.client_with_certificate()] {
        assert_eq!(ask(&server, Some(tls)).await.expect("served"), "hello");
    }
    let other = Authority::new();
    let (cert_path, key_path) = other.issue("stranger");
    let stranger = TlsClientOptions {
        cert_path,
        key_path,
        ..authority.client()
    };
    ask(&server, Some(stranger))
        .await
        .expect_err("a stranger's certificate");
}

#[tokio::test]
async fn a_broken_handshake_costs_its_connection_only() {
    let authority = Authority::new();
    let (server, _events) = start(authority.server()).await;
    let mut broken = Peer::connect(server.address()).await;
    let record = [HANDSHAKE_BYTE, 3, 1, 0, 4, 0xFF, 0xFF, 0xFF, 0xFF];
    broken.send_bytes(&record).await;
    // An alert may come before the end; what counts is that it ends.
    let mut rest = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut broken.stream, &mut rest);
    let _ = within(ended).await;
    let tls = ask(&server, Some(authority.client())).await;
    assert_eq!(tls.expect("encrypted"), "hello");
}

fn server_error(options: &TlsServerOptions) -> TlsError {
    match acceptor(options) {
        Err(error) => error,
        Ok(_) => panic!("{options:?} must not pass"),
    }
}

#[track_caller]
fn names(error: &TlsError, key: &str, path: &Path) {
    let text = error.to_string();
    let file = path.file_name().expect("a name").to_string_lossy();
    assert!(
        text.contains(key) && text.contains(&*file),
        "{text:?} names not {key} and {file}"
    );
}

#[test]
fn a_bad_server_file_is_named_with_its_key() {
    let authority = Authority::new();
    let good = authority.server();
    let missing = authority.path("missing.pem");
    let garbage = authority.write("garbage.pem", "not a certificate");
    let broken = authority.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    );
    for path in [&missing, &garbage, &broken] {
        let options = TlsServerOptions {
            cert_path: Some(path.clone()),
            ..good.clone()
        };
        names(&server_error(&options), "tls.server.certPath", path);
        let options = TlsServerOptions {
            key_path: Some(path.clone()),
            ..good.clone()
        };
        names(&server_error(&options), "tls.server.keyPath", path);
        let options = TlsServerOptions {
            trust_cert_path: Some(path.clone()),
            client_auth: ClientAuth::Require,
            ..good.clone()
        };
        names(&server_error(&options), "tls.server.trustCertPath", path);
    }
}

#[test]
fn an_encrypted_key_is_called_so() {
    let authority = Authority::new();
    for (name, text) in [
        (
            "pkcs8.key",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
        ),
        (
            "pkcs1.key",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n",
        ),
    ] {
        let key = authority.write(name, text);
        let options = TlsServerOptions {
            key_path: Some(key.clone()),
            ..authority.server()
        };
        let error = server_error(&options);
        names(&error, "tls.server.keyPath", &key);
        assert!(error.to_string().contains("encrypted"), "{error}");
    }
}

#[test]
fn half_a_pair_and_a_missing_trust_are_named() {
    let authority = Authority::new();
    let good = authority.server();
    let without_key = TlsServerOptions {
        key_path: None,
        ..good.clone()
    };
    let without_cert = TlsServerOptions {
        cert_path: None,
        test_mode: true,
        ..good.clone()
    };
    let enforcing = TlsServerOptions {
        mode: TlsMode::Enforcing,
        ..TlsServerOptions::default()
    };
    for options in [without_key, without_cert, enforcing] {
        let error = server_error(&options).to_string();
        assert!(error.contains("tls.server.certPath"), "{error}");
        assert!(error.contains("tls.server.keyPath"), "{error}");
    }
    let without_trust = TlsServerOptions {
        client_auth: ClientAuth::Require,
        trust_cert_path: None,
        ..good
    };
    let error = server_error(&without_trust).to_string();
    assert!(error.contains("tls.server.trustCertPath"), "{error}");
}

#[test]
fn a_bad_client_file_is_named_with_its_key() {
    let authority = Authority::new();
    let good = authority.client_with_certificate();
    let missing = authority.path("missing.pem");
    let error = |options: TlsClientOptions| match connector(&options) {
        Err(error) => error,
        Ok(_) => panic!("{options:?} must not pass"),
    };
    let some = Some(missing.clone());
    let options = TlsClientOptions {
        trust_cert_path: some.clone(),
        ..good.clone()
    };
    names(&error(options), "tls.client.trustCertPath", &missing);
    let options = TlsClientOptions {
        cert_path: some.clone(),
        ..good.clone()
    };
    names(&error(options), "tls.client.certPath", &missing);
    let options = TlsClientOptions {
        key_path: some,
        ..good.clone()
    };
    names(&error(options), "tls.client.keyPath", &missing);
    let options = TlsClientOptions {
        key_path: None,
        ..good
    };
    let text = error(options).to_string();
    assert!(text.contains("tls.client.keyPath"), "{text}");
}
