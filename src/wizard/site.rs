//! What is configured on this system now: read from the files themselves, so that work done by hand counts (CW-27).

use std::fs;
use std::io;
use std::path::PathBuf;

use bstr::ByteSlice;

use crate::hosts::CfrunHosts;
use crate::keys::Store;
use crate::rcconf::{Other, RcFile};
use crate::sys::Paths;

use super::client::CONFIGURED;
use super::error::WizardError;
use super::local::{self, USER};
use super::names::Names;

/// The current configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The master's name in update.conf; `None` when this system is no master.
    pub policy_host: Option<String>,
    /// The value of domain_list in cfservd.conf.
    pub domain_list: Option<String>,
    /// The managed clients, as in cfrun.hosts (CW-24).
    pub clients: Vec<String>,
    /// cfservd's process.
    pub running: Option<u32>,
    /// VAR-01.
    pub at_boot: bool,
    /// Where cf.main is.
    pub main: PathBuf,
}

impl Site {
    /// Looks at this system.
    ///
    /// # Errors
    /// A file that is there and cannot be read.
    pub fn look(paths: &Paths) -> Result<Self, WizardError> {
        let inputs = paths.master().join("inputs");
        let line = |file: &str, name: &str| -> Result<Option<String>, WizardError> {
            let path = inputs.join(file);
            match fs::read(&path) {
                Ok(bytes) => Ok(value(&bytes, name)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(WizardError::io(format!("cannot read {}", path.display()))(e)),
            }
        };
        let list = inputs.join("cfrun.hosts");
        let mut clients: Vec<String> = Vec::new();
        if list.exists() {
            for host in CfrunHosts::read(&list)?.hosts {
                if !clients.contains(&host.name) {
                    clients.push(host.name);
                }
            }
        }
        let at_boot = RcFile::load(&paths.rc_cfservd(), Other::Keep)
            .is_ok_and(|rc| rc.get(CONFIGURED).is_some_and(|value| value == "1"));
        Ok(Site {
            policy_host: line("update.conf", "policyhost")?,
            domain_list: line("cfservd.conf", "domain_list")?,
            clients,
            running: local::daemon(paths, "cfservd"),
            at_boot,
            main: inputs.join("cf.main"),
        })
    }

    /// Option 5.
    pub fn display(&self, paths: &Paths, names: &dyn Names) -> String {
        let Some(policy_host) = &self.policy_host else {
            return "This system is not configured as a cfengine master server.".to_string();
        };
        let store = Store::at(paths.ppkeys());
        let own = match store.load_local() {
            Ok(key) => key.public().fingerprint(),
            Err(e) => format!("no key ({e})"),
        };
        let width = self
            .clients
            .iter()
            .map(String::len)
            .chain([policy_host.len()])
            .max()
            .unwrap_or(0);
        let mut text = format!(
            "The cfengine environment consists of:\n\nMaster server (policy host):\n    {policy_host:width$}  {own}\n\n\
             Managed clients:\n"
        );
        for client in &self.clients {
            let found = names
                .addresses(client)
                .into_iter()
                .find_map(|address| store.trusted(USER, address).ok().flatten());
            let key = found.map_or("no key on this system".to_string(), |key| key.fingerprint());
            text.push_str(&format!("    {client:width$}  {key}\n"));
        }
        let service = match self.running {
            Some(pid) => format!("running as process {pid}"),
            None => "not running".to_string(),
        };
        let boot = if self.at_boot {
            "started at boot"
        } else {
            "not started at boot"
        };
        text.push_str(&format!(
            "\nDomains that may connect:   {}\ncfservd on this system:     {service}, {boot}\n\
             Main policy file:           {}\n",
            self.domain_list.as_deref().unwrap_or("none"),
            self.main.display()
        ));
        text
    }
}

/// The value of the first `name = ( value )` line that is not a comment.
fn value(text: &[u8], name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix(name.as_bytes())?;
        let rest = rest.trim_start().strip_prefix(b"=")?.trim_start().strip_prefix(b"(")?;
        let inner = rest[..rest.find_byte(b')')?].trim();
        let inner = inner.strip_prefix(b"\"").unwrap_or(inner);
        let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
        let found = inner.to_str().ok()?.to_string();
        (!found.is_empty() && !found.contains("<%")).then_some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_however_it_is_written() {
        for line in [
            "policyhost = ( \"m.a\" )",
            "  policyhost=(m.a)",
            "# policyhost = ( x )\npolicyhost =  ( m.a ) # x",
        ] {
            assert_eq!(value(line.as_bytes(), "policyhost").unwrap(), "m.a", "{line}");
        }
        assert_eq!(value(b"policyhost = ( \"<%POLICYHOST_NAME%>\" )", "policyhost"), None);
    }
}
