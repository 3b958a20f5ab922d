//! The TLS handshake as lyrox's drivers do it, with a record of what the server showed: version,
//! certificate, days left. Knows no protocol above it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use super::Stream;
use crate::config::Endpoint;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::url::TlsMode;

/// Fewer days than this are worth a warning.
pub const SOON: i64 = 14;

/// An encrypted connection and what the server showed.
pub struct Peer {
    /// The connection.
    pub stream: Box<dyn Stream>,
    /// `1.3`.
    pub version: &'static str,
    /// Days until the certificate expires.
    pub days: Option<i64>,
    /// The server asked for a client's certificate, which it was not shown.
    pub asks_certificate: bool,
}

impl Peer {
    /// `1.3, verified, certificate good for 61 days`.
    pub fn words(&self, mode: TlsMode) -> String {
        let verified = match mode {
            TlsMode::Verified => "verified",
            TlsMode::VerifiedChain => "chain verified, name not",
            TlsMode::Unverified | TlsMode::Off => "not verified",
        };
        match self.days {
            Some(days) => format!("{}, {verified}, certificate good for {days} days", self.version),
            None => format!("{}, {verified}", self.version),
        }
    }

    /// The days left, where the certificate needs to be renewed soon.
    pub fn expires_soon(&self) -> Option<i64> {
        self.days.filter(|days| *days < SOON)
    }
}

/// Why a handshake failed.
pub enum Failure {
    /// The certificate was shown and is not good.
    Certificate(Error),
    /// What answered was not TLS, or the connection ended.
    NotTls,
    /// The authority's file cannot be used.
    Authority(Error),
}

/// Shakes hands within what the caller allows.
///
/// # Errors
/// [`Failure`]
pub async fn handshake(
    endpoint: &Endpoint,
    host: &str,
    ca_file: Option<&Path>,
    stream: Box<dyn Stream>,
) -> std::result::Result<Peer, Failure> {
    let mode = endpoint.url.tls();
    let roots = roots(endpoint, ca_file).map_err(Failure::Authority)?;
    let seen = Arc::new(Mutex::new(None));
    let verifier = Verifier { inner: Some(roots), mode, seen: Arc::clone(&seen) };
    let own = Arc::new(NoCertificate::default());
    match shake(host, verifier, Arc::clone(&own), stream).await {
        Ok(stream) => {
            let version = match stream.get_ref().1.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "1.3",
                Some(rustls::ProtocolVersion::TLSv1_2) => "1.2",
                _ => "of an unknown version",
            };
            let certificate = seen.lock().ok().and_then(|mut seen| seen.take());
            Ok(Peer {
                stream: Box::new(stream),
                version,
                days: certificate.and_then(|der| days_left(&der)),
                asks_certificate: own.was_asked.load(Ordering::Relaxed),
            })
        }
        Err(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            match inner {
                Some(rustls::Error::InvalidCertificate(problem)) => {
                    let certificate = seen.lock().ok().and_then(|mut seen| seen.take());
                    Err(Failure::Certificate(certificate_error(endpoint, host, problem, certificate.as_ref())))
                }
                Some(rustls::Error::AlertReceived(alert)) => Err(Failure::Certificate(alert_error(endpoint, *alert))),
                Some(rustls::Error::PeerIncompatible(_)) => Err(Failure::Certificate(
                    Error::new(Code::Tls, "the server's TLS is too old, or of another kind")
                        .why(format!("lyrox speaks TLS 1.2 and 1.3, and the server neither ({})", endpoint.origin))
                        .hint("switch TLS 1.2 or 1.3 on at the server (PostgreSQL: ssl_min_protocol_version)"),
                )),
                _ => Err(Failure::NotTls),
            }
        }
    }
}

/// The error of a server that ended the handshake with an alert.
pub fn alert_error(endpoint: &Endpoint, alert: rustls::AlertDescription) -> Error {
    use rustls::AlertDescription::{
        AccessDenied, BadCertificate, CertificateRequired, CertificateUnknown, HandshakeFailure, ProtocolVersion,
        UnknownCA,
    };
    match alert {
        CertificateRequired | BadCertificate | CertificateUnknown | UnknownCA | AccessDenied => client_wanted(endpoint)
            .why(format!("it ended the handshake with the alert {alert:?} ({})", endpoint.origin)),
        ProtocolVersion | HandshakeFailure => {
            Error::new(Code::Tls, "server and lyrox have no version of TLS in common")
                .why(format!("it sent the alert {alert:?}; lyrox speaks TLS 1.2 and 1.3 ({})", endpoint.origin))
                .hint("switch TLS 1.2 or 1.3 on at the server (PostgreSQL: ssl_min_protocol_version)")
        }
        _ => Error::new(Code::Tls, "the server broke the TLS handshake off")
            .why(format!("it sent the alert {alert:?} ({})", endpoint.origin))
            .hint("look at the server's log, and whether the host of the URL is a name that the server knows"),
    }
}

/// The error of a server that lets nobody in without a certificate.
pub fn client_wanted(endpoint: &Endpoint) -> Error {
    Error::new(Code::TlsClient, "the server asks for a client's certificate").hint(match endpoint.url.kind() {
        StoreKind::Postgres => "add `sslcert=FILE&sslkey=FILE` to the parameters of the URL",
        StoreKind::Mongodb => "add `tlsCertificateKeyFile=FILE` to the parameters of the URL",
        StoreKind::Redis => "set `tls-auth-clients no` on the server: lyrox shows Redis no certificate",
    })
}

/// Whether a server answers a handshake at all, whatever its certificate.
pub async fn answers(stream: Box<dyn Stream>, host: &str) -> bool {
    let verifier = Verifier { inner: None, mode: TlsMode::Unverified, seen: Arc::default() };
    match shake(host, verifier, Arc::default(), stream).await {
        Ok(_) => true,
        Err(error) => matches!(
            error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
            Some(rustls::Error::AlertReceived(_) | rustls::Error::PeerIncompatible(_))
        ),
    }
}

async fn shake(
    host: &str,
    verifier: Verifier,
    own: Arc<NoCertificate>,
    stream: Box<dyn Stream>,
) -> io::Result<tokio_rustls::client::TlsStream<Box<dyn Stream>>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(own);
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The authority's file: of the configuration, else of the URL.
fn authority(endpoint: &Endpoint, ca_file: Option<&Path>) -> Option<PathBuf> {
    let named = match endpoint.url.kind() {
        StoreKind::Postgres => endpoint.url.option("sslrootcert").filter(|file| *file != "system"),
        StoreKind::Mongodb => endpoint.url.option("tlsCAFile"),
        StoreKind::Redis => None,
    };
    ca_file.map(Path::to_owned).or_else(|| named.map(PathBuf::from))
}

fn roots(endpoint: &Endpoint, ca_file: Option<&Path>) -> Result<Arc<WebPkiServerVerifier>> {
    let mut store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = authority(endpoint, ca_file) {
        let shown = file.display();
        let bad = |code, why: String| {
            Error::new(code, format!("the certificate authority `{shown}` cannot be used"))
                .why(why)
                .hint(format!("mend `ca_file` under [{}] in lyrox.toml; it names a PEM file", endpoint.url.kind()))
        };
        let pem = std::fs::read(&file).map_err(|error| bad(Code::FileMissing, error.to_string()))?;
        let certificates: Vec<CertificateDer<'_>> =
            CertificateDer::pem_slice_iter(&pem).filter_map(std::result::Result::ok).collect();
        let (added, _) = store.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(bad(Code::Tls, "it holds no certificate in PEM form".into()));
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider)
        .build()
        .map_err(|_| Error::bug("the verifier of certificates cannot be built"))
}

fn days_left(der: &[u8]) -> Option<i64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().ok()?.as_secs()).ok()?;
    Some((certificate.validity().not_after.timestamp() - now).div_euclid(86_400))
}

fn is_signed_by_itself(der: &[u8]) -> bool {
    x509_parser::parse_x509_certificate(der).is_ok_and(|(_, certificate)| certificate.issuer() == certificate.subject())
}

/// The names that a certificate is good for, a few of them.
fn names(der: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(der) else { return Vec::new() };
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = alternative.value.general_names.iter().filter_map(|name| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
        x509_parser::extensions::GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(four) => Some(std::net::Ipv4Addr::from(four).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes).ok().map(|bytes| std::net::Ipv6Addr::from(bytes).to_string()),
        },
        _ => None,
    });
    names.take(4).collect()
}

fn certificate_error(endpoint: &Endpoint, host: &str, problem: &CertificateError, der: Option<&Vec<u8>>) -> Error {
    let kind = endpoint.url.kind();
    let error = |code, what: String| Error::new(code, what);
    let own = format!("name the authority's PEM file: `ca_file` under [{kind}] in lyrox.toml");
    let is_own = der.is_some_and(|der| is_signed_by_itself(der));
    match problem {
        CertificateError::UnknownIssuer if is_own => {
            error(Code::TlsAuthority, "the server's certificate is signed by itself".into())
                .why(format!("neither this machine nor `ca_file` knows it ({})", endpoint.origin))
                .hint(format!("copy it from the server and {own}"))
        }
        // An authority's own certificate in a server's place: naming it as the authority would not help.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            error(Code::TlsAuthority, "the server's certificate is signed by itself, as an authority's is".into())
                .why(format!("it says CA:TRUE, and no authority is a server ({})", endpoint.origin))
                .hint(format!("let it sign another certificate for the server (CA:FALSE), and {own}"))
        }
        CertificateError::UnknownIssuer => error(
            Code::TlsAuthority,
            "the server's certificate is signed by an authority that is not known here".into(),
        )
        .why(format!("neither this machine nor `ca_file` knows it ({})", endpoint.origin))
        .hint(match crate::url::provider::provider(&endpoint.url).name {
            name @ ("Supabase" | "Amazon RDS" | "Aiven" | "DigitalOcean") => {
                format!("download {name}'s certificate authority and {own}")
            }
            _ => own,
        }),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = der.map(|der| names(der)).unwrap_or_default();
            let good_for = if names.is_empty() { "another name".to_owned() } else { names.join(", ") };
            error(Code::TlsName, format!("the server's certificate is not for `{host}`"))
                .why(format!("it is for {good_for} ({})", endpoint.origin))
                .hint("use the name that the certificate is for as the host of the URL")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let since =
                der.and_then(|der| days_left(der)).map_or_else(String::new, |days| format!(" {} days ago", -days));
            error(Code::TlsExpired, format!("the server's certificate expired{since}"))
                .hint("renew it on the server; look at this machine's clock as well")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            error(Code::TlsEarly, "the server's certificate is not valid yet".into())
                .hint("look at the clocks of both machines")
        }
        _ => error(Code::TlsCertificate, "the server's certificate cannot be used".into())
            .why(unfit(der))
            .hint("let the server show a certificate for servers, version 3, signed by its authority"),
    }
}

/// Why a certificate that is neither too old nor for another name is of no use.
fn unfit(der: Option<&Vec<u8>>) -> &'static str {
    let unknown = "it is malformed, revoked or made for another purpose";
    let Some(Ok((_, certificate))) = der.map(|der| x509_parser::parse_x509_certificate(der)) else { return unknown };
    let uses = certificate.extended_key_usage().ok().flatten();
    if certificate.issuer() == certificate.subject() {
        "it is signed by itself: no authority vouches for it"
    } else if uses.is_some_and(|uses| !uses.value.server_auth && !uses.value.any) {
        "it is made for another purpose than a server's"
    } else {
        unknown
    }
}

/// Has no certificate to show, and remembers that one was asked for.
#[derive(Debug, Default)]
struct NoCertificate {
    was_asked: AtomicBool,
}

impl rustls::client::ResolvesClientCert for NoCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Judges as the mode asks, and keeps what it was shown.
#[derive(Debug)]
struct Verifier {
    inner: Option<Arc<WebPkiServerVerifier>>,
    mode: TlsMode,
    seen: Arc<Mutex<Option<Vec<u8>>>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if let Ok(mut seen) = self.seen.lock() {
            *seen = Some(end_entity.to_vec());
        }
        let Some(inner) = self.inner.as_ref().filter(|_| self.mode != TlsMode::Unverified) else {
            return Ok(ServerCertVerified::assertion());
        };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.mode == TlsMode::VerifiedChain => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
