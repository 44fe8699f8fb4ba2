use clap::{CommandFactory, error::ErrorKind};

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::parse_arguments(line.split_whitespace().map(Into::into))
}

fn run(line: &str) -> RunArgs {
    match parse(line).unwrap().command {
        Command::Run(arguments) => *arguments,
        other => panic!("not run: {other:?}"),
    }
}

#[test]
fn clap_finds_no_fault_in_the_definitions() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_has_a_variable_that_is_named_after_it() {
    let mut seen = 0;
    let root = Cli::command();
    for command in std::iter::once(&root).chain(root.get_subcommands()) {
        for flag in command.get_arguments() {
            let Some(long) = flag.get_long().filter(|long| !matches!(*long, "help" | "version")) else { continue };
            let expected = format!("UNDERSTUDY_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(expected.as_str()), "--{long}");
            seen += 1;
        }
    }
    assert!(seen > 25, "only {seen} flags were looked at");
}

#[test]
fn config_is_required_and_may_be_repeated() {
    assert_eq!(parse("understudy run").unwrap_err().kind(), ErrorKind::MissingRequiredArgument);
    let paths = run("understudy run --config a b --config - --log-format json").config;
    assert_eq!(paths, ["a", "b", "-"].map(PathBuf::from));
}

#[test]
fn values_are_checked_where_they_are_typed() {
    for flag in [
        "--admin-addr localhost",
        "--mark 0",
        "--max-rules 0",
        "--heartbeat-stale 1ms",
        "--workers 0",
        "--detect-timeout 0s",
        "--shadow-buffer-bytes 1MiB",
        "--shadow-max-concurrent 0",
        "--shadow-host-suffix a:b",
        "--shadow-methods get",
        "--shadow-remove-headers host",
        "--shadow-sampling path",
        "--shadow-dscp 64",
        "--cluster-domain a..b",
        "--instance ../x",
        "--capture-log-level loud",
    ] {
        let error = parse(&format!("understudy run --config x {flag}")).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{flag}: {error}");
    }
}

#[test]
fn a_suffix_may_begin_with_a_hyphen_or_be_empty() {
    assert_eq!(run("understudy run --config x --shadow-host-suffix -copy").agent.shadow.shadow_host_suffix, "-copy");
    let arguments = ["understudy", "run", "--config", "x", "--shadow-host-suffix", ""];
    let Command::Run(run) = Cli::parse_arguments(arguments.map(Into::into)).unwrap().command else { panic!("not run") };
    assert_eq!(run.agent.shadow.shadow_host_suffix, "");
}
