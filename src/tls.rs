//! TLS: the facts about an encrypted connection, and the configuration of a server. Needs the feature `tls`.
//!
//! This crate encrypts with [rustls] and does not choose the crypto provider. A program chooses it with a
//! feature of rustls in its `Cargo.toml`:
//!
//! ```toml
//! [dependencies]
//! backport = { version = "0.1", features = ["tls"] }
//! rustls = { version = "0.23", default-features = false, features = ["ring", "std", "tls12"] }
//! ```
//!
//! ```no_run
//! use backport::{tls, Backport, TcpServer};
//!
//! fn main() -> backport::Result {
//!     let config = tls::server_config("certificate.pem", "key.pem")?;
//!     Backport::run(|machine| {
//!         let echo = || backport::receiving(|client, data| Ok(client.write(data)?));
//!         machine.prepare(TcpServer::new("localhost:8443", echo).tls(config))?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Adapters stay as they are. [The guide](crate::guide::transports#tls) describes what differs from a plain
//! connection.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ::rustls::crypto::CryptoProvider;
use ::rustls::pki_types::pem::{PemObject, SectionKind};
use ::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ::rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion, ServerConfig};

use crate::catch_panic::catch_panic;
use crate::error::with_context;

pub use ::rustls;

/// The facts about one encrypted connection. [`Client::tls`](crate::Client::tls) returns them.
///
/// They are known before [`opening`](crate::Adapter::opening), and do not change.
pub struct Session {
    version: ProtocolVersion,
    cipher: CipherSuite,
    alpn: Option<Vec<u8>>,
    server_name: Option<String>,
    peer_certificates: Vec<CertificateDer<'static>>,
    resumed: bool,
}

impl Session {
    /// Takes the facts from a connection whose handshake has finished.
    pub(crate) fn new(state: &CommonState, server_name: Option<&str>) -> Option<Session> {
        Some(Session {
            version: state.protocol_version()?,
            cipher: state.negotiated_cipher_suite()?.suite(),
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            server_name: server_name.map(str::to_owned),
            peer_certificates: state.peer_certificates().unwrap_or_default().to_vec(),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    /// Makes the facts of a handshake that has not happened.
    #[cfg(all(test, shuttle))]
    pub(crate) fn for_tests() -> Session {
        Session {
            version: ProtocolVersion::TLSv1_3,
            cipher: CipherSuite::TLS13_AES_128_GCM_SHA256,
            alpn: None,
            server_name: None,
            peer_certificates: Vec::new(),
            resumed: false,
        }
    }

    /// Returns the version of TLS.
    #[must_use]
    pub fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Returns the cipher suite.
    #[must_use]
    pub fn cipher(&self) -> CipherSuite {
        self.cipher
    }

    /// Returns the protocol that both sides have agreed on (ALPN), or `None` if they have not agreed on one.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }

    /// Returns the name of the server that the client has asked for (SNI). Returns `None` if the client has
    /// sent no name, and for an [outgoing connection](crate::TcpClient). The name comes from the client, so
    /// escape it before you log it.
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Returns the certificates of the peer. The first is the peer's own, and each following one certifies the
    /// one before. For a client, the list is empty unless the configuration asks for a certificate.
    #[must_use]
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.peer_certificates
    }

    /// Returns `true` if the client has resumed an earlier session, which costs less than a full handshake.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("version", &self.version)
            .field("cipher", &self.cipher)
            .field("alpn", &self.alpn.as_deref().map(<[u8]>::escape_ascii).map(|name| name.to_string()))
            .field("server_name", &self.server_name)
            .field("peer_certificates", &self.peer_certificates.len())
            .field("resumed", &self.resumed)
            .finish()
    }
}

/// Reads a certificate and its key from two files in PEM format, and makes the configuration of a server.
///
/// The file of the certificate may also hold the certificates of the authorities above it, in order. Both values
/// may be the same file. This blocks while it reads the files. If the certificate of a running server expires,
/// call this again and pass the result to [`ServerHandle::set_tls`](crate::ServerHandle::set_tls).
///
/// The configuration uses the [default provider](CryptoProvider::install_default) of the process, supports TLS
/// 1.2 and 1.3, asks for no certificate of the client and names no protocol (ALPN). For everything else, make a
/// [`ServerConfig`] with rustls.
///
/// # Errors
/// Returns a [`std::io::Error`] that names the file and says what to do:
///
/// - The error of the operating system if a file cannot be read.
/// - An error of kind [`InvalidData`](io::ErrorKind::InvalidData) if a file does not hold what it should. For
///   example, it holds no certificate, no key or two keys, its key is encrypted, or the key does not belong to
///   the certificate.
/// - An error of kind [`NotFound`](io::ErrorKind::NotFound) if the program has no crypto provider, or several.
pub fn server_config(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> io::Result<Arc<ServerConfig>> {
    let (certificate_path, key_path) = (certificate.as_ref(), key.as_ref());
    let certificates = read_certificates(certificate_path)?;
    let key = read_key(key_path)?;
    let provider = provider()?;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
    let config = builder.with_no_client_auth().with_single_cert(certificates, key);
    config.map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => invalid(format_args!(
            "the key in {} does not belong to the first certificate in {}",
            key_path.display(),
            certificate_path.display()
        )),
        error => invalid(format_args!(
            "cannot use the certificate in {} with the key in {}: {error}",
            certificate_path.display(),
            key_path.display()
        )),
    })
}

fn read_certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let content = read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| broken(path, &error))?;
    if certificates.is_empty() {
        return Err(invalid(format_args!("{} holds no certificate ({})", path.display(), found(&content))));
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> io::Result<PrivateKeyDer<'static>> {
    let content = read(path)?;
    let mut keys = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&content) {
        let (kind, der) = section.map_err(|error| broken(path, &error))?;
        keys.extend(PrivateKeyDer::from_pem(kind, der));
    }
    match keys.len() {
        1 => Ok(keys.swap_remove(0)),
        0 if sections(&content).any(|name| name == "ENCRYPTED PRIVATE KEY") => Err(invalid(format_args!(
            "the key in {0} is encrypted; decrypt it with: openssl pkey -in {0}",
            path.display()
        ))),
        0 => Err(invalid(format_args!("{} holds no private key ({})", path.display(), found(&content)))),
        more => Err(invalid(format_args!("{} holds {more} private keys, it must hold one", path.display()))),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path).map_err(|error| with_context(format_args!("cannot read {}", path.display()), &error))
}

/// Returns the provider of the process, or the only one that the program is compiled with.
fn provider() -> io::Result<Arc<CryptoProvider>> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Ok(Arc::clone(provider));
    }
    // Without a default, rustls takes the only provider that it is compiled with, and panics if there is none,
    // or if there are several.
    let builder = catch_panic(ServerConfig::builder).map_err(|_| {
        let message = "rustls has no crypto provider, or several: enable one of its features `ring` and \
                       `aws_lc_rs`, or call `CryptoProvider::install_default` first";
        io::Error::new(io::ErrorKind::NotFound, message)
    })?;
    Ok(Arc::clone(builder.crypto_provider()))
}

/// Returns the names of the sections of a PEM file.
fn sections(content: &[u8]) -> impl Iterator<Item = String> + '_ {
    content.split(|byte| *byte == b'\n').filter_map(|line| {
        let name = line.trim_ascii().strip_prefix(b"-----BEGIN ")?.strip_suffix(b"-----")?;
        Some(name.escape_ascii().to_string())
    })
}

/// Describes the sections that a PEM file has instead.
fn found(content: &[u8]) -> String {
    let found: Vec<_> = sections(content).take(3).collect();
    if found.is_empty() {
        "it is not in PEM format".to_owned()
    } else {
        format!("found: {}", found.join(", "))
    }
}

fn broken(path: &Path, error: &dyn fmt::Debug) -> io::Error {
    invalid(format_args!("{} is damaged: {error:?}", path.display()))
}

fn invalid(message: fmt::Arguments<'_>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.to_string())
}
