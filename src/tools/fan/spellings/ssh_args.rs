//! Arguments for ssh as other tools are given them, as options of `ssh_config` and of ours.

use crate::diag::Fail;

/// Letters of ssh with a value, and what they are in `ssh_config`.
const VALUES: &[(char, &str)] = &[
    ('B', "BindInterface"),
    ('b', "BindAddress"),
    ('c', "Ciphers"),
    ('D', "DynamicForward"),
    ('I', "PKCS11Provider"),
    ('i', "IdentityFile"),
    ('J', "ProxyJump"),
    ('m', "MACs"),
    ('p', "Port"),
];

/// Letters of ssh without a value. Nothing: it is so without being asked for, or a matter of taste.
const FLAGS: &[(char, &str)] = &[
    ('1', ""),
    ('2', ""),
    ('4', "AddressFamily=inet"),
    ('6', "AddressFamily=inet6"),
    ('A', "ForwardAgent=yes"),
    ('a', ""),
    ('C', "Compression=yes"),
    ('K', "GSSAPIAuthentication=yes"),
    ('k', "GSSAPIDelegateCredentials=no"),
    ('n', ""),
    ('q', ""),
    ('T', ""),
    // Wanted so that commands end with the connection, which they do.
    ('t', ""),
    ('v', ""),
    ('X', "ForwardX11=yes"),
    ('x', ""),
];

/// Our options for arguments of ssh in one text; `source` is named when they cannot be understood.
pub fn translate(source: &str, text: &str) -> Result<Vec<String>, Fail> {
    words(source, &split(source, text)?)
}

/// Our options for arguments of ssh that are split already.
pub fn words(source: &str, words: &[String]) -> Result<Vec<String>, Fail> {
    let refuse = |what: &str| {
        Fail::usage(format!(
            "{source}: '{what}' is no argument of ssh that can be passed on"
        ))
        .hint("--ssh-option of cexec(1) takes options of ssh_config(5)")
    };
    let mut ours = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        // Where pdsh puts host and user itself.
        if word == "%h" || word == "%u" {
            continue;
        }
        let mut letters = word.strip_prefix('-').ok_or_else(|| refuse(word))?;
        while let Some(letter) = letters.chars().next() {
            letters = &letters[letter.len_utf8()..];
            if let Some((_, option)) = FLAGS.iter().find(|(own, _)| *own == letter) {
                if !option.is_empty() {
                    ours.push(format!("--ssh-option={option}"));
                }
                continue;
            }
            let key = VALUES.iter().find(|(own, _)| *own == letter).map(|(_, key)| *key);
            if key.is_none() && !matches!(letter, 'l' | 'o') {
                return Err(refuse(word));
            }
            let value = match std::mem::take(&mut letters) {
                "" => rest.next().map(String::as_str).ok_or_else(|| refuse(word))?,
                attached => attached,
            };
            match key {
                Some(key) => ours.push(format!("--ssh-option={key}={value}")),
                None if letter == 'l' && value == "%u" => {}
                None if letter == 'l' => ours.push(format!("--user={value}")),
                None => ours.extend(option(value)),
            }
        }
    }
    Ok(ours)
}

/// An option as `-o` has it: `Key=value` or `Key value`.
pub fn option(text: &str) -> Option<String> {
    let text = text.trim();
    let end = text.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(text.len());
    let (key, value) = (&text[..end], &text[end..]);
    let value = value.trim_start_matches(|c: char| c == '=' || c.is_whitespace());
    match key.to_ascii_lowercase().as_str() {
        // Always so, or said by other means.
        "batchmode" | "loglevel" | "requesttty" => None,
        "connecttimeout" => Some(format!("--connect-timeout={value}")),
        "user" => Some(format!("--user={value}")),
        _ => Some(format!("--ssh-option={key}={value}")),
    }
}

/// The words of a text, with quotes and backslashes as the shell has them.
fn split(source: &str, text: &str) -> Result<Vec<String>, Fail> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Fail::usage(format!("{source}: a quote is not closed")));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_ssh_become_options() {
        let ours = |text: &str| {
            translate("-o", text)
                .map(|ours| ours.join(" "))
                .map_err(|e| e.to_string())
        };
        assert_eq!(
            ours("-p 2022 -i '~/.ssh/a b' -Cq -oUserKnownHostsFile=/x").unwrap(),
            "--ssh-option=Port=2022 --ssh-option=IdentityFile=~/.ssh/a b --ssh-option=Compression=yes \
             --ssh-option=UserKnownHostsFile=/x"
        );
        // What pdsh passes by itself.
        assert_eq!(ours("-2 -a -x -l%u %h").unwrap(), "");
        assert_eq!(
            ours("-l bob -o 'ConnectTimeout 5' -o BatchMode=yes -tt").unwrap(),
            "--user=bob --connect-timeout=5"
        );
        assert_eq!(ours("").unwrap(), "");
        for wrong in ["-Z", "host", "-p", "-F x", "'a"] {
            assert!(ours(wrong).is_err(), "{wrong}");
        }
    }
}
