//! The binary as a user meets it: exit codes, and one line for each thing that is wrong. Needs no privilege, changes nothing.

#![expect(clippy::expect_used, reason = "a test")]

use std::process::{Command, Output};

fn understudy(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_understudy"));
    command.args(line.split_whitespace());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("UNDERSTUDY_")) {
        command.env_remove(name);
    }
    command.output().expect("the binary starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn help_and_version_go_to_standard_output_and_exit_0() {
    for line in ["--help", "help", "run --help", "check -h", "doctor --help", "cleanup --help", "--version"] {
        let output = understudy(line);
        assert_eq!(output.status.code(), Some(0), "{line}");
        assert!(text(&output.stdout).contains("understudy") && output.stderr.is_empty(), "{line}");
    }
}

#[test]
fn a_command_line_that_makes_no_sense_exits_64() {
    for line in [
        "",
        "bogus",
        "run",
        "check",
        "run --config x --bogus",
        "run --config x --mark 0",
        "run --config x --admin-addr 127.0.0.1:15090",
        "run --config - --config -",
        "check - -",
        "doctor --log-level inof",
    ] {
        let output = understudy(line);
        assert_eq!(output.status.code(), Some(64), "{line}: {}", text(&output.stderr));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{line}");
    }
}

#[test]
fn what_fails_later_exits_1_with_one_line() {
    let output = understudy("run --config /nonexistent/manifests --admin-addr 127.0.0.1:0 --metrics-addr 127.0.0.1:0");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("error: cannot read /nonexistent/manifests: "), "{said}");
    assert_eq!(said.matches("No such file").count(), 1, "the cause is there once: {said}");
}
