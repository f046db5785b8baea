//! `crender`: fill in the tokens of a template. Output appears only when all of it is there.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, ValueHint, value_parser};

use crate::diag::{Exit, Fail, Out};
use crate::rcconf::{Other, RcFile};
use crate::template::{self, Language, TemplateError, Values};
use crate::tools::{Place, Tool};

/// The tool.
pub static TOOL: Tool = Tool {
    name: "crender",
    section: 1,
    place: Place::Bin,
    command,
    main,
};

fn command() -> clap::Command {
    let file = |id: &'static str| {
        Arg::new(id)
            .long(id)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
    };
    crate::tools::base("crender", "Fill in the tokens of a template")
        .arg(
            Arg::new("define")
                .short('D')
                .long("define")
                .value_name("NAME=VALUE")
                .action(ArgAction::Append)
                .help("Value of a token; wins over all files and the environment"),
        )
        .arg(
            Arg::new("environment")
                .short('e')
                .long("environment")
                .action(ArgAction::SetTrue)
                .help("Take tokens that nothing else gives from environment variables of the same name"),
        )
        .arg(
            file("rc")
                .action(ArgAction::Append)
                .help("Take values from the NAME=VALUE lines of a file"),
        )
        .arg(
            file("json")
                .action(ArgAction::Append)
                .help("Take values from a JSON object; wins over --rc"),
        )
        .arg(
            file("output")
                .short('o')
                .help("Write to FILE, which is replaced whole or not at all"),
        )
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help("Write nothing; only say whether the template can be rendered"),
        )
        .arg(
            Arg::new("handlebars")
                .long("handlebars")
                .action(ArgAction::SetTrue)
                .help("The template is handlebars; assumed when its name ends in .hbs"),
        )
        .arg(
            Arg::new("template")
                .value_name("TEMPLATE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::FilePath)
                .help("The template; - reads standard input"),
        )
}

fn main(args: &[OsString]) -> Result<Exit, Fail> {
    let matches = crate::tools::parse(&TOOL, args)?;
    let Some(path) = matches.get_one::<PathBuf>("template") else {
        return Err(Fail::usage("no template given"));
    };
    let (name, template) = read(path)?;
    let hbs = path.extension().is_some_and(|e| e == "hbs");
    let language = if hbs || matches.get_flag("handlebars") {
        Language::Handlebars
    } else {
        Language::Tokens
    };
    let values = values(&matches)?;
    let text = template::render(language, &name, &template, &values).map_err(failed)?;
    if matches.get_flag("check") {
        return Ok(Exit::Done);
    }
    match matches.get_one::<PathBuf>("output") {
        Some(output) => crate::sys::replace(output, &text, 0o644)
            .map_err(|e| Fail::new(Exit::Failed, format!("cannot write {}", output.display())).because(e))?,
        None => {
            let mut out = Out::stdout();
            out.write_all(&text)
                .and_then(|()| out.flush())
                .map_err(|e| Fail::new(Exit::Failed, "cannot write to standard output").because(e))?;
        }
    }
    Ok(Exit::Done)
}

/// What a person reads: each place on a line of its own, then one sentence.
fn failed(error: TemplateError) -> Fail {
    let TemplateError::Missing { missing, .. } = &error else {
        return Fail::new(Exit::Policy, error);
    };
    for line in error.to_string().lines() {
        crate::diag::stderr_line(line);
    }
    let what = match missing.len() {
        1 => "a token has no value".to_string(),
        n => format!("{n} tokens have no value"),
    };
    Fail::new(Exit::Policy, what).hint("give values with -D NAME=VALUE, --rc FILE, --json FILE or -e")
}

/// Reads a template, at most [`template::MAX_BYTES`].
fn read(path: &Path) -> Result<(String, Vec<u8>), Fail> {
    let (name, input): (String, Box<dyn Read>) = if path.as_os_str() == "-" {
        ("<stdin>".to_string(), Box::new(std::io::stdin().lock()))
    } else {
        let file = std::fs::File::open(path)
            .map_err(|e| Fail::new(Exit::Failed, format!("cannot read {}", path.display())).because(e))?;
        (path.display().to_string(), Box::new(file))
    };
    let mut bytes = Vec::new();
    input
        .take(template::MAX_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Fail::new(Exit::Failed, format!("cannot read {name}")).because(e))?;
    if bytes.len() as u64 > template::MAX_BYTES {
        return Err(Fail::new(Exit::Policy, format!("{name} is larger than 16 MiB")));
    }
    Ok((name, bytes))
}

/// Values in rising order of weight: environment, rc files, JSON files, `-D`.
fn values(matches: &ArgMatches) -> Result<Values, Fail> {
    let mut values = Values::default();
    if matches.get_flag("environment") {
        for (name, value) in std::env::vars_os() {
            if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
                let _ = values.set(&name, value);
            }
        }
    }
    for path in matches.get_many::<PathBuf>("rc").into_iter().flatten() {
        let file = RcFile::load(path, Other::Keep).map_err(|e| Fail::new(Exit::Policy, e))?;
        for setting in file.settings() {
            let value = std::str::from_utf8(setting.value)
                .map_err(|_| Fail::new(Exit::Policy, file.error(setting.line, "the value is not UTF-8")))?;
            values.set(setting.key, value).map_err(|e| Fail::new(Exit::Policy, e))?;
        }
    }
    for path in matches.get_many::<PathBuf>("json").into_iter().flatten() {
        let bad = |e: &dyn std::fmt::Display| Fail::new(Exit::Policy, path.display()).because(e);
        let (_, bytes) = read(path)?;
        let value = serde_json::from_slice(&bytes).map_err(|e| bad(&e))?;
        values.merge(value).map_err(|e| bad(&e))?;
    }
    for pair in matches.get_many::<String>("define").into_iter().flatten() {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Fail::usage(format!("-D {pair}: expected NAME=VALUE")))?;
        values
            .set(name, value)
            .map_err(|e| Fail::usage(format!("-D {pair}: {e}")))?;
    }
    Ok(values)
}
