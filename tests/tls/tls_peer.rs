//! A certificate that is made on the spot, and a peer that speaks TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};

use crate::support::DEADLINE;

/// A certificate for `localhost` that has signed itself.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: Vec<u8>,
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
}

impl Identity {
    pub(crate) fn new() -> Identity {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Identity {
            certificate: made.cert.der().clone(),
            key: made.signing_key.serialize_der(),
            certificate_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
        }
    }

    /// Makes the configuration of a server with this certificate.
    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::try_from(self.key.clone()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        Arc::new(config.with_single_cert(vec![self.certificate.clone()], key).unwrap())
    }

    /// Makes the configuration of a client that trusts this certificate alone.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client_with(rustls::ALL_VERSIONS)
    }

    pub(crate) fn client_with(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_protocol_versions(versions);
        Arc::new(config.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Returns the identity that most tests share.
pub(crate) fn identity() -> &'static Identity {
    static SHARED: OnceLock<Identity> = OnceLock::new();
    SHARED.get_or_init(Identity::new)
}

/// A connection to a server, encrypted. Every call fails after the deadline.
pub(crate) struct TlsPeer {
    pub(crate) stream: StreamOwned<ClientConnection, TcpStream>,
}

impl TlsPeer {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> TlsPeer {
        TlsPeer::over(tcp(address), identity().client())
    }

    /// Does the handshake over a connection.
    #[track_caller]
    pub(crate) fn over(stream: TcpStream, config: Arc<ClientConfig>) -> TlsPeer {
        TlsPeer::try_over(stream, config).unwrap()
    }

    pub(crate) fn try_over(mut stream: TcpStream, config: Arc<ClientConfig>) -> io::Result<TlsPeer> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(config, name).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(TlsPeer { stream: StreamOwned::new(tls, stream) })
    }

    #[track_caller]
    pub(crate) fn send(&mut self, data: impl AsRef<[u8]>) {
        self.stream.write_all(data.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// The next `count` bytes.
    #[track_caller]
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut data = vec![0; count];
        self.stream.read_exact(&mut data).unwrap();
        data
    }

    /// Everything up to the end of TLS, which must come.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut data = Vec::new();
        match self.stream.read_to_end(&mut data) {
            Ok(_) => data,
            Err(error) => panic!("{error} after {} bytes", data.len()),
        }
    }

    /// Sends the end of TLS, and leaves the socket open.
    #[track_caller]
    pub(crate) fn close_notify(&mut self) {
        self.stream.conn.send_close_notify();
        self.stream.flush().unwrap();
    }

    #[track_caller]
    pub(crate) fn assert_echo(&mut self, data: &[u8]) {
        self.send(data);
        assert_eq!(self.read(data.len()), data);
    }
}

/// Connects without TLS.
#[track_caller]
pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
