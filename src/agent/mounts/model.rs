//! Which file systems the policy wants on this machine: of the `mountables:`, those of our home and binary servers; all
//! `miscmounts:`.

use bstr::{BStr, BString, ByteSlice};

use super::fstab::Entry;
use crate::agent::job::BytesPath;
use crate::agent::{Job, Run};
use crate::fsx::any_matches;
use crate::policy::{Body, Rule, Section};

/// A file system that a rule wants mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// The line it should have.
    pub entry: Entry,
    /// The policy says something about its options: a line with other ones is changed.
    pub stated: bool,
    /// The policy says which type of file system it is (`nfstype`).
    pub kind_stated: bool,
}

/// The two sides of a mount rule: source and mount point. That of a mountable is its path.
pub fn sides(run: &Run<'_>, rule: &Rule) -> (BString, BString) {
    let source = run.ctx.expand(rule.promiser.as_bstr());
    let target = match &rule.body {
        Body::Members(words) => words.first().map(|(word, _)| run.ctx.expand(word.as_bstr())),
        _ => split(&source).map(|(_, path)| path.into()),
    };
    (source, target.unwrap_or_default())
}

/// `host:/path` in its two parts; an IPv6 address stands in square brackets.
pub fn split(source: &[u8]) -> Option<(&BStr, &BStr)> {
    let at = source.find(":/")?;
    let (host, path) = (&source[..at], &source[at + 1..]);
    let named = host
        .first()
        .is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'[');
    let plain = host
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]%".contains(byte));
    (named && plain).then(|| (host.as_bstr(), path.as_bstr()))
}

/// What a rule of `mountables:` or `miscmounts:` wants here: nothing where the resource is our own, or of a server that
/// is none of ours. The error is one sentence.
pub fn want(run: &Run<'_>, job: &Job) -> Result<Option<Want>, String> {
    let (source, target) = (&job.object, &job.other);
    let (host, path) = split(source).ok_or_else(|| format!("{source} is not written host:/path"))?;
    let whole = target.starts_with(b"/") && target.as_path().components().all(|part| part.as_os_str() != "..");
    if !whole || target == "/" {
        return Err(format!("{target} is no absolute path to mount {source} on"));
    }
    if source.iter().chain(target.iter()).any(u8::is_ascii_control) {
        return Err(format!("{source:?} holds a control character"));
    }
    if is_here(run, host) {
        return Ok(None);
    }
    let home = run.patterns("HomePattern");
    let last = path.rsplit_str("/").next().unwrap_or_default();
    let servers = if any_matches(&home, last.as_bstr()) {
        hosts(run, Section::Homeservers)
    } else {
        binary_servers(run)
    };
    let misc = job.rule.section == Section::MiscMounts;
    if !misc && !servers.iter().any(|server| same_host(run, server, host)) {
        return Ok(None);
    }
    let (options, stated) = if misc {
        misc_options(run, job)
    } else {
        options(run, job)
    };
    if options
        .iter()
        .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    {
        return Err(format!("the options {options} of {source} hold a blank"));
    }
    let entry = Entry {
        source: source.clone(),
        target: target.clone(),
        kind: kind_of(run),
        options,
    };
    // The variable has a value in every run: what is the usual one nobody need have said.
    let kind_stated = entry.kind != "nfs";
    Ok(Some(Want {
        entry,
        stated,
        kind_stated,
    }))
}

/// `nfstype`, else `nfs`.
pub fn kind_of(run: &Run<'_>) -> BString {
    let set = run.ctx.get("nfstype").map(|kind| run.ctx.expand(kind.as_bstr()));
    set.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "nfs".into())
}

/// The options of a mountable: `mountoptions=`, those of the resource file, or none of ours; `readonly=` besides.
fn options(run: &Run<'_>, job: &Job) -> (BString, bool) {
    let usual = run.resources.get("mountopts").cloned();
    let own = run.value(job, "mountoptions").or(usual);
    let stated = own.is_some() || job.rule.attrs.get("readonly").is_some();
    (combine(own, run.flag(job, "readonly", false).then_some(b"ro")), stated)
}

/// The options of a miscmount: `mode=`, or the words `ro` and `rw` of old.
fn misc_options(run: &Run<'_>, job: &Job) -> (BString, bool) {
    let usual = run.resources.get("mountopts").cloned();
    let word = match &job.rule.body {
        Body::Members(words) => words.get(1).map(|(word, _)| run.ctx.expand(word.as_bstr())),
        _ => None,
    };
    let mode = run.value(job, "mode").or(word);
    let stated = usual.is_some() || mode.is_some();
    (combine(usual, mode.as_ref().map(|mode| mode.as_slice())), stated)
}

/// Options with more of them; `ro` and `rw` drive each other out, and nothing stands twice.
fn combine(base: Option<BString>, more: Option<impl AsRef<[u8]>>) -> BString {
    let mut all: Vec<BString> = Vec::new();
    let base = base.unwrap_or_default();
    let more = more.as_ref().map(AsRef::as_ref).unwrap_or_default();
    for option in base.split_str(",").chain(more.split_str(",")) {
        let other: &[u8] = match option {
            b"ro" => b"rw",
            b"rw" => b"ro",
            _ => b"",
        };
        all.retain(|known| known != option && known != other);
        if !option.is_empty() {
            all.push(option.into());
        }
    }
    if all.is_empty() {
        return "defaults".into();
    }
    bstr::join(",", all).into()
}

/// The words of a section that lists hosts, as far as they hold now.
fn hosts(run: &Run<'_>, section: Section) -> Vec<BString> {
    let rules = run.rules(section).into_iter();
    rules
        .filter(|rule| run.ctx.holds(&rule.class))
        .flat_map(|rule| run.ctx.iterate(rule.promiser.as_bstr()))
        .collect()
}

/// The hosts of `binservers:`.
pub fn binary_servers(run: &Run<'_>) -> Vec<BString> {
    hosts(run, Section::Binservers)
}

/// Host and path of every mountable that holds, in text order.
pub fn mountables(run: &Run<'_>) -> Vec<(BString, BString)> {
    let rules = run.rules(Section::Mountables).into_iter();
    rules
        .filter(|rule| run.ctx.holds(&rule.class))
        .filter_map(|rule| {
            let source = run.ctx.expand(rule.promiser.as_bstr());
            split(&source).map(|(host, path)| (host.to_owned(), path.to_owned()))
        })
        .collect()
}

/// Whether a host is this one, by name or address.
pub fn is_here(run: &Run<'_>, host: &BStr) -> bool {
    use crate::policy::World;
    let name = |variable: &str| run.ctx.get(variable).unwrap_or_default();
    if host == "localhost" || same_host(run, &name("host"), host) || same_host(run, &name("fqhost"), host) {
        return true;
    }
    let address: Option<std::net::IpAddr> = host
        .to_str()
        .ok()
        .and_then(|text| text.trim_matches(['[', ']']).parse().ok());
    address.is_some_and(|address| address.is_loopback() || run.machine.addresses().contains(&address))
}

/// Whether two names are one host: a name without a dot is one of our domain.
pub fn same_host(run: &Run<'_>, a: &[u8], b: &[u8]) -> bool {
    let domain = run.ctx.get("domain").map(|domain| run.ctx.expand(domain.as_bstr()));
    let full = |name: &[u8]| {
        let mut name = name.to_ascii_lowercase();
        if let (false, Some(domain)) = (name.contains(&b'.'), &domain) {
            name.push(b'.');
            name.extend_from_slice(&domain.to_ascii_lowercase());
        }
        name
    };
    !a.is_empty() && full(a) == full(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_a_host_and_a_path() {
        let parts =
            |text: &'static str| split(text.as_bytes()).map(|(host, path)| (host.to_string(), path.to_string()));
        let pair = |host: &str, path: &str| Some((host.to_string(), path.to_string()));
        assert_eq!(parts("srv:/a/b"), pair("srv", "/a/b"));
        assert_eq!(parts("[fe80::1]:/a"), pair("[fe80::1]", "/a"));
        for wrong in ["/a", "srv", "srv:a", ":/a", "-o:/a", "a b:/c"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn options_add_up_and_the_later_of_ro_and_rw_counts() {
        let made = |base: Option<&str>, more: Option<&str>| combine(base.map(Into::into), more).to_string();
        assert_eq!(made(None, None), "defaults");
        assert_eq!(made(Some("rw,hard"), Some("ro")), "hard,ro");
        assert_eq!(made(Some("hard,hard"), Some("ro,soft")), "hard,ro,soft");
        assert_eq!(made(None, Some("rw")), "rw");
    }
}
