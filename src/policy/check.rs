//! What is wrong with a rule by its meaning: values of attributes, absolute paths (cfengine2.md 8). A text that still
//! holds unknown references is judged when it is used, not here.

use bstr::{BStr, BString, ByteSlice};

use super::{Attr, Body, Context, PolicyError, Pos, Program, Rule, Section};

/// The errors of a rule.
pub(super) fn rule(rule: &Rule, context: &Context, report: &mut dyn FnMut(Pos, String, Option<&str>)) {
    for attr in &rule.attrs.0 {
        let Some(value) = known(context, attr.value.as_ref()) else {
            continue;
        };
        if let Err(message) = attribute(rule.section, attr, &value) {
            report(attr.pos.clone(), message, None);
        }
    }
    if iterates(rule.section) && context.too_many(rule.promiser.as_ref()) {
        report(rule.pos.clone(), super::TooMany.to_string(), None);
    }
    let missing = |name: &str| rule.attrs.get(name).is_none();
    match rule.section {
        Section::Tidy if missing("age") => {
            report(
                rule.pos.clone(),
                "Must specify an age for tidy actions".into(),
                Some("age=DAYS; 0 means any age"),
            );
        }
        Section::Copy if missing("destination") => {
            report(
                rule.pos.clone(),
                "a copy needs a destination".into(),
                Some("dest=/absolute/name"),
            );
        }
        Section::Copy => {
            let attr = rule.attrs.get("linktype");
            if let Some(attr) = attr.filter(|attr| attr.value.eq_ignore_ascii_case(b"hard")) {
                let text = "hard links inappropriate for copy".into();
                report(attr.pos.clone(), text, Some("linktype=copy takes what a link leads to"));
            }
        }
        Section::ShellCommands => {
            let relative = known(context, rule.promiser.as_ref()).is_some_and(|text| !text.starts_with(b"/"));
            let allowed = rule.attrs.get("noabspath").is_some_and(|attr| is_true(&attr.value));
            // The original looks at a command only where its class can become true.
            if relative && !allowed && context.could_hold(&rule.class) {
                let text = "scripts or commands must have absolute path names".into();
                report(
                    rule.pos.clone(),
                    text,
                    Some("noabspath=true lets a command be looked up"),
                );
            }
        }
        Section::Alerts if rule.class.is_any() && !returns(rule) => {
            let text = "Alerts cannot be in class any - probably a mistake".into();
            report(rule.pos.clone(), text, Some("put a class predicate before the alert"));
        }
        Section::Links => {
            let hard = rule
                .attrs
                .get("type")
                .is_some_and(|attr| attr.value.eq_ignore_ascii_case(b"hard"));
            if hard && matches!(rule.body, Body::Link { children: true, .. }) {
                report(
                    rule.pos.clone(),
                    "hard links inappropriate for multiple linkage".into(),
                    None,
                );
            }
        }
        Section::Strategies => strategy(rule, report),
        _ => {}
    }
}

/// What is odd about a mode, though it means something: letters that do not say whose change nothing.
pub(super) fn odd_mode(rule: &Rule, context: &Context) -> Option<Pos> {
    let attr = rule.attrs.get("mode").filter(|_| rule.section != Section::MiscMounts)?;
    let value = known(context, attr.value.as_ref())?;
    let whose = |part: &[u8]| part.first().is_none_or(|byte| b"ugoa".contains(byte));
    let letters = |part: &[u8]| part.last().is_some_and(|byte| b"rwxst".contains(byte));
    let odd = value
        .split(|byte| *byte == b',')
        .any(|part| letters(part) && !whose(part));
    odd.then(|| attr.pos.clone())
}

/// The answer of a method to its caller is no alert.
fn returns(rule: &Rule) -> bool {
    matches!(rule.body, Body::Call(_))
        && (rule.promiser.eq_ignore_ascii_case(b"ReturnVariables")
            || rule.promiser.eq_ignore_ascii_case(b"ReturnClasses"))
}

/// Whether lists iterate in the promiser of a section.
pub(super) fn iterates(section: Section) -> bool {
    matches!(
        section,
        Section::Copy
            | Section::Files
            | Section::Tidy
            | Section::Disable
            | Section::Directories
            | Section::Disks
            | Section::Resolve
            | Section::Ignore
            | Section::ShellCommands
            | Section::Admit
            | Section::Deny
    )
}

fn strategy(rule: &Rule, report: &mut dyn FnMut(Pos, String, Option<&str>)) {
    if let Body::Pairs(pairs) = &rule.body {
        for (_, weight, pos) in pairs {
            if weight_of(weight).is_none() {
                let text = "strategy distribution weight must be an integer";
                report(pos.clone(), text.into(), Some("a weight is greater than 0"));
            }
        }
    }
}

/// A weight of a strategy.
pub(super) fn weight_of(text: &BString) -> Option<u64> {
    text.to_str()
        .ok()?
        .parse()
        .ok()
        .filter(|weight| (1..=1_000_000_000).contains(weight))
}

/// The expanded text, unless a reference is left in it.
fn known<'a>(context: &Context, text: &'a BStr) -> Option<std::borrow::Cow<'a, BStr>> {
    if !text.contains(&b'$') {
        return Some(std::borrow::Cow::Borrowed(text));
    }
    let expanded = context.expand(text);
    (!expanded.contains_str("$(") && !expanded.contains_str("${")).then_some(std::borrow::Cow::Owned(expanded))
}

fn is_true(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"true") || value.eq_ignore_ascii_case(b"on")
}

fn attribute(section: Section, attr: &Attr, value: &BStr) -> Result<(), String> {
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

/// Variables that must be set before they are used (quirk Q8), with the messages of section 8.
static MUST_BE_SET: &[&str] = &["site", "faculty", "sysadm", "timezone"];

/// The first variable a text uses that must be set and is not.
pub(super) fn undefined(context: &Context, text: &[u8]) -> Option<String> {
    if !text.contains(&b'$') {
        return None;
    }
    MUST_BE_SET
        .iter()
        .filter(|name| !context.is_set(name))
        .find(|name| {
            text.find_iter(name.as_bytes()).any(|at| {
                let end = text.get(at + name.len());
                at >= 2
                    && text[at - 2] == b'$'
                    && b"({".contains(&text[at - 1])
                    && end.is_some_and(|b| b")}".contains(b))
            })
        })
        .map(|name| match *name {
            "site" | "faculty" => "faculty/site undefined variable".to_string(),
            name => format!("{name} undefined variable"),
        })
}

/// Rules that use a variable that must be set and is not, once all files are read (an import may have set it).
pub(super) fn undefined_in_rules(program: &Program) -> Vec<PolicyError> {
    let context = &program.context;
    if MUST_BE_SET.iter().all(|name| context.is_set(name)) {
        return Vec::new();
    }
    let mut errors = Vec::new();
    for rule in program.rules.iter().filter(|rule| context.could_hold(&rule.class)) {
        let mut look = |text: &[u8], pos: &Pos| {
            if let Some(message) = undefined(context, text) {
                errors.push(PolicyError {
                    pos: pos.clone(),
                    message,
                    hint: Some("it is set in control:".into()),
                    excerpt: None,
                });
            }
        };
        look(&rule.promiser, &rule.pos);
        for attr in &rule.attrs.0 {
            look(&attr.value, &attr.pos);
        }
        match &rule.body {
            Body::Link { to, .. } | Body::Restart(to) => look(to, &rule.pos),
            Body::Edit(commands) => commands.iter().for_each(|command| look(&command.arg, &command.pos)),
            _ => {}
        }
        if errors.len() > 100 {
            break;
        }
    }
    errors
}

/// An error for a rule's list of errors.
pub(super) fn error(source: &super::source::Source, pos: Pos, message: String, hint: Option<&str>) -> PolicyError {
    source.error_at(pos, message).with_hint(hint.map(str::to_string))
}
