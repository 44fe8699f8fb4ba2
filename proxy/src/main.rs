//! The `understudy` binary: parse, log, do, say in one line what went wrong.

use std::{
    env,
    fmt::Display,
    io::{Write as _, stderr, stdout},
    process::ExitCode,
};

use clap::error::ErrorKind;
use understudy::{
    app,
    cli::{Cli, EX_USAGE},
    commands,
    observe::telemetry::{Telemetry, TelemetryError},
    settings::{Invocation, Task},
    status,
};

/// What a burst took is the machine's again within ten seconds, also if nothing happens any more: jemalloc gives back what is free by a thread of
/// its own, in whole pages wherever they lie. With glibc it stayed resident until the next burst, and hid from the soak what a leak would be.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::parse_arguments(env::args_os()) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return misused(&error),
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let Invocation { logging, task } = match Invocation::resolve(cli) {
        Ok(invocation) => invocation,
        Err(error) => return complain(&error, EX_USAGE),
    };
    let telemetry = match Telemetry::start(&logging) {
        Ok(telemetry) => telemetry,
        Err(error @ TelemetryError::Filter(_)) => return complain(&format_args!("--log-level: {error}"), EX_USAGE),
        Err(error) => return complain(&error, 1),
    };
    let outcome = perform(task, &telemetry);
    drop(telemetry); // the last lines of the log come before ours
    outcome.unwrap_or_else(|error| complain(&one_line(&error), 1))
}

/// What clap says in several paragraphs, without the usage, in one line. Only who types nothing gets the whole help.
fn misused(error: &clap::Error) -> ExitCode {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return EX_USAGE.into();
    }
    let text = error.to_string();
    let said = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
    let words: Vec<_> = said.flat_map(str::split_whitespace).collect();
    let line = words.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    complain(&format_args!("{line} (`understudy --help` shows what there is)"), EX_USAGE)
}

/// An error and its causes. One that tells its cause itself is not made to repeat it.
fn one_line(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |line, cause| {
        if line.is_empty() {
            cause
        } else if line.contains(&cause) {
            line
        } else {
            format!("{line}: {cause}")
        }
    })
}

fn perform(task: Task, telemetry: &Telemetry) -> anyhow::Result<ExitCode> {
    match task {
        Task::Run(settings) => app::run(*settings, telemetry)?,
        Task::Check(settings) => return Ok(verdict(commands::check(&settings, &mut stdout())?)),
        Task::Status { whom, json } => {
            let (text, ready) = status::show(&whom, json)?;
            stdout().write_all(text.as_bytes())?;
            return Ok(verdict(ready));
        }
        Task::Doctor(settings) => return Ok(verdict(commands::doctor(&settings, &mut stdout())?)),
        Task::Cleanup(settings) => commands::cleanup(&settings, &mut stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn verdict(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(error: &dyn Display, code: u8) -> ExitCode {
    let _ = writeln!(stderr(), "error: {error}");
    code.into()
}
