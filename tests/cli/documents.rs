//! The manual of the policy language (FIL-05): every example in it is run, and says what the manual says it does.
//!
//! A block `cf` is a policy, written to `example.cf` (or the name after `cf`) in a directory of its own; a block `console`
//! after it is typed there. A line `...` stands for any lines, `…` in a line for any text.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the examples call their directory.
const PLACE: &str = "/tmp/demo";

/// A policy with what is typed after it.
#[derive(Default)]
struct Example {
    line: usize,
    files: Vec<(String, String)>,
    typed: Vec<Typed>,
}

struct Typed {
    line: usize,
    command: String,
    said: Vec<String>,
}

fn examples(text: &str) -> Vec<Example> {
    let mut examples = vec![Example::default()];
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```").filter(|kind| !kind.is_empty()) else {
            continue;
        };
        let body: Vec<(usize, &str)> = lines.by_ref().take_while(|(_, line)| *line != "```").collect();
        let last = examples.last_mut().unwrap();
        if let Some(name) = kind.strip_prefix("cf") {
            let name = if name.is_empty() { "example.cf" } else { name.trim() };
            let text: String = body.iter().map(|(_, line)| format!("{line}\n")).collect();
            let file = (name.to_string(), text);
            // A further file of the same example has a name of its own.
            if last.typed.is_empty() && !last.files.is_empty() && last.files[0].0 != name {
                last.files.push(file);
            } else {
                examples.push(Example {
                    line: at + 1,
                    files: vec![file],
                    typed: Vec::new(),
                });
            }
        } else if kind == "console" {
            for (at, line) in body {
                if let Some(command) = line.strip_prefix("$ ") {
                    last.typed.push(Typed {
                        line: at + 1,
                        command: command.into(),
                        said: Vec::new(),
                    });
                } else {
                    last.typed.last_mut().unwrap().said.push(line.into());
                }
            }
        }
    }
    examples.retain(|example| !example.files.is_empty());
    examples
}

struct Place {
    dir: tempfile::TempDir,
    host: String,
}

impl Place {
    fn of(example: &Example) -> Place {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in &example.files {
            let path = dir.path().join(name);
            std::fs::write(&path, text.replace(PLACE, dir.path().to_str().unwrap())).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
        let host = host.split('.').next().unwrap().to_lowercase();
        Place { dir, host }
    }

    /// What a line says, in the manual's terms.
    fn typed(&self, command: &str) -> Vec<String> {
        let top = self.dir.path().to_str().unwrap();
        let tools: PathBuf = assert_cmd::cargo::cargo_bin!("cfagent").parent().unwrap().into();
        let out = Command::new("/bin/sh")
            .arg("-c")
            .arg(format!("exec 2>&1; {}", command.replace(PLACE, top)))
            .current_dir(top)
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display()))
            .env("DSAU_ROOT", self.dir.path().join("root"))
            .env("HOME", top)
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stdout)
            .replace(top, PLACE)
            .replace(&format!("cfengine:{}", self.host), "cfengine:web1");
        said.lines().map(str::to_string).collect()
    }
}

fn fits(wanted: &[String], said: &[String]) -> bool {
    match wanted.split_first() {
        None => said.is_empty(),
        Some((first, rest)) if first == "..." => (0..=said.len()).any(|skip| fits(rest, &said[skip..])),
        Some((first, rest)) => said
            .split_first()
            .is_some_and(|(line, others)| line_fits(first, line) && fits(rest, others)),
    }
}

fn line_fits(wanted: &str, said: &str) -> bool {
    let mut parts = wanted.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = said.strip_prefix(first) else {
        return false;
    };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    open || rest.is_empty()
}

/// Runs all examples of a document; gives what went otherwise.
fn run(file: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("share/doc/cfengine")
        .join(file);
    let examples = examples(&std::fs::read_to_string(path).unwrap());
    assert!(examples.len() > 5, "{file} has lost its examples");
    let check = |example: &Example| -> Vec<String> {
        let place = Place::of(example);
        let mut wrong = Vec::new();
        if example.typed.is_empty() {
            let (name, line) = (&example.files[0].0, example.line);
            let said = place.typed(&format!("cfagent -p -f ./{name}"));
            if !said.is_empty() {
                wrong.push(format!("{file}:{line}: the policy is not in order: {said:#?}"));
            }
        }
        for Typed { line, command, said } in &example.typed {
            let got = place.typed(command);
            if !fits(said, &got) {
                wrong.push(format!(
                    "{file}:{line}: $ {command}\n--- the manual says\n{}\n--- it is\n{}",
                    said.join("\n"),
                    got.join("\n")
                ));
            }
        }
        wrong
    };
    // Two halves side by side: most of the time goes into starting programs.
    let (left, right) = examples.split_at(examples.len() / 2);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| right.iter().flat_map(check).collect::<Vec<_>>());
        let mut wrong: Vec<String> = left.iter().flat_map(check).collect();
        wrong.extend(other.join().unwrap());
        wrong
    })
}

#[test]
fn every_example_of_the_reference_says_what_the_reference_says() {
    let wrong = run("reference.md");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn every_example_of_the_tutorial_says_what_the_tutorial_says() {
    let wrong = run("tutorial.md");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn an_example_is_compared_line_by_line_but_for_what_is_left_open() {
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_string).collect() };
    for (wanted, said, fine) in [
        ("a\nb", "a\nb", true),
        ("a", "a\nb", false),
        ("a\n...", "a\nb\nc", true),
        ("...\nc", "a\nb\nc", true),
        ("a … c", "a bb c", true),
        ("a … c", "a bb cd", false),
        ("a …", "a bb cd", true),
        ("a", "b", false),
    ] {
        assert_eq!(fits(&lines(wanted), &lines(said)), fine, "{wanted:?} {said:?}");
    }
}

/// A document of the top folder.
fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("share/doc").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Without what pages and guide write in different ways: the tool in front, an end that is left open.
fn core(message: &str) -> String {
    let mut text = message.replace('…', "...");
    for tool in dsau::tools::ALL {
        text = text
            .strip_prefix(&format!("{}: ", tool.name))
            .unwrap_or(&text)
            .to_string();
    }
    let text = text.trim_end_matches("...").trim_end_matches(['.', ':', ' ']);
    text.to_string()
}

/// The messages in the sections DIAGNOSTICS of all pages.
fn diagnostics() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let man = Path::new(env!("CARGO_MANIFEST_DIR")).join("man");
    for entry in std::fs::read_dir(man).unwrap() {
        let path = entry.unwrap().path();
        let page = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let Some((_, rest)) = text.split_once(".Sh DIAGNOSTICS\n") else {
            continue;
        };
        let section = rest.split("\n.Sh ").next().unwrap();
        for line in section.lines() {
            if let Some(item) = line.strip_prefix(".It ") {
                found.push((page.clone(), core(item.trim_matches('"'))));
            }
        }
    }
    found
}

/// The messages of the guide: first cells that are code and nothing else.
fn told() -> Vec<String> {
    let guide = document("troubleshooting.md");
    let cells = guide
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(message, _)| core(message)).collect()
}

#[test]
fn every_message_of_a_page_that_tells_of_trouble_is_in_the_guide() {
    let (diagnostics, told) = (diagnostics(), told());
    assert!(diagnostics.len() > 60, "{} messages", diagnostics.len());
    let missing: Vec<String> = diagnostics
        .iter()
        .filter(|(_, message)| !told.contains(message))
        .map(|(page, message)| format!("{page}: {message}"))
        .collect();
    assert!(missing.is_empty(), "not in troubleshooting.md:\n{}", missing.join("\n"));
}

/// All sources as one text, in which a string that goes on in the next line is one piece.
fn sources() -> String {
    fn gather(dir: &Path, text: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => gather(&path, text),
                false => text.push_str(&std::fs::read_to_string(&path).unwrap_or_default()),
            }
        }
    }
    let mut text = String::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    let mut whole = String::with_capacity(text.len());
    for (n, piece) in text.split("\\\n").enumerate() {
        whole.push_str(if n == 0 { piece } else { piece.trim_start() });
    }
    whole
}

#[test]
fn every_message_of_the_guide_is_one_that_somebody_says() {
    let (sources, known) = (sources(), diagnostics());
    let mut wrong = Vec::new();
    for message in told() {
        if known.iter().any(|(_, other)| *other == message) {
            continue;
        }
        // The longest part between the words that stand for something.
        let mut parts = vec![String::new()];
        for word in message.split(' ') {
            let plain = word.trim_matches(|c: char| !c.is_alphanumeric());
            match !plain.is_empty() && plain.chars().all(|c| c.is_ascii_uppercase()) {
                true => parts.push(String::new()),
                false => {
                    let part = parts.last_mut().unwrap();
                    part.push_str(if part.is_empty() { "" } else { " " });
                    part.push_str(word);
                }
            }
        }
        let longest = parts.iter().max_by_key(|part| part.len()).unwrap();
        if longest.len() < 12 || !sources.contains(longest.as_str()) {
            wrong.push(format!("{message}: nobody says '{longest}'"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What stands between back quotes, and what is typed.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block = false;
    for line in text.lines() {
        if line.starts_with("```") {
            block = !block;
        } else if block {
            found.extend(line.split_once("# ").map(|(_, command)| command.to_string()));
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(|span| span.replace("\\|", "|")));
        }
    }
    found
}

#[test]
fn every_option_that_a_document_gives_one_of_our_tools_exists() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for name in ["quickstart.md", "manual.md", "migration.md", "troubleshooting.md"] {
        for command in commands(&document(name)) {
            let mut tool = None;
            for word in command.split_whitespace() {
                let plain = word.trim_matches(['(', ')', '\'', ';']);
                let plain = plain.rsplit('/').next().unwrap_or(plain);
                if let Some(found) = dsau::tools::ALL.iter().find(|tool| tool.name == plain) {
                    tool = Some((found.name, (found.command)()));
                } else if matches!(plain, "--" | "|" | "&&" | "#") {
                    tool = None;
                } else if let (Some(long), Some((name_of, table))) = (plain.strip_prefix("--"), &tool) {
                    seen += 1;
                    let long = long.split('=').next().unwrap();
                    let known = table.get_arguments().any(|arg| {
                        arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
                    });
                    if !known && !["help", "version"].contains(&long) {
                        wrong.push(format!("{name}: {name_of} has no --{long}: {command}"));
                    }
                }
                if word.ends_with(';') {
                    tool = None;
                }
            }
        }
    }
    assert!(seen > 30, "{seen} options were seen");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
