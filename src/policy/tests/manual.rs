//! The manual names everything the tables hold.

use super::*;
use crate::policy::{attr, edit, functions, names};

#[test]
fn the_manual_names_every_section_attribute_function_variable_and_edit_command() {
    let page = include_str!("../../../man/cfagent.conf.5").to_ascii_lowercase();
    let words: std::collections::HashSet<&str> = page
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-')
        .collect();
    let tables = [attr::NAMES, names::SCALARS, names::LISTS, names::FACTS];
    let missing: Vec<String> = Section::keywords()
        .chain(tables.into_iter().flatten().copied())
        .chain(functions::names())
        .chain(edit::COMMANDS.iter().map(|(name, _)| *name))
        .map(str::to_ascii_lowercase)
        .filter(|name| !words.contains(name.as_str()))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}
