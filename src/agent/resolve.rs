//! `resolve`: name servers in `/etc/resolv.conf` (cfengine2.md 14.10). The content is made by a pure function.

use std::io::{self, Read};
use std::path::Path;

use bstr::{BStr, BString, ByteSlice};

use super::Outcome;
use super::action::{Action, Work, in_text_order, iterate};
use super::event::Digest;
use super::{Job, Run, diff};
use crate::fsx::{Place, Wanted, write_whole};
use crate::policy::Section;

/// The line of the table.
pub static ACTION: Action = Action {
    name: "resolve",
    section: Section::Resolve,
    operator: "resolve",
    expand: iterate,
    order: in_text_order,
    once: true,
    work: Work::All(work),
};

/// A bigger file is no resolver configuration.
const MOST_BYTES: u64 = 64 * 1024;

fn work(run: &mut Run<'_>, action: &'static Action) {
    let mut jobs = run.jobs(action);
    jobs.retain(|job| run.begin(action, job));
    if jobs.is_empty() {
        return;
    }
    let outcome = match rewrite(run, &jobs) {
        Ok(outcome) => outcome,
        Err(error) => {
            run.report
                .error(format_args!("Cannot rewrite /etc/resolv.conf: {error}"));
            Outcome::Failed
        }
    };
    for job in &jobs {
        run.record(job, outcome);
        run.end(job);
    }
}

fn rewrite(run: &mut Run<'_>, jobs: &[Job]) -> io::Result<Outcome> {
    // Where it is a link, the file it leads to is the one to write.
    let path = run.paths.at("/etc/resolv.conf");
    let path = match std::fs::canonicalize(&path) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path,
        Err(error) => return Err(error),
    };
    let place = Place::of(&path)?;
    let old = read(&place)?;
    let domain = run.ctx.get("domain").filter(|domain| domain != "undefined.domain");
    let servers: Vec<BString> = jobs.iter().map(|job| job.object.clone()).collect();
    let keep = !run.is_on("EmptyResolvConf");
    let new = content(
        old.as_deref().unwrap_or_default(),
        domain.as_ref().map(|d| d.as_bstr()),
        &servers,
        keep,
    );
    if old.as_deref() == Some(new.as_slice()) {
        return Ok(Outcome::Kept);
    }
    let shown = path.display().to_string();
    run.report
        .say(run.doing(), format_args!("Saving edit changes to file {shown}"));
    if run.options.diff {
        let lines = diff::unified(&path, old.as_deref().unwrap_or_default(), &new);
        run.report.diff(&lines);
    }
    if !run.dry {
        save(run, &place, &path, &new)?;
    }
    if run.report.listens() {
        let name = super::editfiles::name_of(&path);
        run.report
            .changed(&name, old.as_deref().map(Digest::of), Some(Digest::of(&new)));
    }
    Ok(Outcome::Repaired)
}

fn save(run: &mut Run<'_>, place: &Place, path: &Path, new: &[u8]) -> io::Result<()> {
    run.sweep(&place.dir);
    let wanted = Wanted {
        mode: 0o644,
        ..Wanted::default()
    };
    run.noting((&place.dir, place.name(), path), || {
        write_whole(&place.dir, place.name(), new, &wanted, None)
    })
    .map(|_| ())
}

fn read(place: &Place) -> io::Result<Option<Vec<u8>>> {
    let file = match place.dir.read(place.name()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut content = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is too big to be a resolver configuration",
        ));
    }
    Ok(Some(content))
}

/// The file as it should be: the domain first, then the servers in the given order, then what else was in it. A server
/// that does not begin with a digit is a line of its own; an IPv6 address is a server, too.
fn content(old: &[u8], domain: Option<&BStr>, servers: &[BString], keep: bool) -> Vec<u8> {
    let mut lines: Vec<BString> = Vec::new();
    if let Some(domain) = domain {
        lines.push(BString::from([b"domain ", domain.as_bytes()].concat()));
    }
    for server in servers {
        let address = server.first().is_some_and(u8::is_ascii_digit)
            || server
                .to_str()
                .is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok());
        let line = if address {
            BString::from([b"nameserver ", server.as_bytes()].concat())
        } else {
            server.clone()
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if keep {
        for line in old.lines() {
            let word = line.fields().next().unwrap_or_default();
            let ours = word == b"domain" || word == b"search" || lines.iter().any(|known| known == line);
            if !ours {
                lines.push(line.into());
            }
        }
    }
    let mut content = Vec::new();
    for line in lines {
        content.extend_from_slice(&line);
        content.push(b'\n');
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(old: &str, servers: &[&str], keep: bool) -> String {
        let servers: Vec<BString> = servers.iter().map(|server| BString::from(*server)).collect();
        String::from_utf8(content(old.as_bytes(), Some("example.org".into()), &servers, keep)).unwrap()
    }

    #[test]
    fn the_domain_comes_first_then_the_servers_then_the_rest() {
        let old = "search a b\noptions edns0\nnameserver 10.0.0.9\ndomain old\n";
        let wanted = "domain example.org\nnameserver 10.0.0.1\nsortlist x\nnameserver fe80::1\noptions edns0\nnameserver 10.0.0.9\n";
        let new = made(old, &["10.0.0.1", "sortlist x", "fe80::1"], true);
        assert_eq!(new, wanted);
        assert_eq!(
            made(&new, &["10.0.0.1", "sortlist x", "fe80::1"], true),
            wanted,
            "a second run changes nothing"
        );
        assert_eq!(
            made(old, &["10.0.0.1"], false),
            "domain example.org\nnameserver 10.0.0.1\n"
        );
    }
}
