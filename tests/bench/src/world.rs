//! What all variants share: a node, v1 and v2 (nginx), and the addresses by which clients ask for them.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use integration::{Node, Pod, parity::Server, paths};

/// Port of the services.
pub(crate) const PORT: u16 = 8000;
/// Port of the servers for HTTP/1.
pub(crate) const HTTP1: u16 = 80;
/// Port of the servers for HTTP/2 without TLS.
pub(crate) const HTTP2: u16 = 81;
/// Port at which a server says how many requests it has had.
const COUNTS: u16 = 82;
/// A port of v2 at which nobody listens.
pub(crate) const DEAD: u16 = 9;
const UPLOAD_LIMIT: &str = "2m";

/// v1 or v2: one nginx with one worker, which writes no log.
const SERVER: &str = "
daemon off; worker_processes 1; error_log stderr crit; pid DIR/pid; worker_rlimit_nofile 16384;
events { worker_connections 8192; }
http {
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  access_log off; default_type application/octet-stream; sendfile on; tcp_nopush on;
  keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size LIMIT; client_body_buffer_size LIMIT;
  http2_max_concurrent_streams 1024;
  server {
    listen 80 reuseport backlog=4096; listen 81 http2 reuseport backlog=4096;
    root DIR/www;
    location = /small { return 200 'all the world is a stage\\n'; }
    location = /upload { return 200 'taken\\n'; }
    location / { try_files $uri =404; }
  }
  server { listen 82; location / { stub_status; } }
}
";

/// An address that clients ask for, and what stands behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    /// All to v1.
    Plain,
    /// All to v1, all of it mirrored to v2.
    Mirrored,
    /// All to v1, a tenth of it mirrored.
    Tenth,
    /// All to v1, mirrored to where nobody listens.
    Dead,
    /// The same two for HTTP/2.
    Plain2,
    Mirrored2,
}

impl Service {
    pub(crate) const ALL: [Self; 6] =
        [Self::Plain, Self::Mirrored, Self::Tenth, Self::Dead, Self::Plain2, Self::Mirrored2];

    /// Its name, which the clients' resolver knows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mirrored => "mirrored",
            Self::Tenth => "tenth",
            Self::Dead => "dead",
            Self::Plain2 => "plain2",
            Self::Mirrored2 => "mirrored2",
        }
    }

    /// The port of v1 and v2 that it leads to.
    pub(crate) fn target(self) -> u16 {
        if matches!(self, Self::Plain2 | Self::Mirrored2) { HTTP2 } else { HTTP1 }
    }

    /// Its cluster address.
    pub(crate) fn address(self) -> SocketAddr {
        let last = 40 + self as u8;
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, last)), PORT)
    }

    /// What a client types.
    pub(crate) fn url(self, path: &str) -> String {
        format!("http://{}:{PORT}{path}", self.name())
    }
}

/// v1 or v2.
#[derive(Debug)]
pub(crate) struct Web {
    _server: Server,
    pub(crate) pod: Pod,
}

impl Web {
    fn start(node: &Node, name: &str) -> Result<Self> {
        let pod = node.pod(name).label("app", "web").label("version", name).start()?;
        let dir = node.dir().join(format!("web-{name}"));
        let www = dir.join("www");
        fs::create_dir_all(&www).with_context(|| format!("cannot make {}", www.display()))?;
        for (file, length) in [("10k", 10 << 10), ("1m", 1 << 20)] {
            fs::write(www.join(file), vec![b'x'; length])?;
        }
        let conf = dir.join("nginx.conf");
        let text = SERVER.replace("DIR", &dir.display().to_string()).replace("LIMIT", UPLOAD_LIMIT);
        fs::write(&conf, text).with_context(|| format!("cannot write {}", conf.display()))?;
        let words = [paths::nginx(), "-p".into(), dir, "-c".into(), conf, "-e".into(), "stderr".into()];
        let server = Server::start(node, &pod, "web", HTTP1, &words.map(|word: PathBuf| word.display().to_string()))?;
        Ok(Self { _server: server, pod })
    }

    /// Requests that it has had so far; this question is one of them.
    pub(crate) fn requests(&self) -> Result<u64> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, COUNTS));
        let answer = self.pod.run(|| integration::http::get(address, "counts", "/"))?;
        let text = answer.text();
        // `server accepts handled requests`, and a line of numbers.
        let third = text.lines().nth(2).and_then(|line| line.split_whitespace().nth(2));
        third.and_then(|number| number.parse().ok()).with_context(|| format!("nginx says of its requests: {text}"))
    }
}

/// The stage that every variant plays on.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) v1: Web,
    pub(crate) v2: Web,
    pub(crate) node: Node,
}

impl World {
    /// Lays it.
    ///
    /// # Errors
    /// Without root, or without nginx.
    pub(crate) fn new() -> Result<Self> {
        let node = Node::new()?;
        let (v1, v2) = (Web::start(&node, "v1")?, Web::start(&node, "v2")?);
        for service in Service::ALL {
            // Without any proxy all goes to v1, as the rules say.
            node.cluster_ip(service.address(), &[(v1.pod.v4(), service.target()).into()])?;
            node.resolve(service.name(), service.address().ip())?;
        }
        Ok(Self { v1, v2, node })
    }
}
