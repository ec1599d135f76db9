//! TLS beside plain text on one port, with the settings of Java's `tls.*` keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// First byte of a TLS handshake record; no frame of ours begins with it, its length would exceed
/// the largest.
pub const HANDSHAKE_BYTE: u8 = 0x16;

/// What a listener does with encrypted and plain peers (`tls.server.mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Plain only: a TLS handshake is closed.
    Disabled,
    /// Both.
    #[default]
    Permissive,
    /// TLS only: plain text is closed.
    Enforcing,
}

/// Whether clients must show a certificate (`tls.server.need.client.auth`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    None,
    /// Checked if shown.
    Optional,
    /// A connection without one is refused.
    Require,
}

/// Settings of a listener.
#[derive(Debug, Clone, Default)]
pub struct TlsServerOptions {
    /// `tls.server.mode`.
    pub mode: TlsMode,
    /// `tls.server.certPath`: PEM, the chain, leaf first.
    pub cert_path: Option<PathBuf>,
    /// `tls.server.keyPath`: PEM, PKCS#8, not encrypted.
    pub key_path: Option<PathBuf>,
    /// `tls.server.need.client.auth`.
    pub client_auth: ClientAuth,
    /// `tls.server.trustCertPath`: PEM, who may sign client certificates.
    pub trust_cert_path: Option<PathBuf>,
    /// `tls.test.mode.enable`: without a certificate of its own, make a self-signed one at start.
    pub test_mode: bool,
}

/// Settings of a dialling side.
#[derive(Debug, Clone, Default)]
pub struct TlsClientOptions {
    /// `tls.client.trustCertPath`; without it, and only then, any certificate is accepted, as Java
    /// clients do while `tls.client.authServer` is false.
    pub trust_cert_path: Option<PathBuf>,
    /// `tls.client.certPath`.
    pub cert_path: Option<PathBuf>,
    /// `tls.client.keyPath`.
    pub key_path: Option<PathBuf>,
}

/// TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, unreadable, or not what it should be.
    #[error("{key} = {path:?}: {what}")]
    File {
        /// Java's key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Keys that need each other.
    #[error("{0}")]
    Incomplete(&'static str),
    /// Refused by the TLS library.
    #[error("TLS set-up failed: {0}")]
    Library(String),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        TlsError::Library(error.to_string())
    }
}

/// Builds the acceptor, or `None` when TLS is off: by mode, or in permissive mode without any
/// certificate.
///
/// # Errors
/// [`TlsError`] naming the key and file.
pub fn acceptor(options: &TlsServerOptions) -> Result<Option<tokio_rustls::TlsAcceptor>, TlsError> {
    if options.mode == TlsMode::Disabled {
        return Ok(None);
    }
    let (chain, key) = match (&options.cert_path, &options.key_path) {
        (Some(cert), Some(key)) => (
            read_chain("tls.server.certPath", cert)?,
            read_key("tls.server.keyPath", key)?,
        ),
        (None, None) if options.test_mode => self_signed()?,
        (None, None) if options.mode == TlsMode::Permissive => return Ok(None),
        _ => {
            return Err(TlsError::Incomplete(
                "tls.server.certPath and tls.server.keyPath are needed, both",
            ));
        }
    };
    let config = server_builder(options)?.with_single_cert(chain, key)?;
    Ok(Some(Arc::new(config).into()))
}

fn server_builder(
    options: &TlsServerOptions,
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    if options.client_auth == ClientAuth::None {
        return Ok(builder.with_no_client_auth());
    }
    let path = options.trust_cert_path.as_deref();
    let path = path.ok_or(TlsError::Incomplete(
        "tls.server.need.client.auth needs tls.server.trustCertPath",
    ))?;
    let roots = Arc::new(read_roots("tls.server.trustCertPath", path)?);
    let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if options.client_auth == ClientAuth::Optional {
        verifier = verifier.allow_unauthenticated();
    }
    let verifier = verifier
        .build()
        .map_err(|error| TlsError::Library(error.to_string()))?;
    Ok(builder.with_client_cert_verifier(verifier))
}

/// Builds the dialling side.
///
/// # Errors
/// [`TlsError`] naming the key and file.
pub fn connector(options: &TlsClientOptions) -> Result<tokio_rustls::TlsConnector, TlsError> {
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &options.trust_cert_path {
        Some(path) => builder.with_root_certificates(read_roots("tls.client.trustCertPath", path)?),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider()))),
    };
    let config = match (&options.cert_path, &options.key_path) {
        (Some(cert), Some(key)) => builder.with_client_auth_cert(
            read_chain("tls.client.certPath", cert)?,
            read_key("tls.client.keyPath", key)?,
        )?,
        (None, None) => builder.with_no_client_auth(),
        _ => {
            return Err(TlsError::Incomplete(
                "tls.client.certPath and tls.client.keyPath are needed, both",
            ));
        }
    };
    Ok(Arc::new(config).into())
}

/// The name a certificate is checked against: the host part of `host:port`.
pub(crate) fn server_name(address: &str) -> ServerName<'static> {
    let host = address
        .rsplit_once(':')
        .map_or(address, |(host, _)| host)
        .trim_matches(['[', ']']);
    ServerName::try_from(host.to_owned())
        .unwrap_or_else(|_| ServerName::try_from("localhost").expect("a valid name"))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read_pem(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|error| TlsError::File {
        key,
        path: path.to_owned(),
        what: error.to_string(),
    })
}

fn read_chain(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read_pem(key, path)?;
    let wrong = |what: String| TlsError::File {
        key,
        path: path.to_owned(),
        what,
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    if chain.is_empty() {
        Err(wrong("no certificate in PEM form is in it".into()))
    } else {
        Ok(chain)
    }
}

fn read_key(key: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read_pem(key, path)?;
    let wrong = |what: String| TlsError::File {
        key,
        path: path.to_owned(),
        what,
    };
    // "BEGIN ENCRYPTED PRIVATE KEY" of PKCS#8, "Proc-Type: 4,ENCRYPTED" of the older forms.
    if pem.windows(9).any(|text| text == b"ENCRYPTED") {
        return Err(wrong(
            "the private key is encrypted; give it decrypted, readable by the broker's user only"
                .into(),
        ));
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| wrong(error.to_string()))
}

fn read_roots(key: &'static str, path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(key, path)? {
        roots.add(certificate).map_err(|error| TlsError::File {
            key,
            path: path.to_owned(),
            what: error.to_string(),
        })?;
    }
    Ok(roots)
}

fn self_signed() -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let made = made.map_err(|error| TlsError::Library(error.to_string()))?;
    let key = PrivateKeyDer::try_from(made.key_pair.serialize_der())
        .map_err(|error| TlsError::Library(error.to_owned()))?;
    Ok((vec![made.cert.der().clone()], key))
}

/// Accepts every server certificate, but only with a valid handshake signature.
#[derive(Debug)]
struct AnyServer(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
