//! Groups as `chosts` prints them: which there are, whose a host is, and a list made of groups again.

use super::targets::Outside;
use crate::hosts::{self, Host, HostSet, ListError};

/// A group with its hosts.
struct Group {
    name: String,
    hosts: HostSet,
}

fn members(outside: &mut Outside, source: &str, names: Vec<String>) -> Result<Vec<Group>, ListError> {
    let mut groups = Vec::with_capacity(names.len());
    for name in names {
        let hosts = hosts::expand_with(&format!("@{source}:{name}"), outside)?;
        groups.push(Group { name, hosts });
    }
    Ok(groups)
}

/// `@name`, or `@source:name` where the source is not the default one.
fn prefix(source: &str, default: &str, base: bool) -> String {
    match base || source == default {
        true => "@".to_string(),
        false => format!("@{source}:"),
    }
}

/// A line for each group of the default source, or of every source that can list its groups. `depth` 2 adds the hosts, 3
/// their number. With `of`: only groups that hold some of these hosts, and of their hosts only these.
pub fn listed(
    outside: &mut Outside,
    every: bool,
    base: bool,
    depth: u8,
    of: Option<&HostSet>,
) -> Result<Vec<String>, ListError> {
    let default = outside.groups.default_source()?;
    let sources = match every {
        true => outside.groups.sources()?,
        false => vec![default.clone()],
    };
    let configured = outside.groups.configured_source()?;
    let mut lines = Vec::new();
    for source in sources {
        let names = match outside.groups.names(Some(&source)) {
            Ok(names) => names,
            // Of all sources, those that cannot be listed are left out.
            Err(_) if every => continue,
            Err(error) => return Err(error),
        };
        let prefix = prefix(&source, &configured, base);
        if depth == 1 && of.is_none() {
            lines.extend(names.iter().map(|name| format!("{prefix}{name}")));
            continue;
        }
        let groups = match members(outside, &source, names) {
            Ok(groups) => groups,
            // A machine outside a cluster has a source of that name all the same.
            Err(_) if every && source != default => continue,
            Err(error) => return Err(error),
        };
        for group in groups {
            let mut hosts = group.hosts.clone();
            if let Some(of) = of {
                hosts.and(of);
                if hosts.is_empty() {
                    continue;
                }
            }
            let mut line = format!("{prefix}{}", group.name);
            if depth > 1 {
                line.push_str(&format!(" {}", hosts::fold(hosts.iter())));
            }
            if depth > 2 {
                line.push_str(&match of {
                    Some(_) => format!(" {}/{}", hosts.len(), group.hosts.len()),
                    None => format!(" {}", hosts.len()),
                });
            }
            lines.push(line.trim_end().to_string());
        }
    }
    Ok(lines)
}

/// Writes a list with the groups of the default source that are wholly in it, the largest first, and what remains.
pub fn regrouped(outside: &mut Outside, base: bool, mut rest: HostSet) -> Result<String, ListError> {
    let source = outside.groups.default_source()?;
    let names = outside.groups.names(Some(&source))?;
    let whole = rest.clone();
    let mut groups = members(outside, &source, names)?;
    groups.retain(|group| !group.hosts.is_empty() && whole.contains_all(&group.hosts));
    // Stable: of groups of the same size the first by name is taken.
    groups.sort_by_key(|group| std::cmp::Reverse(group.hosts.len()));
    let mut taken = Vec::new();
    for group in groups {
        if group.hosts.iter().any(|host| rest.contains(host)) {
            rest.minus(&group.hosts);
            taken.push(Host {
                name: group.name,
                user: None,
                port: None,
            });
        }
    }
    let prefix = prefix(&source, &outside.groups.configured_source()?, base);
    let mut parts: Vec<String> = hosts::fold_parts(&taken, &hosts::Style::default())
        .into_iter()
        .map(|name| format!("{prefix}{name}"))
        .collect();
    if !rest.is_empty() {
        parts.push(hosts::fold(rest.iter()));
    }
    Ok(parts.join(","))
}
