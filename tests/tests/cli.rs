//! Bad input on the command line: one line on standard error that says what, where and what to do; the right exit code; never a panic.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output, Stdio},
};

use anyhow::{Result, ensure};
use integration::{
    Node, case, harness, leftovers, manifests,
    needs::Need,
    paths,
    theatre::{NEEDS, Setting, VIP, service},
    wait,
};

const BINARY: &[Need] = &[Need::Agent];

fn main() -> ExitCode {
    harness::main(&[
        case!(a_usage_error_is_64).needs(BINARY),
        case!(help_and_version_are_no_errors).needs(BINARY),
        case!(a_manifest_that_cannot_be_read_is_named).needs(BINARY),
        case!(an_invalid_manifest_is_named_with_line_and_column).needs(BINARY),
        case!(check_tells_errors_from_warnings).needs(BINARY),
        case!(whoever_is_not_root_is_told).needs(&[Need::Agent, Need::Root]),
        case!(a_taken_port_is_named).needs(NEEDS),
        case!(a_namespace_that_does_not_exist_is_named).needs(NEEDS),
    ])
}

/// A folder of this test.
fn folder(name: &str) -> Result<PathBuf> {
    let dir = paths::lab().join(format!("{}-cli-{name}", integration::owner::new_id()?));
    fs::create_dir_all(&dir)?;
    Ok(dir)
}

fn understudy(words: &[&str]) -> Result<Output> {
    let mut command = Command::new(paths::binary());
    // A process that does not end by itself must not outlive the test.
    command.args(words).env_clear().stdin(Stdio::null()).process_group(0);
    Ok(command.output()?)
}

/// Exit code, and one error in one line that contains all of `parts`. The process log may have said before how far the start came.
fn complains(output: &Output, code: i32, parts: &[&str]) -> Result<()> {
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(code), "exit {:?} instead of {code}:\n{text}", output.status);
    let errors: Vec<_> = text.lines().filter(|line| !line.contains("  INFO ")).collect();
    ensure!(errors.len() == 1 && errors[0].starts_with("error: "), "not one line of error:\n{text}");
    for part in parts {
        ensure!(errors[0].matches(part).count() == 1, "not one `{part}` in: {}", errors[0]);
    }
    ensure!(!text.contains("panicked"), "{text}");
    ensure!(output.stdout.is_empty(), "on standard output: {}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Fails if clap's own exit code 2 gets through.
fn a_usage_error_is_64() -> Result<()> {
    for (words, named) in [
        (&["run", "--config", "x", "--no-such-flag"][..], "--no-such-flag"),
        (&["run"], "--config"),
        (&["run", "--config", "x", "--admin-addr", "nowhere"], "--admin-addr"),
        (&["run", "--config", "x", "--shadow-timeout", "soon"], "--shadow-timeout"),
        (&["run", "--config", "x", "--log-level", "a=b=c"], "--log-level"),
        (&["rehearse"], "rehearse"),
        (&["check"], "PATH"),
    ] {
        complains(&understudy(words)?, 64, &[named])?;
    }
    Ok(())
}

fn help_and_version_are_no_errors() -> Result<()> {
    for words in [&["--help"][..], &["--version"], &["run", "--help"]] {
        let output = understudy(words)?;
        ensure!(
            output.status.success() && output.stderr.is_empty() && !output.stdout.is_empty(),
            "{words:?}: {output:?}"
        );
    }
    Ok(())
}

/// Fails if the path or the system's reason is left out.
fn a_manifest_that_cannot_be_read_is_named() -> Result<()> {
    let missing = folder("missing")?.join("nothing.yaml");
    let missing = missing.display().to_string();
    for command in [&["run", "--config"][..], &["check"]] {
        let output = understudy(&[command, &[&missing]].concat())?;
        complains(&output, 1, &[&missing, "o such file"])?;
    }
    Ok(())
}

/// A world's worth of files for an agent that will not come far.
fn config(dir: &Path, more: &str) -> Result<String> {
    let world = [manifests::namespace("mirror"), service("httpbin", VIP, Some("http"), 80), more.to_owned()];
    fs::write(dir.join("world.yaml"), manifests::documents(&world))?;
    Ok(dir.display().to_string())
}

/// Fails if the error is one of the whole file, or has no position.
fn an_invalid_manifest_is_named_with_line_and_column() -> Result<()> {
    let dir = folder("invalid")?;
    let file = dir.join("broken.yaml");
    let file = file.display().to_string();
    for (text, position) in [
        ("a: [unclosed\n", ":"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: x, namespace: y}\nspec: {ports: [{port: many}]}\n", ":4:"),
    ] {
        fs::write(&file, text)?;
        for command in [&["run", "--config"][..], &["check"]] {
            let output = understudy(&[command, &[&file]].concat())?;
            let told = [output.stderr.clone(), output.stdout.clone()].concat();
            let told = String::from_utf8_lossy(&told);
            ensure!(output.status.code() == Some(1), "{command:?}: {:?}\n{told}", output.status);
            ensure!(told.contains(&format!("{file}{position}")) && !told.contains("panicked"), "{command:?}: {told}");
        }
    }
    Ok(())
}

/// Fails if a warning is taken for an error, or the other way round.
fn check_tells_errors_from_warnings() -> Result<()> {
    let dir = folder("check")?;
    let file = dir.join("rules.yaml");
    let path = file.display().to_string();
    for (yaml, code) in [
        (manifests::DESTINATION_RULE.to_owned() + "---\n" + manifests::MIRROR, 0),
        (manifests::MIRROR.replace("mirror_percent: 100", "mirror_percent: 101"), 1),
        (manifests::MIRROR.replace("mirror_percent: 100", "mirror_percnt: 100"), 1),
    ] {
        fs::write(&file, yaml)?;
        let output = understudy(&["check", &path])?;
        let told = String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned();
        // A misspelt field is an error or a warning; never silence.
        let right = output.status.code() == Some(code) || (yaml_is_misspelt(&file)? && told.contains("mirror_percnt"));
        ensure!(right, "exit {:?} instead of {code}:\n{told}", output.status);
    }
    Ok(())
}

fn yaml_is_misspelt(file: &Path) -> Result<bool> {
    Ok(fs::read_to_string(file)?.contains("percnt"))
}

/// Fails if the first thing that is refused speaks for itself (`EPERM` of some system call).
fn whoever_is_not_root_is_told() -> Result<()> {
    // Where nobody may look: the workspace may be in a folder that is root's alone.
    let dir = std::env::temp_dir().join(integration::owner::new_id()?);
    fs::create_dir(&dir)?;
    let result = (|| {
        let config = config(&dir, "")?;
        let binary = dir.join("understudy");
        fs::copy(paths::binary(), &binary)?;
        for path in [&dir, &binary] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(&binary);
        let output = command.args(["run", "--config", &config]).env_clear().env("PATH", "/usr/bin:/bin").output()?;
        complains(&output, 1, &[])?;
        let text = String::from_utf8_lossy(&output.stderr).to_lowercase();
        ensure!(text.contains("root") || text.contains("cap_"), "no word of rights: {text}");
        Ok(())
    })();
    let _ = fs::remove_dir_all(&dir);
    result
}

/// Fails if the flag or the address is left out, or if hooks stay behind.
fn a_taken_port_is_named() -> Result<()> {
    leftovers::install()?;
    let dir = folder("port")?;
    let config = config(&dir, "")?;
    let node = Node::new()?;
    for flag in ["--admin-addr", "--metrics-addr"] {
        let taken = node.netns().run(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let address = taken.local_addr()?.to_string();
        let output = node.netns().run(|| understudy(&["run", "--config", &config, flag, &address]))?;
        complains(&output, 1, &[&address])?;
    }
    Ok(())
}

/// Fails if the agent dies of it or becomes unready (one dead pod must not: T11), or names neither the pod nor the namespace.
fn a_namespace_that_does_not_exist_is_named() -> Result<()> {
    let theatre = Setting::new(integration::theatre::MIRROR).start()?;
    let ghost = "apiVersion: v1\nkind: Pod\nmetadata: {name: ghost, namespace: mirror, annotations: {understudy.dev/netns: us-no-such}}\n\
        status: {podIP: 10.244.1.99, podIPs: [{ip: 10.244.1.99}]}\n";
    theatre.agent.changed(|| theatre.manifests.apply("ghost.yaml", ghost))?;
    wait::until("the log names the missing namespace", || {
        let log = theatre.agent.log();
        Ok(log.lines().any(|line| line.contains("us-no-such") && line.contains("ghost")).then_some(()))
    })?;
    let missing = |m: &integration::MetricsView| {
        m.sum("understudy_enrolled_desired", &[]) - m.sum("understudy_enrolled_actual", &[])
    };
    theatre.agent.metrics_when("one pod is missing", |m| missing(m) > 0.5)?;
    ensure!(theatre.agent.get_metrics_address("/readyz")?.status == 200, "one dead pod makes the agent unready");
    theatre.ask_v1()?;
    theatre.outcomes(&[("answered", 1)])?;
    ensure!(!theatre.agent.log().contains("panicked"));
    Ok(())
}
