//! The value functions of `control:` (cfengine2.md 11): they give a text, or fill an array. Each is one function here and
//! one line in the table of [`functions`](super::functions).

use bstr::{BString, ByteSlice};

use super::ast::Call;
use super::functions::{Env, absolute};

/// The most a file or a connection may give.
const MOST_BYTES: usize = 16 << 20;

/// What a value function gives: the text of the variable, or `None` where it filled an array.
type Given = Result<Option<BString>, String>;

pub(super) fn element_of(call: &Call, variable: &BString, env: &mut Env) -> Given {
    let args = env.args(call, 2)?;
    let value = env.context.expand_value(call.args[1].as_ref());
    env.context.set(element(variable, &[&args[0]]), value);
    Ok(None)
}

pub(super) fn exec_result(call: &Call, _: &BString, env: &mut Env) -> Given {
    exec(call, env, false).map(Some)
}

pub(super) fn exec_shell_result(call: &Call, _: &BString, env: &mut Env) -> Given {
    exec(call, env, true).map(Some)
}

pub(super) fn random_int(call: &Call, _: &BString, env: &mut Env) -> Given {
    random(call, env).map(Some)
}

pub(super) fn read_file(call: &Call, _: &BString, env: &mut Env) -> Given {
    let args = env.args(call, 2)?;
    let text = read(env, &args[0], &args[1], "ReadFile")?;
    Ok(Some(text.unwrap_or_default().trim_end_with(|c| c == '\n').into()))
}

pub(super) fn read_list(call: &Call, _: &BString, env: &mut Env) -> Given {
    let args = env.args(call, 4)?;
    if !args[1].eq_ignore_ascii_case(b"lines") {
        return Err(format!("ReadList knows the format 'lines', not '{}'", args[1]));
    }
    let text = read(env, &args[0], &args[3], "ReadList")?.unwrap_or_default();
    Ok(Some(bstr::join([env.context.split()], lines(&text, &args[2])).into()))
}

pub(super) fn read_array(call: &Call, variable: &BString, env: &mut Env) -> Given {
    array(call, variable, env, false).map(|()| None)
}

pub(super) fn read_table(call: &Call, variable: &BString, env: &mut Env) -> Given {
    array(call, variable, env, true).map(|()| None)
}

pub(super) fn read_tcp(call: &Call, _: &BString, env: &mut Env) -> Given {
    tcp(call, env).map(Some)
}

pub(super) fn partition_leader(call: &Call, _: &BString, env: &mut Env) -> Given {
    partition(call, env).map(|group| Some(group.leader))
}

pub(super) fn partition_neighbours(call: &Call, _: &BString, env: &mut Env) -> Given {
    let group = partition(call, env)?;
    Ok(Some(bstr::join([env.context.split()], group.others).into()))
}

fn element(variable: &BString, keys: &[&BString]) -> BString {
    let mut name = variable.clone();
    for key in keys {
        name.push(b'[');
        name.extend_from_slice(key);
        name.push(b']');
    }
    name
}

/// The output of a command: newlines become blanks, those at the end go (VAR-03).
fn exec(call: &Call, env: &mut Env, shell: bool) -> Result<BString, String> {
    let command = env.whole(call)?;
    absolute(command.as_ref(), shell)?;
    match env.world.run(command.as_ref(), shell) {
        Ok(output) => {
            let text = output.text.trim_end_with(|c| c == '\n' || c == '\r');
            Ok(text
                .iter()
                .map(|byte| if *byte == b'\n' { b' ' } else { *byte })
                .collect::<Vec<u8>>()
                .into())
        }
        Err(error) => {
            env.warnings.push(format!("cannot run {command}: {error}"));
            Ok(BString::default())
        }
    }
}

fn number(text: &BString, what: &str) -> Result<u64, String> {
    text.trim()
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{what} needs a number, not '{text}'"))
}

fn random(call: &Call, env: &mut Env) -> Result<BString, String> {
    let args = env.args(call, 2)?;
    let (low, high) = (number(&args[0], "RandomInt"), number(&args[1], "RandomInt"));
    match (low, high) {
        (Ok(low), Ok(high)) if low < high => Ok(env.world.random(low, high).to_string().into()),
        _ => Err("RandomInt(a,b) must have different non-negative arguments, a < b".into()),
    }
}

/// Reads at most so many bytes; a file that is not there is a warning and gives `None`.
fn read(env: &mut Env, path: &BString, limit: &BString, what: &str) -> Result<Option<BString>, String> {
    let limit = (number(limit, what)? as usize).min(MOST_BYTES);
    match env.world.read_file(path.as_ref(), limit) {
        Ok(mut text) => {
            text.truncate(limit);
            Ok(Some(text.into()))
        }
        Err(error) => {
            let why = format!("Could not open {what}({path}): fopen: {error}");
            env.warnings.push(crate::diag::plain(&why));
            Ok(None)
        }
    }
}

/// The lines of a text without comments and blank lines.
fn lines(text: &BString, comment: &BString) -> Vec<BString> {
    text.lines()
        .map(|line| match line.find(comment) {
            Some(at) if !comment.is_empty() => &line[..at],
            _ => line,
        })
        .map(|line| BString::from(line.trim()))
        .filter(|line| !line.is_empty())
        .collect()
}

fn array(call: &Call, variable: &BString, env: &mut Env, table: bool) -> Result<(), String> {
    let args = env.args(call, 5)?;
    let text_keys = match args[1].to_ascii_lowercase().as_slice() {
        b"textkey" => true,
        b"autokey" => false,
        _ => {
            return Err(format!(
                "{} knows 'autokey' and 'textkey', not '{}'",
                call.name, args[1]
            ));
        }
    };
    if args[2].is_empty() {
        return Err(format!("{} needs a separator", call.name));
    }
    let Some(text) = read(env, &args[0], &args[4], if table { "ReadTable" } else { "ReadArray" })? else {
        return Ok(());
    };
    let mut running = 0usize;
    for (row, line) in lines(&text, &args[3]).into_iter().enumerate() {
        let fields: Vec<BString> = line.split_str(&args[2]).map(|field| field.trim().into()).collect();
        match (table, text_keys) {
            (false, false) => {
                for field in fields {
                    running += 1;
                    env.context
                        .set(element(variable, &[&running.to_string().into()]), field);
                }
            }
            (false, true) => {
                if let [key, rest @ ..] = fields.as_slice() {
                    let value = bstr::join(&args[2], rest);
                    env.context.set(element(variable, &[key]), value);
                }
            }
            (true, false) => {
                let row = BString::from((row + 1).to_string());
                for (column, field) in fields.into_iter().enumerate() {
                    let column = BString::from((column + 1).to_string());
                    env.context.set(element(variable, &[&row, &column]), field);
                }
            }
            (true, true) => {
                if let [key, rest @ ..] = fields.as_slice() {
                    for pair in rest.chunks_exact(2) {
                        env.context.set(element(variable, &[key, &pair[0]]), pair[1].clone());
                    }
                }
            }
        }
    }
    Ok(())
}

fn tcp(call: &Call, env: &mut Env) -> Result<BString, String> {
    let args = env.args(call, 4)?;
    let port = u16::try_from(number(&args[1], "ReadTCP")?).map_err(|_| "ReadTCP needs a port below 65536")?;
    let limit = (number(&args[3], "ReadTCP")? as usize).min(MOST_BYTES);
    match env.world.read_tcp(args[0].as_ref(), port, args[2].as_ref(), limit) {
        Ok(mut text) => {
            text.truncate(limit);
            Ok(text.into())
        }
        Err(error) => {
            env.warnings.push(format!("ReadTCP({}:{port}): {error}", args[0]));
            Ok(BString::default())
        }
    }
}

struct Group {
    leader: BString,
    others: Vec<BString>,
}

/// The group of this host: the hosts of a file, shuffled alike on every host that reads the same file, cut into groups.
fn partition(call: &Call, env: &mut Env) -> Result<Group, String> {
    let args = env.args(call, 4)?;
    if !args[2].eq_ignore_ascii_case(b"random") {
        return Err(format!("{} knows the policy 'random', not '{}'", call.name, args[2]));
    }
    let size = number(&args[3], "a partition")?.max(1) as usize;
    let limit = BString::from(MOST_BYTES.to_string());
    let text = read(env, &args[0], &limit, "SelectPartition")?.unwrap_or_default();
    let mut hosts = lines(&text, &args[1]);
    hosts.sort_by_cached_key(|host| (spread(host), host.clone()));
    let (host, full) = (
        env.context.get("host").unwrap_or_default(),
        env.context.get("fqhost").unwrap_or_default(),
    );
    let is_self = |name: &BString| name.eq_ignore_ascii_case(&full) || name.eq_ignore_ascii_case(&host);
    let group = hosts.chunks(size).find(|group| group.iter().any(is_self));
    Ok(match group {
        Some(group) => Group {
            leader: group[0].clone(),
            others: group.iter().filter(|name| !is_self(name)).cloned().collect(),
        },
        None => {
            env.warnings
                .push(format!("{}: this host is not in {}", call.name, args[0]));
            Group {
                leader: BString::default(),
                others: Vec::new(),
            }
        }
    })
}

/// FNV-1a: the same order of hosts everywhere.
fn spread(name: &BString) -> u64 {
    name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
    })
}
