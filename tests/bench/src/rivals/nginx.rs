//! nginx as a proxy: HTTP/1.1 and keep-alive to v1, nothing buffered, and its `mirror` module for the copies.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use integration::Node;

use crate::{
    rivals::{Endpoints, endpoint, program},
    variant::{Flavour, Protocol},
};

/// A request that is mirrored is read whole first, because `mirror_request_body` says so and nginx knows no other way to copy a body. It
/// keeps no connection of a shadow whose answer has a body: it ends the subrequest at the answer's head, whatever the directives say (seen in
/// its debug log, with buffering on and off).
const CONFIG: &str = r#"
daemon off; worker_processes 2; error_log stderr error; pid DIR/pid;
events { worker_connections 8192; }
http {
  access_log off; tcp_nodelay on; server_tokens off; default_type text/plain; types { }
  keepalive_timeout 1h; keepalive_requests 2000000000; client_max_body_size 16m; client_body_buffer_size 2m;
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_buffering off;
  upstream v1 { server V1; keepalive 1024; keepalive_requests 2000000000; keepalive_timeout 1h; }
  upstream v2 { server V2; keepalive 1024; keepalive_requests 2000000000; keepalive_timeout 1h; }
  server {
    listen 127.0.0.1:PORT reuseport backlog=4096; server_name PLAIN;
    location / { proxy_request_buffering off; proxy_pass http://v1; }
  }
  server {
    listen 127.0.0.1:PORT; server_name MIRRORED;
    location / { mirror /shadow; mirror_request_body on; proxy_pass http://v1; }
    location = /shadow { internal; proxy_pass http://v2$request_uri; }
  }
}
"#;

pub(crate) fn command(found: Result<&PathBuf, &String>, node: &Node, at: &Endpoints) -> Result<Vec<String>> {
    let program = program(found)?;
    let dir = node.dir().join("nginx-sidecar");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let text = CONFIG
        .replace("DIR", &dir.display().to_string())
        .replace("PORT", &Protocol::Http1.sidecar().to_string())
        .replace("V1", &endpoint(at.v1, Protocol::Http1).to_string())
        .replace("V2", &endpoint(at.v2, Protocol::Http1).to_string())
        .replace("PLAIN", Flavour::Plain.host())
        .replace("MIRRORED", Flavour::Mirrored.host());
    let file = dir.join("nginx.conf");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let dir = dir.display().to_string();
    Ok([&program, "-p", &dir, "-c", &file.display().to_string(), "-e", "stderr"].map(str::to_owned).to_vec())
}
