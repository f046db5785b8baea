//! Ed25519 keys: PKCS#8 version 1 and SPKI (RFC 8410) in PEM, as `openssl pkey` reads and writes them.
//!
//! ring's own PKCS#8 is version 2, which OpenSSL 3.0 refuses, so the two fixed DER prefixes are written here.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};

use super::KeyError;
use crate::digest;

/// `PrivateKeyInfo` with version 0, id-Ed25519 and an octet string of 34 bytes.
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
/// `SubjectPublicKeyInfo` with id-Ed25519 and a bit string of 32 bytes.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From a DER `SubjectPublicKeyInfo`; `None` unless it is an Ed25519 key.
    pub fn from_spki(der: &[u8]) -> Option<Self> {
        der.strip_prefix(&SPKI)?.try_into().ok().map(PublicKey)
    }

    /// From PEM text; `None` unless it holds an Ed25519 key.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        PublicKey::from_spki(&SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?)
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> Vec<u8> {
        [&SPKI[..], &self.0].concat()
    }

    /// PEM text.
    pub fn pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki())
    }

    /// Whether a message was signed with the private half.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }

    /// `SHA256:` and the unpadded base64 of the digest of the SPKI.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", digest::base64(&digest::sha256(&self.spki()), false))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fingerprint())
    }
}

/// A private key. It is never shown.
#[derive(Clone)]
pub struct PrivateKey {
    seed: [u8; 32],
    public: PublicKey,
}

impl PrivateKey {
    /// Makes a new one from the system's random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| KeyError::Random)?;
        PrivateKey::from_seed(seed).ok_or(KeyError::Random)
    }

    fn from_seed(seed: [u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        let public = PublicKey(pair.public_key().as_ref().try_into().ok()?);
        Some(PrivateKey { seed, public })
    }

    /// From PEM text (PKCS#8, version 1 or 2); `None` unless it holds an Ed25519 key.
    pub fn from_pem(pem: &[u8]) -> Option<Self> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).ok()?;
        let der = der.secret_pkcs8_der();
        // ring judges the structure; the seed stands behind the same octet-string headers in both versions.
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        let seed = der.get(PKCS8.len()..PKCS8.len() + 32)?;
        PrivateKey::from_seed(seed.try_into().ok()?)
    }

    /// The DER PKCS#8, version 1.
    pub fn pkcs8(&self) -> Vec<u8> {
        [&PKCS8[..], &self.seed].concat()
    }

    /// PEM text.
    pub fn pem(&self) -> String {
        pem("PRIVATE KEY", &self.pkcs8())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "private key of {:?}", self.public)
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut out = format!("-----BEGIN {label}-----\n");
    let text = digest::base64(der, true);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410, section 10.
    const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";

    #[test]
    fn the_key_of_rfc_8410_is_read_and_written_as_printed_there() {
        let private = PrivateKey::from_pem(PRIVATE.as_bytes()).unwrap();
        assert_eq!(private.pem(), PRIVATE);
        assert_eq!(private.public().pem(), PUBLIC);
        assert_eq!(PublicKey::from_pem(PUBLIC.as_bytes()), Some(private.public()));
    }

    #[test]
    fn two_generated_keys_differ_and_survive_their_pem_form() {
        let (a, b) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        assert_ne!(a.public(), b.public());
        assert_eq!(PrivateKey::from_pem(a.pem().as_bytes()).unwrap().public(), a.public());
    }

    #[test]
    fn other_key_types_and_cut_keys_are_not_read() {
        assert!(PublicKey::from_pem(b"").is_none());
        assert!(PublicKey::from_pem(PRIVATE.as_bytes()).is_none());
        assert!(PublicKey::from_spki(&PublicKey([1; 32]).spki()[..43]).is_none());
        assert!(
            PrivateKey::from_pem(b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n-----END PRIVATE KEY-----\n")
                .is_none()
        );
    }

    #[test]
    fn a_private_key_is_never_printed() {
        let key = PrivateKey::from_pem(PRIVATE.as_bytes()).unwrap();
        assert!(!format!("{key:?}").contains("1O5y"));
        assert!(format!("{key:?}").contains("SHA256:"));
    }
}
