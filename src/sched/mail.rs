//! Telling somebody: when, what, and by which way: to the server the policy names, else by sendmail(8).

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use super::smtp::{self, Server};
use super::{Record, SchedError, Settings};

/// Where sendmail(8) is.
const SENDMAIL: &[&str] = &["/usr/sbin/sendmail", "/usr/lib/sendmail", "/usr/bin/sendmail"];

/// A message ready to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Mail {
    /// From whom.
    pub from: String,
    /// For whom.
    pub to: String,
    /// Header, empty line, text.
    pub text: Vec<u8>,
}

/// What one host says about a run: `None` when nobody is to be told, because there is nothing to say, nothing new, no
/// address, or no lines wanted.
pub fn compose(
    settings: &Settings,
    record: &Record,
    differs: bool,
    host: &str,
    address: Option<IpAddr>,
) -> io::Result<Option<Mail>> {
    let limit = settings.max_lines.unwrap_or(usize::MAX);
    let Some(to) = &settings.to else { return Ok(None) };
    if record.is_empty() || !differs || limit == 0 {
        return Ok(None);
    }
    let (lines, more) = record.head(limit)?;
    let strange = lines
        .iter()
        .any(|line| line.windows(7).any(|word| word.eq_ignore_ascii_case(b"entropy")));
    let address = address.map_or_else(|| "unknown".to_string(), |a| a.to_string());
    let sign = if strange { "**!! " } else { "" };
    let from = settings.from.clone().unwrap_or_else(|| format!("cfengine@{host}"));
    let mut text = Vec::new();
    write!(
        text,
        "From: {from}\nTo: {to}\nSubject: {sign}({host}/{address})\nAuto-Submitted: auto-generated\n\
         MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
    )?;
    for line in &lines {
        text.write_all(line)?;
        text.push(b'\n');
    }
    if more {
        let file = record.file.display();
        writeln!(text, "[Mail truncated by cfengine. File is at {file} on {host}]")?;
    }
    Ok(Some(Mail {
        from,
        to: to.clone(),
        text,
    }))
}

/// Hands a message to the server, or to sendmail(8); this host's own server is asked through sendmail(8) where there is
/// one. `host` is who we are.
pub fn send(mail: &Mail, server: Option<&Server>, host: &str) -> Result<(), SchedError> {
    match server {
        Some(server) if server.is_here() && sendmail().is_some() => by_sendmail(mail),
        Some(server) => smtp::send(server, host, mail).map_err(|why| SchedError::Mail {
            to: mail.to.clone(),
            why: format!("{server}: {why}"),
        }),
        None => by_sendmail(mail),
    }
}

fn sendmail() -> Option<&'static str> {
    SENDMAIL.iter().copied().find(|path| Path::new(path).exists())
}

fn by_sendmail(mail: &Mail) -> Result<(), SchedError> {
    let failed = |why: String| SchedError::Mail {
        to: mail.to.clone(),
        why,
    };
    let program = sendmail().ok_or_else(|| failed("there is no sendmail(8) on this host".into()))?;
    let mut child = Command::new(program)
        .args(["-oi", "-t"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| failed(format!("{program}: {e}")))?;
    if let Some(mut pipe) = child.stdin.take() {
        // A sendmail that does not read says why by its status.
        let _ = pipe.write_all(&mail.text);
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("{program}: {status}"))),
        Err(e) => Err(failed(format!("{program}: {e}"))),
    }
}

/// An address that may stand in a header: printable, no line end, not an option.
pub(super) fn address(text: &str) -> Option<String> {
    let text = text.trim();
    let fit = !text.is_empty() && text.len() <= 1000 && !text.starts_with('-') && !text.chars().any(char::is_control);
    fit.then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sched::Outputs;

    fn record(lines: &[&str]) -> (tempfile::TempDir, Record) {
        let dir = tempfile::tempdir().unwrap();
        let outputs = Outputs::at(dir.path()).unwrap();
        let mut record = outputs.begin("c1.example.com", &jiff::Zoned::now()).unwrap();
        for line in lines {
            record.line(line.as_bytes()).unwrap();
        }
        outputs.finish(&mut record).unwrap();
        (dir, record)
    }

    fn settings(max_lines: Option<usize>) -> Settings {
        Settings {
            to: Some("root@example.com".into()),
            max_lines,
            ..Settings::default()
        }
    }

    fn mail(settings: &Settings, lines: &[&str], differs: bool) -> Option<String> {
        let (_dir, record) = record(lines);
        let address = Some("10.78.1.2".parse().unwrap());
        compose(settings, &record, differs, "c1.example.com", address)
            .unwrap()
            .map(|mail| String::from_utf8(mail.text).unwrap())
    }

    #[test]
    fn news_goes_to_the_address_with_host_and_address_as_subject() {
        let text = mail(&settings(Some(100)), &["copied motd"], true).unwrap();
        assert!(
            text.starts_with("From: cfengine@c1.example.com\nTo: root@example.com\n"),
            "{text}"
        );
        assert!(text.contains("\nSubject: (c1.example.com/10.78.1.2)\n"), "{text}");
        assert!(text.ends_with("\n\ncopied motd\n"), "{text}");
        let text = mail(&settings(Some(100)), &["LOW ENTROPY on eth0"], true).unwrap();
        assert!(text.contains("\nSubject: **!! (c1.example.com/10.78.1.2)\n"), "{text}");
    }

    #[test]
    fn nobody_is_told_when_nothing_is_said_nothing_is_new_or_no_lines_are_wanted() {
        assert_eq!(mail(&settings(None), &[], true), None);
        assert_eq!(mail(&settings(None), &["x"], false), None);
        assert_eq!(mail(&settings(Some(0)), &["x"], true), None);
        assert_eq!(mail(&Settings::default(), &["x"], true), None);
    }

    #[test]
    fn a_long_message_is_cut_and_says_where_the_rest_is() {
        let text = mail(&settings(Some(2)), &["a", "b", "c"], true).unwrap();
        assert!(
            text.contains("\n\na\nb\n[Mail truncated by cfengine. File is at /"),
            "{text}"
        );
        assert!(text.ends_with(" on c1.example.com]\n"), "{text}");
        assert!(
            !mail(&settings(Some(3)), &["a", "b", "c"], true)
                .unwrap()
                .contains("truncated")
        );
        assert!(
            !mail(&settings(None), &["a", "b", "c"], true)
                .unwrap()
                .contains("truncated")
        );
    }

    #[test]
    fn an_address_cannot_add_a_header_or_an_option() {
        assert_eq!(address(" root@example.com "), Some("root@example.com".into()));
        assert_eq!(address("root@example.com\nBcc: x@y"), None);
        assert_eq!(address("-bs"), None);
        assert_eq!(address(""), None);
    }
}
