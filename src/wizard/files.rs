//! The five policy files: rendered from the templates where they are missing, edited in the one line that is ours where
//! they exist. An administrator's policy is never thrown away (CW-26: "will replace this line").

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use bstr::ByteSlice;

use crate::hosts::CfrunHostsFile;
use crate::template::{self, Language, TemplateError, Values};

/// The policy files (FIL-19), in the order in which they are written.
pub const NAMES: [&str; 5] = ["cf.main", "cfagent.conf", "cfservd.conf", "cfrun.hosts", "update.conf"];

/// Permission bits of the policy files.
pub const MODE: u32 = 0o600;

/// Why a policy file cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A template or an existing file cannot be read.
    #[error("cannot read {0}: {1}")]
    Read(String, io::Error),
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A name cannot stand in cfrun.hosts.
    #[error("{0}")]
    Host(String),
}

/// What goes into the policy files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// TOK-01.
    pub policy_host: String,
    /// TOK-02.
    pub domain: String,
    /// TOK-03.
    pub domain_list: String,
    /// All managed clients, fully qualified (CW-24, CW-25).
    pub clients: Vec<String>,
}

/// One file as it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// All of it.
    pub bytes: Vec<u8>,
    /// An existing file lacked the line that has to change and was made anew from its template.
    pub replaced: bool,
}

/// Makes all five files. Existing ones in `inputs` are edited, the others come from `templates`.
///
/// # Errors
/// [`FilesError`]; nothing is written here.
pub fn make(templates: &Path, inputs: &Path, content: &Content) -> Result<Vec<Made>, FilesError> {
    NAMES.iter().map(|name| one(templates, inputs, name, content)).collect()
}

fn one(templates: &Path, inputs: &Path, name: &'static str, content: &Content) -> Result<Made, FilesError> {
    let old = read(&inputs.join(name))?;
    let edited = old.as_ref().and_then(|old| match name {
        "cf.main" | "update.conf" => set_line(old, "policyhost", &content.policy_host),
        "cfservd.conf" => set_line(old, "domain_list", &content.domain_list),
        _ => Some(old.clone()),
    });
    let replaced = old.is_some() && edited.is_none();
    let bytes = match edited {
        Some(bytes) => bytes,
        None => render(templates, name, content)?,
    };
    let bytes = match name {
        "cfrun.hosts" => with_clients(&bytes, &content.clients)?,
        _ => bytes,
    };
    Ok(Made { name, bytes, replaced })
}

/// A file's bytes, `None` where there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, FilesError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(FilesError::Read(path.display().to_string(), e)),
    }
}

fn render(templates: &Path, name: &str, content: &Content) -> Result<Vec<u8>, FilesError> {
    let path = templates.join(format!("{name}.template"));
    let shown = path.display().to_string();
    let text = fs::read(&path).map_err(|e| FilesError::Read(shown.clone(), e))?;
    let mut values = Values::default();
    for (token, value) in [
        ("POLICYHOST_NAME", &content.policy_host),
        ("DEFAULT_CLIENT_DNS_DOMAIN", &content.domain),
        ("CFSERVD_DOMAIN_LIST", &content.domain_list),
    ] {
        values.set(token, value.as_str()).map_err(FilesError::Host)?;
    }
    Ok(template::render(Language::Tokens, &shown, &text, &values)?)
}

fn with_clients(bytes: &[u8], clients: &[String]) -> Result<Vec<u8>, FilesError> {
    let mut file = CfrunHostsFile::from_bytes(bytes);
    for client in clients {
        file.add(client).map_err(FilesError::Host)?;
    }
    Ok(file.to_bytes())
}

/// cfrun.hosts without some clients.
///
/// # Errors
/// [`FilesError::Read`].
pub(super) fn without_clients(inputs: &Path, names: &[&str]) -> Result<Vec<u8>, FilesError> {
    let mut file = CfrunHostsFile::from_bytes(&read(&inputs.join("cfrun.hosts"))?.unwrap_or_default());
    for name in names {
        file.remove(name);
    }
    Ok(file.to_bytes())
}

/// cfservd.conf with another list of domains; `None` when it has no line for it.
///
/// # Errors
/// [`FilesError::Read`].
pub(super) fn with_domains(inputs: &Path, domains: &str) -> Result<Option<Vec<u8>>, FilesError> {
    Ok(read(&inputs.join("cfservd.conf"))?.and_then(|old| set_line(&old, "domain_list", domains)))
}

/// Replaces the value of the first `name = ( … )` line that is not a comment; `None` when there is no such line.
pub(super) fn set_line(text: &[u8], name: &str, value: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + value.len());
    let mut done = false;
    for line in text.lines_with_terminator() {
        match edit(line, name, value) {
            Some(edited) if !done => {
                out.extend_from_slice(&edited);
                done = true;
            }
            _ => out.extend_from_slice(line),
        }
    }
    done.then_some(out)
}

fn edit(line: &[u8], name: &str, value: &str) -> Option<Vec<u8>> {
    let rest = line.trim_start().strip_prefix(name.as_bytes())?;
    let rest = rest.trim_start().strip_prefix(b"=")?;
    let inner = rest.trim_start().strip_prefix(b"(")?;
    let open = line.len() - inner.len();
    let close = open + inner.find_byte(b')')?;
    let mut edited = line[..open].to_vec();
    edited.extend_from_slice(format!(" \"{value}\" ").as_bytes());
    edited.extend_from_slice(&line[close..]);
    Some(edited)
}

/// Makes a directory that only root reads, with its parents.
///
/// # Errors
/// What the system says.
pub(super) fn private_dir(dir: &Path) -> io::Result<()> {
    if let Some(parent) = dir.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn templates() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("share/templates/cfengine")
    }

    fn content() -> Content {
        Content {
            policy_host: "m.example.com".into(),
            domain: "example.com".into(),
            domain_list: "*.example.com,*.other.net".into(),
            clients: vec!["c1.example.com".into(), "c2.other.net".into()],
        }
    }

    fn text(made: &[Made], name: &str) -> String {
        let found = made.iter().find(|made| made.name == name).unwrap();
        String::from_utf8(found.bytes.clone()).unwrap()
    }

    #[test]
    fn fresh_files_come_from_the_templates_with_the_answers_in_them() {
        let dir = tempfile::tempdir().unwrap();
        let made = make(&templates(), dir.path(), &content()).unwrap();
        assert_eq!(made.iter().map(|m| m.name).collect::<Vec<_>>(), NAMES);
        assert!(text(&made, "update.conf").contains("policyhost     = ( \"m.example.com\" )"));
        assert!(text(&made, "cfservd.conf").contains("( \"*.example.com,*.other.net\" )"));
        let hosts = text(&made, "cfrun.hosts");
        assert!(hosts.contains("\ndomain = example.com\n"));
        assert!(hosts.ends_with("c1.example.com\nc2.other.net\n"), "{hosts}");
        assert!(made.iter().all(|m| !m.bytes.contains_str("<%") && !m.replaced));
    }

    #[test]
    fn an_existing_policy_keeps_everything_but_its_line_cw_26() {
        let dir = tempfile::tempdir().unwrap();
        let mine = "control:\n # policyhost = ( \"x\" )\n policyhost = ( \"old\" ) # here\ncopy:\n /a dest=/b\n";
        fs::write(dir.path().join("cf.main"), mine).unwrap();
        fs::write(
            dir.path().join("cfservd.conf"),
            "control:\n  domain_list=(\"10.1.2.3,*.gone.org\")\n",
        )
        .unwrap();
        fs::write(dir.path().join("cfrun.hosts"), "# mine\nc1 -v\ndomain=example.com\n").unwrap();
        fs::write(dir.path().join("cfagent.conf"), "mine\n").unwrap();
        let made = make(&templates(), dir.path(), &content()).unwrap();
        assert_eq!(text(&made, "cf.main"), mine.replace("\"old\"", "\"m.example.com\""));
        assert_eq!(
            text(&made, "cfservd.conf"),
            "control:\n  domain_list=( \"*.example.com,*.other.net\" )\n"
        );
        assert_eq!(
            text(&made, "cfrun.hosts"),
            "# mine\nc1 -v\ndomain=example.com\nc2.other.net\n"
        );
        assert_eq!(text(&made, "cfagent.conf"), "mine\n");
    }

    #[test]
    fn a_file_without_its_line_is_made_anew_and_that_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("update.conf"), "nothing of ours\n").unwrap();
        let made = make(&templates(), dir.path(), &content()).unwrap();
        let update = made.iter().find(|m| m.name == "update.conf").unwrap();
        assert!(update.replaced && update.bytes.contains_str("m.example.com"));
    }
}
