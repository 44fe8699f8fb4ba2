//! nginx, one process with a configuration of its own.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{node::Node, parity::Server, paths, pod::Pod};

/// What every nginx of the lab has: it stays in the foreground, writes below its own folder, and logs what it was asked.
const COMMON: &str = r#"
daemon off; master_process off; error_log stderr info; pid DIR/pid;
events {}
http {
  types { text/html html; text/css css; application/octet-stream bin; }
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  log_format line escape=json '{"from":"$remote_addr","request":"$request","host":"$http_host","shadow":"$http_x_understudy_shadow",'
    '"status":"$status","sent":"$body_bytes_sent","length":"$http_content_length","range":"$http_range","agent":"$http_user_agent"}';
  access_log DIR/access.log line;
  SERVERS
}
"#;

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    /// The process, and where it listens.
    pub server: Server,
    access_log: PathBuf,
}

impl Nginx {
    /// Starts it in a pod with these `server` blocks, of which one listens on `port`; `DIR` stands for a folder of its own.
    ///
    /// # Errors
    /// With nginx' own words.
    pub fn start(node: &Node, pod: &Pod, port: u16, servers: &str) -> Result<Self> {
        let dir = node.dir().join(format!("nginx-{}-{port}", pod.name()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let (conf, access_log) = (dir.join("nginx.conf"), dir.join("access.log"));
        let text = COMMON.replace("SERVERS", servers).replace("DIR", &dir.display().to_string());
        fs::write(&conf, text).with_context(|| format!("cannot write {}", conf.display()))?;
        let words = [paths::nginx(), "-p".into(), dir, "-c".into(), conf, "-e".into(), "stderr".into()];
        let server = Server::start(node, pod, "nginx", port, &words.map(|word| word.display().to_string()))?;
        Ok(Self { server, access_log })
    }

    /// What it was asked so far: a line of JSON for each request, written after its answer.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        fs::read_to_string(&self.access_log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}
