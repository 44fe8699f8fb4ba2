//! kubectl, as one would type it; its standard error is the message of a failure.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// A kubectl and the cluster it speaks to.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// That program, with that configuration.
    #[must_use]
    pub fn new(program: PathBuf, kubeconfig: &Path) -> Self {
        Self { program, kubeconfig: kubeconfig.to_owned() }
    }

    /// A call that has not been made yet.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).env("KUBECONFIG", &self.kubeconfig);
        command
    }

    /// For scripts that call `kubectl` by its name: folder of the program, and the configuration.
    #[must_use]
    pub fn environment(&self) -> (PathBuf, PathBuf) {
        (self.program.parent().unwrap_or(Path::new("/")).to_owned(), self.kubeconfig.clone())
    }

    /// Calls it and returns what it prints.
    ///
    /// # Errors
    /// With what it says of its failure.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        output(&mut self.command(words), None)
    }

    /// `kubectl … -o json`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let text = self.run(&[words, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {} printed no JSON", words.join(" ")))
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn apply(&self, namespace: &str, manifests: &str) -> Result<()> {
        output(&mut self.command(&["apply", "-n", namespace, "-f", "-"]), Some(manifests)).map(drop)
    }

    /// A GET at the API server, refused after ten seconds.
    ///
    /// # Errors
    /// When the answer is not 2xx.
    pub fn raw(&self, path: &str) -> Result<String> {
        self.run(&["get", "--raw", path, "--request-timeout=10s"])
    }

    /// A program in a pod's first container.
    ///
    /// # Errors
    /// When it fails.
    pub fn exec(&self, namespace: &str, pod: &str, words: &[&str]) -> Result<String> {
        self.run(&[&["exec", "-n", namespace, pod, "--"], words].concat())
    }
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// With what it says of its failure.
pub fn output(command: &mut Command, input: Option<&str>) -> Result<String> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let words = format!("{program} {}", words.join(" "));
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{words}`"))?;
    let pipe = child.stdin.take();
    let done = thread::scope(|scope| {
        // A program that has heard enough closes its end; its exit code says what it thinks of that.
        let feed = move |text: &str| pipe.map(|mut pipe| pipe.write_all(text.as_bytes()));
        input.map(|text| scope.spawn(move || feed(text)));
        child.wait_with_output()
    })?;
    if !done.status.success() {
        bail!("`{words}` failed ({}): {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
