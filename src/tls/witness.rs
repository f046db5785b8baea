//! The holder of the key in a handshake that another process makes: it signs once, and only what a server signs, and then
//! judges by itself whether a client has proved to hold its key in this very handshake.
//!
//! The other process is not believed. A client signs all messages of the handshake before its own; among them stand the
//! random number that was made here for this handshake, our key, and our signature. So a signature that a client gave to
//! another server, or to us at another time, is not taken.

use ring::digest::{Algorithm, SHA256, SHA384, digest};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::SignatureScheme;

use super::apart::Proof;
use super::{Identity, TlsError, protocol};
use crate::keys::PublicKey;

/// What stands before the hash in what a server signs (RFC 8446, 4.4.3), and in what a client signs.
const SERVER: &[u8] = b"TLS 1.3, server CertificateVerify\0";
const CLIENT: &[u8] = b"TLS 1.3, client CertificateVerify\0";
const BLANKS: [u8; 64] = [b' '; 64];
/// Ed25519, as TLS counts.
const ED25519: [u8; 2] = [8, 7];

/// One handshake, seen from the holder of the key.
pub struct Witness {
    identity: Identity,
    nonce: [u8; 32],
    /// What was signed: the hash, and the signature.
    signed: Option<(Vec<u8>, Vec<u8>)>,
}

impl Witness {
    /// A handshake begins, with a new random number.
    pub fn new(identity: Identity) -> Result<Self, TlsError> {
        let mut nonce = [0; 32];
        SystemRandom::new()
            .fill(&mut nonce)
            .map_err(|_| TlsError::Protocol("the system has no random numbers".to_string()))?;
        Ok(Witness {
            identity,
            nonce,
            signed: None,
        })
    }

    /// The random number that the server must use.
    pub fn nonce(&self) -> [u8; 32] {
        self.nonce
    }

    /// Signs for the server of this handshake, once. Nothing else is signed: with the same key this host is a client of
    /// other servers.
    pub fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, TlsError> {
        let refused = |why: &str| TlsError::Protocol(format!("no signature: {why}"));
        let hash = message
            .strip_prefix(&BLANKS[..])
            .and_then(|rest| rest.strip_prefix(SERVER));
        let Some(hash) = hash.filter(|hash| matches!(hash.len(), 32 | 48)) else {
            return Err(refused("this is not what a server signs"));
        };
        if self.signed.is_some() {
            return Err(refused("a handshake has one"));
        }
        let signer = self.identity.key.key.choose_scheme(&[SignatureScheme::ED25519]);
        let signature = match signer {
            Some(signer) => signer.sign(message).map_err(protocol)?,
            None => return Err(refused("the key is not an Ed25519 key")),
        };
        self.signed = Some((hash.to_vec(), signature.clone()));
        Ok(signature)
    }

    /// The key that the client of this handshake has proved to hold; or why that is not proved.
    pub fn judge(self, proof: &Proof) -> Result<PublicKey, &'static str> {
        let (hash, signature) = self.signed.as_ref().ok_or("nothing was signed")?;
        let whole = &proof.transcript[..];
        let mut rest = whole;
        let mut next = |kind: u8| message(&mut rest, kind);
        // A client that is asked for another key share begins anew, and of the first beginning stands a hash.
        if whole.first() == Some(&254) {
            next(254)?;
            next(2)?;
        }
        next(1)?;
        let hello = next(2)?;
        if hello.get(2..34) != Some(&self.nonce[..]) {
            return Err("it is of another handshake");
        }
        let algorithm = algorithm(hello).ok_or("it has no suite that is known")?;
        next(8)?;
        next(13)?;
        let ours = self.identity.key.cert.first().ok_or("there is no key")?;
        if certificate(next(11)?)? != &ours[..] {
            return Err("another key than ours was shown to the client");
        }
        let before = whole.len() - rest.len();
        let said = whole.get(..before).unwrap_or_default();
        if digest(algorithm, said).as_ref() != &hash[..] {
            return Err("it is not what was signed");
        }
        let mut next = |kind: u8| message(&mut rest, kind);
        let verify = next(15)?;
        if verify
            .strip_prefix(&ED25519)
            .and_then(|rest| rest.strip_prefix(&[0, 64]))
            != Some(&signature[..])
        {
            return Err("our signature is not in it");
        }
        next(20)?;
        let key = PublicKey::from_spki(certificate(next(11)?)?).ok_or("the client showed no Ed25519 key")?;
        if !rest.is_empty() {
            return Err("there is more than should be");
        }
        let signed = [&BLANKS[..], CLIENT, digest(algorithm, whole).as_ref()].concat();
        match key.verify(&signed, &proof.signature) {
            true => Ok(key),
            false => Err("the client has not signed it"),
        }
    }
}

/// Takes a message of this kind.
fn message<'a>(rest: &mut &'a [u8], kind: u8) -> Result<&'a [u8], &'static str> {
    let bad = "it is no handshake";
    let [first, a, b, c, more @ ..] = *rest else {
        return Err(bad);
    };
    let len = u32::from_be_bytes([0, *a, *b, *c]) as usize;
    if *first != kind || len > more.len() {
        return Err(bad);
    }
    let (body, after) = more.split_at(len);
    *rest = after;
    Ok(body)
}

/// The hash of the suite that a server chose.
fn algorithm(hello: &[u8]) -> Option<&'static Algorithm> {
    let session = usize::from(*hello.get(34)?);
    match hello.get(35 + session..37 + session)? {
        [0x13, 1 | 3] => Some(&SHA256),
        [0x13, 2] => Some(&SHA384),
        _ => None,
    }
}

/// The one key of a Certificate message.
fn certificate(body: &[u8]) -> Result<&[u8], &'static str> {
    let bad = "there is no key where one should be";
    let [0, a, b, c, list @ ..] = body else {
        return Err(bad);
    };
    let [d, e, f, entry @ ..] = list else {
        return Err(bad);
    };
    let (all, len) = (
        u32::from_be_bytes([0, *a, *b, *c]) as usize,
        u32::from_be_bytes([0, *d, *e, *f]) as usize,
    );
    // Behind the key stand its extensions, of which there are none.
    if all != list.len() || entry.len() != len + 2 || entry.get(len..) != Some(&[0, 0]) {
        return Err(bad);
    }
    entry.get(..len).ok_or(bad)
}
