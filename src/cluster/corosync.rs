//! The nodelist of corosync.conf(5).

use std::path::Path;

use super::Cluster;
use crate::hosts::{FileError, Host};

/// What corosync.conf says about who is in the cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Nodes {
    name: Option<String>,
    members: Vec<String>,
}

impl Cluster for Nodes {
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
    fn members(&self) -> &[String] {
        &self.members
    }
}

/// Reads the file; none when it does not exist or lists no nodes.
pub(super) fn read(path: &Path) -> Result<Option<Nodes>, FileError> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = crate::hosts::read_file(path)?;
    let nodes = parse(path, &String::from_utf8_lossy(&bytes))?;
    Ok((!nodes.members.is_empty()).then_some(nodes))
}

/// Sections in braces, `key: value` lines, `#` comments. A node is called by its `name`, else by `ring0_addr`.
fn parse(path: &Path, text: &str) -> Result<Nodes, FileError> {
    let mut nodes = Nodes::default();
    let mut open: Vec<&str> = Vec::new();
    let (mut name, mut address) = (None, None);
    for (index, line) in text.lines().enumerate() {
        let at = |why: String| FileError::new(path, index + 1, why);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_suffix('{') {
            open.push(section.trim());
            (name, address) = (None, None);
        } else if line == "}" {
            let node = open == ["nodelist", "node"];
            open.pop().ok_or_else(|| at("'}' without '{'".into()))?;
            if node {
                let member: Option<&str> = name.take().or(address.take());
                let member = member.ok_or_else(|| at("a node has neither name nor ring0_addr".into()))?;
                Host::named(member).map_err(at)?;
                nodes.members.push(member.to_string());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            match (open.as_slice(), key.trim()) {
                (["nodelist", "node"], "name") => name = Some(value.trim()),
                (["nodelist", "node"], "ring0_addr") => address = Some(value.trim()),
                (["totem"], "cluster_name") => nodes.name = Some(value.trim().to_string()),
                _ => {}
            }
        }
    }
    match open.last() {
        None => Ok(nodes),
        Some(section) => {
            let why = format!("the section '{section}' is not closed");
            Err(FileError::new(path, text.lines().count(), why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Nodes, FileError> {
        parse(Path::new("corosync.conf"), text)
    }

    #[test]
    fn members_are_the_nodes_by_name_or_else_by_address() {
        let nodes = read(
            "totem {\n  version: 2\n  cluster_name: abc\n  interface {\n  name: no\n}\n}\n# nodes\nnodelist {\n  node {\n\
             \tring0_addr: 10.0.0.1\n\tname: n1\n\tnodeid: 1\n  }\n  node {\n    ring0_addr: n2.example.org\n  }\n}\n",
        )
        .unwrap();
        assert_eq!(nodes.name(), Some("abc"));
        assert_eq!(nodes.members(), ["n1", "n2.example.org"]);
    }

    #[test]
    fn a_node_that_cannot_be_called_is_an_error_with_its_line() {
        let error = read("nodelist {\nnode {\nnodeid: 1\n}\n}\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "corosync.conf:4: a node has neither name nor ring0_addr"
        );
        assert!(read("}\n").is_err());
        let error = read("nodelist {\nnode {\nname: a\n}\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "corosync.conf:4: the section 'nodelist' is not closed"
        );
    }
}
