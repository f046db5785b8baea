//! TLS 1.3 with mutual raw public keys (RFC 7250). The only module that names rustls.
//!
//! A handshake that succeeded proves that the peer holds the private half of the key it showed. Whether that key is
//! trusted is decided by the client in the handshake itself (it pins the server's key), by the server right after it
//! (the user's name comes with the first frame).
//!
//! | file | owns |
//! |---|---|
//! | `verify` | what is checked in a handshake |
//! | `stream` | an encrypted stream with deadlines and coalesced writes |
//! | `apart` | handshakes in a process that has no key |
//! | `witness` | the process that has it: signs for the other one, and judges what that shows |

mod apart;
mod stream;
mod verify;
mod witness;

pub use apart::{Front, Proof, Sign};
pub use witness::Witness;

pub use stream::{ClientStream, Deadline, ServerStream, Stream, refuse};

use std::io;
use std::net::TcpStream;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::crypto::CryptoProvider;
use rustls::server::AlwaysResolvesServerRawPublicKeys;
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, ClientConfig, ClientConnection, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use crate::keys::{PrivateKey, PublicKey};

/// Why there is no encrypted connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The peer showed another key than the one it is known by.
    #[error("the key it shows ({shown:?}) is not the one it is known by ({known:?})")]
    OtherKey {
        /// What it showed.
        shown: PublicKey,
        /// What was expected.
        known: PublicKey,
    },
    /// The peer did not want us before anything was said: it does not accept connections from our address.
    #[error("it does not accept connections from this address")]
    Denied,
    /// The peer has no room for us now.
    #[error("it is too busy now")]
    Busy,
    /// The peer did not accept our key.
    #[error("it does not accept our key")]
    KeyRefused,
    /// The peer speaks something else or broke the rules.
    #[error("{0}")]
    Protocol(String),
    /// The connection failed; a silent peer is an error of kind `TimedOut`.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Our own key, ready for handshakes. Cheap to clone.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// Prepares a key.
    pub fn new(key: &PrivateKey) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8()));
        let signing = provider.key_provider.load_private_key(der).map_err(protocol)?;
        // With raw public keys the SubjectPublicKeyInfo stands where a certificate would.
        let certified = CertifiedKey::new(vec![CertificateDer::from(key.public().spki())], signing);
        let certified = Arc::new(certified);
        let server = server(&provider, certified.clone())?;
        Ok(Identity {
            key: certified,
            provider,
            server: Arc::new(server),
        })
    }

    /// The server's side of a handshake, with the key the client proved to hold.
    pub fn accept(&self, tcp: TcpStream, deadline: Deadline) -> Result<(ServerStream, PublicKey), TlsError> {
        accept(&self.server, tcp, deadline)
    }

    /// Our own key, the public half.
    pub fn public(&self) -> Option<PublicKey> {
        PublicKey::from_spki(self.key.cert.first()?)
    }

    /// The client's side of a handshake. With `known` any other key ends it; without, the shown key is given and the
    /// caller decides before a word is said.
    pub fn connect(
        &self,
        tcp: TcpStream,
        known: Option<PublicKey>,
        deadline: Deadline,
    ) -> Result<(ClientStream, PublicKey), TlsError> {
        let name = ServerName::IpAddress(tcp.peer_addr()?.ip().to_canonical().into());
        let shown = Arc::new(Mutex::new(None));
        let verifier = verify::PinnedServer::new(&self.provider, known, shown.clone());
        let mut config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(protocol)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(self.key.clone())));
        config.resumption = rustls::client::Resumption::disabled();
        config.enable_sni = false;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(protocol)?;
        let mut stream = Stream::new(tls, tcp, deadline)?;
        if let Err(error) = stream.handshake() {
            let shown = *shown.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(match (shown, known) {
                (Some(shown), Some(known)) if shown != known => TlsError::OtherKey { shown, known },
                _ => error,
            });
        }
        let key = stream
            .peer()
            .ok_or_else(|| TlsError::Protocol("the server showed no key".to_string()))?;
        stream.read_ahead();
        Ok((stream, key))
    }
}

/// How a server speaks, with its key or for it.
fn server(provider: &Arc<CryptoProvider>, certified: Arc<CertifiedKey>) -> Result<ServerConfig, TlsError> {
    let mut server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(protocol)?
        .with_client_cert_verifier(Arc::new(verify::AnyClient::new(provider)))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(certified)));
    // Every connection proves its keys anew.
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(server)
}

fn accept(
    server: &Arc<ServerConfig>,
    tcp: TcpStream,
    deadline: Deadline,
) -> Result<(ServerStream, PublicKey), TlsError> {
    let tls = ServerConnection::new(server.clone()).map_err(protocol)?;
    let mut stream = Stream::new(tls, tcp, deadline)?;
    stream.handshake()?;
    let key = stream
        .peer()
        .ok_or_else(|| TlsError::Protocol("the client showed no key".to_string()))?;
    Ok((stream, key))
}

fn protocol(error: rustls::Error) -> TlsError {
    match error {
        rustls::Error::AlertReceived(AlertDescription::AccessDenied) => TlsError::Denied,
        rustls::Error::AlertReceived(AlertDescription::InternalError) => TlsError::Busy,
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError,
        ) => TlsError::KeyRefused,
        rustls::Error::InvalidMessage(_) => TlsError::Protocol("it does not speak the csync protocol".to_string()),
        other => TlsError::Protocol(other.to_string()),
    }
}

/// What an error of the stream really was.
pub fn io_error(error: io::Error) -> TlsError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => protocol(inner.clone()),
        None => TlsError::Io(error),
    }
}

#[cfg(test)]
mod tests;
