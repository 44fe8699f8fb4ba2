//! nginx as a sidecar, plain and with its `mirror`. Tuned: as many workers as cores, no access log, no buffering where it can be without,
//! connections to the servers kept.

use anyhow::Result;
use integration::{Pod, parity::Server, paths};

use super::{WORKERS, port, sidecar};
use crate::world::{HTTP1, Service, World};

/// Starts it.
///
/// # Errors
/// When there is no nginx, or with what it says.
pub(crate) fn start(world: &World, client: &Pod) -> Result<Server> {
    let (v1, v2) = (world.v1.pod.v4(), world.v2.pod.v4());
    let (plain, mirrored) = (port(Service::Plain), port(Service::Mirrored));
    let text = format!(
        "daemon off; worker_processes {WORKERS}; error_log stderr crit; pid DIR/pid; worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
  client_body_temp_path DIR/body; proxy_temp_path DIR/proxy; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
  access_log off; keepalive_requests 100000000; keepalive_timeout 300s; tcp_nodelay on;
  client_max_body_size 2m; client_body_buffer_size 2m;
  proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $http_host; proxy_buffering off;
  upstream v1 {{ server {v1}:{HTTP1}; keepalive 1024; keepalive_requests 100000000; }}
  upstream v2 {{ server {v2}:{HTTP1}; keepalive 1024; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{plain} reuseport backlog=4096; proxy_request_buffering off; location / {{ proxy_pass http://v1; }} }}
  server {{
    listen 127.0.0.1:{mirrored} reuseport backlog=4096;
    location / {{ mirror /copy; mirror_request_body on; proxy_pass http://v1; }}
    location = /copy {{ internal; proxy_pass http://v2$request_uri; }}
  }}
}}
"
    );
    let services = [Service::Plain, Service::Mirrored];
    sidecar(world, client, "nginx", &services, &text, |file| {
        let folder = file.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
        let words = [paths::nginx().display().to_string(), "-p".to_owned(), folder];
        words
            .into_iter()
            .chain(["-c".to_owned(), file.display().to_string(), "-e".to_owned(), "stderr".to_owned()])
            .collect()
    })
}
