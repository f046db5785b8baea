//! The completions: made from the tables behind `--help`, they know every option, and their shells can read them.

use std::process::Command;

use crate::harness::{able, run};

fn completion(shell: &str, tool: &str) -> String {
    run(Command::new(env!("CARGO_BIN_EXE_dsau")).args(["--completion", shell, tool]))
}

#[test]
fn every_option_of_every_tool_stands_in_the_completion_of_every_shell() {
    let mut wrong = Vec::new();
    for tool in dsau::tools::ALL {
        let texts = ["bash", "zsh", "fish"].map(|shell| (shell, completion(shell, tool.name)));
        let command = (tool.command)();
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            for (shell, text) in &texts {
                let words: Vec<&str> = text
                    .split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'))
                    .collect();
                let (long, short) = match *shell {
                    "fish" => (arg.get_long().map(String::from), arg.get_short().map(String::from)),
                    _ => (
                        arg.get_long().map(|long| format!("--{long}")),
                        arg.get_short().map(|short| format!("-{short}")),
                    ),
                };
                for option in long.iter().chain(&short) {
                    // fish: '-s f -l file'
                    let there = match *shell {
                        "fish" if option.len() == 1 => text.contains(&format!(" -s {option} ")),
                        "fish" => text.contains(&format!(" -l {option} ")),
                        _ => words.contains(&option.as_str()),
                    };
                    if !there {
                        wrong.push(format!("{} in {shell}: {option} is missing", tool.name));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_shells_can_read_the_completions() {
    if !able(&["bash", "zsh", "fish"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for tool in dsau::tools::ALL {
        for shell in ["bash", "zsh", "fish"] {
            let file = dir.path().join(shell);
            std::fs::write(&file, completion(shell, tool.name)).unwrap();
            run(Command::new(shell).arg("-n").arg(&file));
        }
    }
}

#[test]
fn bash_completes_an_option_of_cexec() {
    if !able(&["bash"]) {
        return;
    }
    let script = format!(
        "{}\nCOMP_WORDS=(cexec --regr) COMP_CWORD=1\n_cexec cexec --regr cexec\necho \"${{COMPREPLY[@]}}\"",
        completion("bash", "cexec")
    );
    assert_eq!(run(Command::new("bash").args(["-c", &script])).trim(), "--regroup");
}

#[test]
fn a_shell_or_a_tool_that_nobody_knows_is_an_error() {
    for (args, said) in [
        (
            &["--completion", "tcsh", "cexec"][..],
            "[possible values: bash, zsh, fish]",
        ),
        (&["--completion", "bash", "frobnicate"], "there is no tool 'frobnicate'"),
        (&["--completion", "bash"], "required arguments were not provided"),
        (&["--completion", "bash", "cexec", "ccp"], "--completion takes one tool"),
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_dsau")).args(args).output().unwrap();
        assert_eq!(out.status.code(), Some(2));
        let err = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(err.contains(said), "{err}");
    }
}
