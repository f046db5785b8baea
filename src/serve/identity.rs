//! Whose key it is: the key is the identity, the address in the file's name says where it is expected (KY-02, KY-08).

use std::path::PathBuf;

use super::config::Config;
use super::rules::{Peer, grants};
use crate::keys::{KeyError, PublicKey, Store};

/// Keys of one address that are accepted on trust: one a user. Whoever names users at random must not fill the disk.
const MAX_USERS: usize = 8;

/// A client that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The file that says so.
    pub file: PathBuf,
    /// Something for the log: the key was new, or the address was.
    pub note: Option<String>,
}

/// Recognises a client by its key, the address it comes from and the user it says it is. The error is for the log only.
pub fn identify(config: &Config, store: &Store, peer: &Peer, user: &str, key: &PublicKey) -> Result<Known, String> {
    let file = store.trusted_file(user, peer.address).map_err(|e| e.to_string())?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stored = store.trusted(user, peer.address).map_err(|e| e.to_string())?;
    if stored == Some(*key) {
        return Ok(Known { file, note: None });
    }
    let all = store.all_trusted().map_err(|e| e.to_string())?;
    let here = all.iter().filter(|trusted| trusted.address == peer.address).count();
    let elsewhere = all
        .into_iter()
        .find(|trusted| trusted.user == user && trusted.key == *key);
    if let Some(trusted) = &elsewhere
        && grants(&config.dynamic, peer)
    {
        return Ok(Known {
            file: store.trusted_file(user, trusted.address).map_err(|e| e.to_string())?,
            note: Some(format!(
                "its address changes (DynamicAddresses), key of {}",
                trusted.address
            )),
        });
    }
    match (stored, elsewhere) {
        (Some(_), _) => Err(format!(
            "its key {} is not the one in {name}; a stored key is never replaced, remove the file if the host has new keys",
            key.fingerprint()
        )),
        (None, Some(trusted)) => Err(format!(
            "its key is known as {user}-{}.pub, but it comes from {} and DynamicAddresses does not name that address",
            trusted.address, peer.address
        )),
        (None, None) if grants(&config.trust, peer) && here >= MAX_USERS => Err(format!(
            "its key is unknown, and {here} keys are stored for that address already: no more are accepted on trust"
        )),
        (None, None) if grants(&config.trust, peer) => match store.trust(user, peer.address, key) {
            Ok(file) => Ok(Known {
                file,
                note: Some(format!(
                    "new key {} accepted on trust (TrustKeysFrom)",
                    key.fingerprint()
                )),
            }),
            // Somebody else was quicker.
            Err(KeyError::Exists(_)) => Err(format!("its key is not the one in {name}")),
            Err(fault) => Err(format!("its key cannot be stored: {fault}")),
        },
        (None, None) => Err(format!(
            "its key {} is unknown: there is no {name} and TrustKeysFrom does not name that address",
            key.fingerprint()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrivateKey;
    use crate::serve::Pattern;

    fn key() -> PublicKey {
        PrivateKey::generate().unwrap().public()
    }

    fn peer(address: &str) -> Peer {
        Peer {
            address: address.parse().unwrap(),
            names: Vec::new(),
        }
    }

    fn range(text: &str) -> Vec<Pattern> {
        Pattern::parse(text.into(), b':', None).unwrap()
    }

    #[test]
    fn a_key_counts_at_the_address_of_its_file_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let (config, mine) = (Config::default(), key());
        let (here, there) = (peer("10.0.0.1"), peer("10.0.0.2"));
        let said = identify(&config, &store, &here, "root", &mine).unwrap_err();
        assert!(said.contains("is unknown"), "{said}");
        store.trust("root", here.address, &mine).unwrap();
        assert!(identify(&config, &store, &here, "root", &mine).is_ok());
        assert!(identify(&config, &store, &here, "mark", &mine).is_err());
        let said = identify(&config, &store, &there, "root", &mine).unwrap_err();
        assert!(said.contains("known as root-10.0.0.1.pub"), "{said}");
        let said = identify(&config, &store, &here, "root", &key()).unwrap_err();
        assert!(said.contains("never replaced"), "{said}");
    }

    #[test]
    fn dynamic_addresses_let_a_known_key_move_but_no_new_key_in() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let config = Config {
            dynamic: range("10.0.0."),
            ..Config::default()
        };
        let mine = key();
        store.trust("root", "10.0.0.1".parse().unwrap(), &mine).unwrap();
        store.trust("root", "10.0.0.3".parse().unwrap(), &key()).unwrap();
        assert!(identify(&config, &store, &peer("10.0.0.2"), "root", &mine).is_ok());
        // The address was somebody else's before.
        assert!(identify(&config, &store, &peer("10.0.0.3"), "root", &mine).is_ok());
        assert!(identify(&config, &store, &peer("10.0.1.2"), "root", &mine).is_err());
        assert!(identify(&config, &store, &peer("10.0.0.2"), "root", &key()).is_err());
    }

    #[test]
    fn an_unknown_key_is_stored_on_trust_and_a_differing_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::at(dir.path());
        let config = Config {
            trust: range("10.0.0.2"),
            ..Config::default()
        };
        let (first, second) = (key(), key());
        assert!(identify(&config, &store, &peer("10.0.0.1"), "root", &first).is_err());
        let known = identify(&config, &store, &peer("10.0.0.2"), "root", &first).unwrap();
        assert!(known.file.ends_with("root-10.0.0.2.pub") && known.note.is_some());
        assert!(identify(&config, &store, &peer("10.0.0.2"), "root", &second).is_err());
        assert_eq!(store.trusted("root", "10.0.0.2".parse().unwrap()).unwrap(), Some(first));
        assert!(identify(&config, &store, &peer("10.0.0.2"), "../x", &second).is_err());
        let users = (0..50).filter(|n| identify(&config, &store, &peer("10.0.0.2"), &format!("u{n}"), &key()).is_ok());
        assert_eq!(users.count(), MAX_USERS - 1);
    }
}
