//! The server's side of a handshake where another process holds the key: that one signs, and is shown afterwards what the
//! client has signed, with all that was said before, so that it need not believe this process (see `witness`).

use std::cell::RefCell;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::crypto::{GetRandomFailed, SecureRandom};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CipherSuiteCommon, Error, ServerConfig, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite, Tls13CipherSuite,
};
use rustls_pki_types::CertificateDer;

use super::{Deadline, ServerStream, TlsError, server};
use crate::keys::PublicKey;

/// Signs what it is given.
pub type Sign = Box<dyn FnMut(&[u8]) -> io::Result<Vec<u8>>>;

/// What shows that a client holds its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// All messages of the handshake up to the client's key.
    pub transcript: Vec<u8>,
    /// What the client has signed them with.
    pub signature: Vec<u8>,
}

/// The handshake that a thread is in. The library asks for hashes, random numbers and signatures without saying for whom.
struct Handshake {
    nonce: Option<[u8; 32]>,
    sign: Option<Sign>,
    proof: Proof,
}

thread_local! {
    static HANDSHAKE: RefCell<Option<Handshake>> = const { RefCell::new(None) };
}

/// Ready for handshakes in the name of a key. Cheap to clone.
#[derive(Clone)]
pub struct Front {
    server: Arc<ServerConfig>,
}

impl Front {
    /// Prepares for a key that another process holds.
    pub fn new(key: PublicKey) -> Result<Self, TlsError> {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.secure_random = &Given;
        provider.cipher_suites = provider.cipher_suites.into_iter().map(heard).collect();
        let provider = Arc::new(provider);
        let certified = CertifiedKey::new(vec![CertificateDer::from(key.spki())], Arc::new(Elsewhere));
        Ok(Front {
            server: Arc::new(server(&provider, Arc::new(certified))?),
        })
    }

    /// A handshake. The server's random number is `nonce`; the client's proof is yet to be believed by who holds the key.
    pub fn accept(
        &self,
        tcp: TcpStream,
        deadline: Deadline,
        nonce: [u8; 32],
        sign: Sign,
    ) -> Result<(ServerStream, Proof), TlsError> {
        HANDSHAKE.set(Some(Handshake {
            nonce: Some(nonce),
            sign: Some(sign),
            proof: Proof::default(),
        }));
        let accepted = super::accept(&self.server, tcp, deadline);
        let proof = HANDSHAKE.take().map(|handshake| handshake.proof);
        let (stream, _) = accepted?;
        Ok((stream, proof.unwrap_or_default()))
    }
}

/// Notes a client's signature, where somebody wants to be shown it.
pub(super) fn signed(signature: &[u8]) {
    HANDSHAKE.with_borrow_mut(|handshake| {
        if let Some(handshake) = handshake {
            handshake.proof.signature = signature.to_vec();
        }
    });
}

/// Random numbers; the first 32 bytes of a handshake are given.
#[derive(Debug)]
struct Given;

impl SecureRandom for Given {
    fn fill(&self, space: &mut [u8]) -> Result<(), GetRandomFailed> {
        let nonce = HANDSHAKE.with_borrow_mut(|handshake| {
            let wanted = handshake.as_mut().filter(|_| space.len() == 32);
            wanted.and_then(|handshake| handshake.nonce.take())
        });
        match nonce {
            Some(nonce) => {
                space.copy_from_slice(&nonce);
                Ok(())
            }
            None => rustls::crypto::ring::default_provider().secure_random.fill(space),
        }
    }
}

/// A key that is not here.
#[derive(Debug)]
struct Elsewhere;

impl SigningKey for Elsewhere {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let known = offered.contains(&SignatureScheme::ED25519);
        known.then(|| Box::new(Elsewhere) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Elsewhere {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let sign = HANDSHAKE.with_borrow_mut(|handshake| handshake.as_mut().and_then(|asked| asked.sign.take()));
        let nobody = || Error::General("nobody signs for this handshake".to_string());
        sign.ok_or_else(nobody)?(message).map_err(|error| Error::General(format!("it was not signed: {error}")))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

/// A suite whose hash notes what it was fed. Made once for each `Front`, and there is one a process.
fn heard(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    // There are no others without the feature of TLS 1.2.
    let SupportedCipherSuite::Tls13(suite) = suite;
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: suite.common.suite,
            hash_provider: Box::leak(Box::new(Listening(suite.common.hash_provider))),
            confidentiality_limit: suite.common.confidentiality_limit,
        },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: suite.aead_alg,
        quic: None,
    })))
}

struct Listening(&'static dyn Hash);

impl Hash for Listening {
    fn start(&self) -> Box<dyn Context> {
        Box::new(Heard {
            inner: self.0.start(),
            bytes: Vec::new(),
        })
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(data)
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

struct Heard {
    inner: Box<dyn Context>,
    bytes: Vec<u8>,
}

impl Heard {
    /// What the client signs is the last thing that is hashed before its signature is looked at.
    fn note(&self) {
        HANDSHAKE.with_borrow_mut(|handshake| {
            if let Some(handshake) = handshake.as_mut().filter(|known| known.proof.signature.is_empty()) {
                handshake.proof.transcript.clone_from(&self.bytes);
            }
        });
    }
}

impl Context for Heard {
    fn fork_finish(&self) -> Output {
        self.note();
        self.inner.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Heard {
            inner: self.inner.fork(),
            bytes: self.bytes.clone(),
        })
    }

    fn finish(self: Box<Self>) -> Output {
        self.note();
        self.inner.finish()
    }

    fn update(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(data);
        self.inner.update(data);
    }
}
