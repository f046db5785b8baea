//! Values of attributes (cfengine2.md 8, 13, 14).

use bstr::{BStr, ByteSlice};

use crate::policy::{Attr, Section};

/// What is wrong with the value of an attribute; the value is expanded.
pub(super) fn attribute(section: Section, attr: &Attr, value: &BStr) -> Result<(), String> {
    let lower = value.to_ascii_lowercase();
    let one_of = |names: &[&str]| names.iter().any(|name| name.as_bytes() == lower.as_slice());
    let check = |fine: bool, message: String| if fine { Ok(()) } else { Err(message) };
    match attr.name {
        "mode" if section != Section::MiscMounts => mode(value),
        "define" | "elsedefine" | "failover" => check(
            value
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_:,.".contains(byte)),
            format!("Illegal class list in {}={value}", attr.name),
        ),
        "ifelapsed" | "expireafter" => match number(value) {
            None => Err(format!("Integer expected as argument to {}", attr.name)),
            Some(minutes) => check(minutes <= 999_999, format!("{} is out of range (0-999999)", attr.name)),
        },
        "force" | "forcedirs" | "forceipv4" | "stealth" | "verify" | "encrypt" | "trustkey" | "xdev" | "checkroot"
        | "typecheck" | "oldserver" | "inform" | "syslog" | "audit" | "rxdirs" | "deletedir" | "deletefstab"
        | "background" | "preview" | "noabspath" | "scanarrivals" | "purge" | "readonly" | "compress" => check(
            one_of(&["true", "false", "on", "off", "yes", "no"]),
            format!("Illegal switch value: {}={value} (true/false or on/off)", attr.name),
        ),
        "useshell" => check(
            one_of(&["true", "false", "dumb", "on", "off", "yes", "no"]),
            format!("Illegal attribute for useshell=: {value} (true, false or dumb)"),
        ),
        "timeout" => check(
            number(value).is_some_and(|seconds| seconds > 0),
            "timeout value must be a decimal number > 0".into(),
        ),
        "recurse" => check(
            number(value).is_some() || one_of(&["inf", "*"]),
            format!("recurse={value} is neither a number nor 'inf'"),
        ),
        "age" => check(number(value).is_some(), format!("age={value} is not a number of days")),
        "links" if matches!(section, Section::Files | Section::Tidy) => check(
            one_of(&["stop", "false", "traverse", "follow", "true", "tidy", "keep"]),
            format!("Illegal links={value} (stop, traverse or tidy)"),
        ),
        "action" => action(section, value, &lower),
        "size" => check(size(&lower), format!("size value {value} is no size")),
        "freespace" => check(
            lower
                .strip_suffix(b"%")
                .map_or_else(|| size(&lower), |percent| number(percent).is_some()),
            format!("freespace={value} is no size (N, or N with b, k, m or %)"),
        ),
        "matches" => check(
            number(
                lower
                    .strip_prefix(b"<")
                    .or(lower.strip_prefix(b">"))
                    .or(lower.strip_prefix(b"="))
                    .unwrap_or(&lower),
            )
            .is_some(),
            format!("matches attribute {value} is not a number"),
        ),
        "rotate" => check(
            number(value).is_some() || one_of(&["empty", "truncate"]),
            format!("disable/rotate value {value} is neither a number nor 'empty'"),
        ),
        "pattern" => check(
            !value.starts_with(b"/"),
            format!("search pattern begins with /: {value}"),
        ),
        "destination" if section == Section::Copy => check(
            value.starts_with(b"/") || value.starts_with(b"home"),
            format!("Image {value} needs an absolute pathname"),
        ),
        "cmp" => check(
            one_of(&["eq", "lt", "gt", "le", "ge", "ne"]),
            format!("cmp={value} is none of eq, lt, gt, le, ge, ne"),
        ),
        "type" => kind(section, value, &lower),
        "linktype" if lower != b"hard" => check(
            one_of(&["symbolic", "absolute", "abs", "relative", "rel", "copy", "none"]),
            format!("Illegal linktype={value} (symbolic, absolute, relative, copy, none)"),
        ),
        _ => Ok(()),
    }
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.to_str().ok()?.parse().ok()
}

fn size(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"<").or(text.strip_prefix(b">")).unwrap_or(text);
    let unit = text.find_not_byteset(b"0123456789").unwrap_or(text.len());
    // The first letter of the unit counts: `4mb` is `4m`.
    let units = text[unit..].first().is_none_or(|byte| b"bkmg".contains(byte));
    text == b"empty" || (number(&text[..unit]).is_some() && units && text[unit..].iter().all(u8::is_ascii_alphabetic))
}

fn action(section: Section, value: &BStr, lower: &[u8]) -> Result<(), String> {
    let names: &[&str] = match section {
        Section::Copy => &["fix", "warn", "silent"],
        Section::Files => &[
            "warnall",
            "warndirs",
            "warnplain",
            "fixall",
            "fixdirs",
            "fixplain",
            "touch",
            "create",
            "compress",
            "alert",
            "linkchildren",
        ],
        Section::Processes => &["signal", "do", "warn", "bymatch"],
        Section::Packages => &["none", "install", "remove", "upgrade", "fix"],
        Section::Disable => &["warn", "delete", "disable", "rename"],
        _ => return Ok(()),
    };
    if names.iter().any(|name| name.as_bytes() == lower) {
        return Ok(());
    }
    Err(format!("Unknown action type: {value} ({})", names.join(", ")))
}

fn kind(section: Section, value: &BStr, lower: &[u8]) -> Result<(), String> {
    let names: &[&str] = match section {
        Section::Copy => &["ctime", "mtime", "checksum", "sum", "byte", "binary", "any"],
        Section::Tidy => &["atime", "mtime", "ctime"],
        Section::Links => &["symbolic", "absolute", "relative", "hard", "none", "copy", "abs", "rel"],
        Section::Disable => &["file", "plain", "link", "links"],
        _ => return Ok(()),
    };
    if names.iter().any(|name| name.as_bytes() == lower) {
        return Ok(());
    }
    Err(format!(
        "Illegal {} type={value} ({})",
        section.name(),
        names.join(", ")
    ))
}

/// A mode (cfengine2.md 14.2.1): comma separated, either numbers or symbols.
fn mode(value: &BStr) -> Result<(), String> {
    let wrong = || format!("Invalid mode string ({value})");
    let (mut numeric, mut symbolic) = (false, false);
    for part in value.split(|byte| *byte == b',') {
        let digits = part
            .strip_prefix(b"+")
            .or(part.strip_prefix(b"-"))
            .or(part.strip_prefix(b"="))
            .unwrap_or(part);
        if !digits.is_empty() && digits.iter().all(|byte| (b'0'..=b'7').contains(byte)) {
            numeric = true;
            let bits = digits
                .to_str()
                .ok()
                .and_then(|digits| u32::from_str_radix(digits, 8).ok());
            if bits.is_none_or(|bits| bits > 0o7777) {
                return Err(format!("{}: above 7777", wrong()));
            }
            continue;
        }
        symbolic = true;
        let at = part.find_byteset(b"+-=").ok_or_else(wrong)?;
        let (who, what) = (&part[..at], &part[at + 1..]);
        let fine = who.iter().all(|byte| b"ugoa".contains(byte)) && what.iter().all(|byte| b"rwxst".contains(byte));
        if !fine {
            return Err(wrong());
        }
    }
    if numeric && symbolic {
        return Err(format!("{}: numbers and symbols are mixed", wrong()));
    }
    Ok(())
}
