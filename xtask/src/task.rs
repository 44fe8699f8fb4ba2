//! A long chore of another program: one line that shows what it is and how long it has been at it; its output in a file, shown only if
//! it fails.

use std::{
    fs::{self, File},
    io::{IsTerminal as _, Write as _},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// Runs the command to its end, with nothing on its stdin.
pub(crate) fn run(name: &str, expected: &str, command: &mut Command) -> Result<()> {
    let dir = cargo::target().join("setup");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let log = dir.join(format!("{}.log", name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")));
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let words = cargo::words(command);
    println!("  {name} ({expected}): {words}");
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot run `{words}`"))?;
    let terminal = std::io::stdout().is_terminal();
    let mut shown = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let elapsed = start.elapsed().as_secs();
        let every = if terminal { 1 } else { 15 };
        if elapsed >= shown + every {
            shown = elapsed;
            let (begin, end) = if terminal { ("\r", "") } else { ("", "\n") };
            print!("{begin}    … {elapsed} s{end}");
            std::io::stdout().flush()?;
        }
        thread::sleep(Duration::from_millis(50));
    };
    if terminal && shown > 0 {
        print!("\r");
    }
    let elapsed = start.elapsed().as_secs_f32();
    if status.success() {
        println!("    done in {elapsed:.1} s");
        return Ok(());
    }
    let text = fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(25)..].join("\n    ");
    bail!("`{words}` failed after {elapsed:.1} s ({status}); {} ends with:\n    {tail}", log.display())
}
