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
