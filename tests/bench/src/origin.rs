//! v1 and v2: nginx in one process, which answers as cheaply as a real server can, and counts what it was asked.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use integration::{Node, Pod, http, parity::Server, paths};
use nix::unistd::Pid;

use crate::variant::Protocol;

/// Where an origin says how many requests it has had.
const STATUS: u16 = 8089;

/// No log, no limit on the requests of a connection, files from open descriptors. `/upload` reads the whole body before it answers, as an
/// application does: nginx would answer `return` before it has read anything. `/grpc` is the wire of a unary call, a message and a trailer; nginx
/// serves files to a POST only by way of an error page.
const CONFIG: &str = r#"
daemon off; master_process off; error_log stderr error; pid DIR/pid;
events { worker_connections 8192; accept_mutex off; }
http {
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; default_type text/plain; types { }
  keepalive_timeout 1h; keepalive_requests 2000000000; http2_max_concurrent_streams 1000; server_tokens off;
  open_file_cache max=100; open_file_cache_valid 1h; client_max_body_size 16m; client_body_buffer_size 2m;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  upstream done { server unix:DIR/done.sock; keepalive 64; }
  server { listen unix:DIR/done.sock; location / { return 200 "uploaded\n"; } }
  server { listen 127.0.0.1:STATUS; location / { stub_status; } }
  server {
    listen HTTP1 reuseport backlog=4096;
    listen HTTP2 http2 reuseport backlog=4096;
    root DIR/www;
    location / { return 200 "small body of NAME\n"; }
    location /file/ { }
    location /grpc { error_page 405 =200 /message; return 405; }
    location = /message { internal; default_type application/grpc; add_trailer grpc-status 0 always; }
    location /upload { proxy_pass http://done/; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass_request_body off; proxy_set_header Content-Length ""; }
  }
}
"#;

/// What an origin has seen since its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) connections: u64,
    pub(crate) requests: u64,
}

/// A running origin.
#[derive(Debug)]
pub(crate) struct Origin {
    server: Server,
    pub(crate) pod: Pod,
    /// Its questions about itself are requests too.
    asked: AtomicU64,
}

impl Origin {
    /// Starts it in a new pod of the version that it is named after.
    pub(crate) fn start(node: &Node, name: &str) -> Result<Self> {
        let pod = node.pod(name).label("app", "web").label("version", name).start()?;
        let dir = node.dir().join(format!("origin-{name}"));
        let www = dir.join("www/file");
        fs::create_dir_all(&www).with_context(|| format!("cannot make {}", www.display()))?;
        fs::write(www.join("10k"), vec![b'x'; 10 << 10])?;
        fs::write(www.join("1m"), vec![b'x'; 1 << 20])?;
        // A gRPC message: not compressed, five bytes long.
        fs::write(dir.join("www/message"), b"\0\0\0\0\x05\x0a\x03abc")?;
        let text = CONFIG
            .replace("DIR", &dir.display().to_string())
            .replace("NAME", name)
            .replace("STATUS", &STATUS.to_string())
            .replace("HTTP1", &Protocol::Http1.target().to_string())
            .replace("HTTP2", &Protocol::Http2.target().to_string());
        let config = dir.join("nginx.conf");
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let words = [paths::nginx(), "-p".into(), dir, "-c".into(), config, "-e".into(), "stderr".into()];
        let words = words.map(|word| word.display().to_string());
        let server = Server::start(node, &pod, "origin", Protocol::Http1.target(), &words)?;
        Ok(Self { server, pod, asked: AtomicU64::new(0) })
    }

    /// The leader of its process group.
    pub(crate) fn pid(&self) -> Pid {
        self.server.pid()
    }

    /// Where it answers.
    pub(crate) fn address(&self, protocol: Protocol) -> SocketAddr {
        (self.pod.v4(), protocol.target()).into()
    }

    /// How many requests it has had.
    pub(crate) fn requests(&self) -> Result<u64> {
        self.seen().map(|seen| seen.requests)
    }

    /// What it has seen.
    pub(crate) fn seen(&self) -> Result<Seen> {
        let answer = self.pod.run(|| http::get((Ipv4Addr::LOCALHOST, STATUS).into(), "status", "/"))?;
        let text = answer.text();
        let counts = text.lines().nth(2).context("no counts in nginx' status")?;
        let mut counts = counts.split_whitespace().filter_map(|count| count.parse::<u64>().ok());
        let (connections, requests) = (counts.next(), counts.nth(1));
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Seen {
            connections: connections.context("no count of connections")? - asked,
            requests: requests.context("no count of requests")? - asked,
        })
    }
}
