//! Values that an attribute cannot have (cfengine2.md 8, 13, 14). Where a word was expected, the nearest is offered.

use bstr::{BStr, ByteSlice};

use crate::policy::source::did_you_mean;
use crate::policy::{Attr, Section};

/// What is wrong with a value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub message: String,
    /// The word that was probably meant.
    pub hint: Option<String>,
}

impl From<String> for Wrong {
    fn from(message: String) -> Wrong {
        Wrong { message, hint: None }
    }
}

/// A value that must be one of some words, in any case.
fn one_of(value: &BStr, words: &[&str], message: impl FnOnce() -> String) -> Result<(), Wrong> {
    if words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes())) {
        return Ok(());
    }
    Err(Wrong {
        message: message(),
        hint: did_you_mean(value, words.iter().copied()),
    })
}

/// What is wrong with the value of an attribute; the value is expanded.
pub(super) fn attribute(section: Section, attr: &Attr, value: &BStr) -> Result<(), Wrong> {
    let lower = value.to_ascii_lowercase();
    let check = |fine: bool, message: String| if fine { Ok(()) } else { Err(message.into()) };
    match attr.name {
        "mode" if section != Section::MiscMounts => Ok(mode(value)?),
        "define" | "elsedefine" | "failover" => check(
            value
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_:,.".contains(byte)),
            format!("Illegal class list in {}={value}", attr.name),
        ),
        "ifelapsed" | "expireafter" => match number(value) {
            None => check(false, format!("Integer expected as argument to {}", attr.name)),
            Some(minutes) => check(minutes <= 999_999, format!("{} is out of range (0-999999)", attr.name)),
        },
        "force" | "forcedirs" | "forceipv4" | "stealth" | "verify" | "encrypt" | "trustkey" | "xdev" | "checkroot"
        | "typecheck" | "oldserver" | "inform" | "syslog" | "audit" | "rxdirs" | "deletedir" | "deletefstab"
        | "background" | "preview" | "noabspath" | "scanarrivals" | "purge" | "readonly" | "compress" => {
            one_of(value, SWITCH, || {
                format!("Illegal switch value: {}={value} (true/false or on/off)", attr.name)
            })
        }
        "useshell" => one_of(value, SHELL, || {
            format!("Illegal attribute for useshell=: {value} (true, false or dumb)")
        }),
        "timeout" => check(
            number(value).is_some_and(|seconds| seconds > 0),
            "timeout value must be a decimal number > 0".into(),
        ),
        "recurse" if number(value).is_some() => Ok(()),
        "recurse" => one_of(value, &["inf", "*"], || {
            format!("recurse={value} is neither a number nor 'inf'")
        }),
        "age" => check(number(value).is_some(), format!("age={value} is not a number of days")),
        "links" if matches!(section, Section::Files | Section::Tidy) => one_of(value, LINKS, || {
            format!("Illegal links={value} (stop, traverse or tidy)")
        }),
        "action" => action(section, value),
        "size" if size(&lower) => Ok(()),
        "size" => one_of(value, &["empty"], || format!("size value {value} is no size")),
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
        "rotate" if number(value).is_some() => Ok(()),
        "rotate" => one_of(value, &["empty", "truncate"], || {
            format!("disable/rotate value {value} is neither a number nor 'empty'")
        }),
        "pattern" => check(
            !value.starts_with(b"/"),
            format!("search pattern begins with /: {value}"),
        ),
        "destination" if section == Section::Copy => check(
            value.starts_with(b"/") || value.starts_with(b"home"),
            format!("Image {value} needs an absolute pathname"),
        ),
        "cmp" => one_of(value, &["eq", "lt", "gt", "le", "ge", "ne"], || {
            format!("cmp={value} is none of eq, lt, gt, le, ge, ne")
        }),
        "type" => kind(section, value),
        "linktype" if lower != b"hard" => one_of(value, LINK_TYPES, || {
            format!("Illegal linktype={value} (symbolic, absolute, relative, copy, none)")
        }),
        _ => Ok(()),
    }
}

static SWITCH: &[&str] = &["true", "false", "on", "off", "yes", "no"];
static SHELL: &[&str] = &["true", "false", "dumb", "on", "off", "yes", "no"];
static LINK_TYPES: &[&str] = &["symbolic", "absolute", "abs", "relative", "rel", "copy", "none"];
static LINKS: &[&str] = &["stop", "false", "traverse", "follow", "true", "tidy", "keep"];

/// A number without sign.
pub(super) fn number(text: &[u8]) -> Option<u64> {
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

fn action(section: Section, value: &BStr) -> Result<(), Wrong> {
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
    one_of(value, names, || {
        format!("Unknown action type: {value} ({})", names.join(", "))
    })
}

fn kind(section: Section, value: &BStr) -> Result<(), Wrong> {
    let names: &[&str] = match section {
        Section::Copy => &["ctime", "mtime", "checksum", "sum", "byte", "binary", "any"],
        Section::Tidy => &["atime", "mtime", "ctime"],
        Section::Links => &["symbolic", "absolute", "relative", "hard", "none", "copy", "abs", "rel"],
        Section::Disable => &["file", "plain", "link", "links"],
        _ => return Ok(()),
    };
    one_of(value, names, || {
        format!("Illegal {} type={value} ({})", section.name(), names.join(", "))
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(section: Section, name: &'static str, value: &str) -> Option<String> {
        let pos = crate::policy::Pos {
            file: "f".into(),
            line: 1,
            col: 1,
        };
        let attr = Attr {
            name,
            value: value.into(),
            pos,
        };
        attribute(section, &attr, value.into()).unwrap_err().hint
    }

    #[test]
    fn a_value_that_is_nearly_a_word_of_the_language_is_told_which() {
        for (section, name, value, meant) in [
            (Section::Files, "action", "fixal", "fixall"),
            (Section::Processes, "action", "wran", "warn"),
            (Section::Copy, "type", "cheksum", "checksum"),
            (Section::Links, "type", "Relativ", "relative"),
            (Section::Tidy, "links", "travers", "traverse"),
            (Section::Copy, "linktype", "absolut", "absolute"),
            (Section::Packages, "cmp", "eqq", "eq"),
            (Section::Copy, "purge", "ture", "true"),
            (Section::ShellCommands, "useshell", "dum", "dumb"),
            (Section::Copy, "recurse", "infinite", ""),
            (Section::Copy, "recurse", "in", "inf"),
            (Section::Disable, "rotate", "emty", "empty"),
            (Section::Disable, "size", "emty", "empty"),
            (Section::Files, "action", "explode", ""),
        ] {
            let wanted = (!meant.is_empty()).then(|| format!("did you mean '{meant}'?"));
            assert_eq!(hint(section, name, value), wanted, "{name}={value}");
        }
    }
}
