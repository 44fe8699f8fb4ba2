//! Real sockets on loopback. What is asked of both addresses is asked of both.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime, task,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{observe::telemetry::detached_level, settings::AdminSettings};

const ANY: AdminSettings = AdminSettings {
    admin: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0),
    metrics: SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0),
};

struct World {
    admin: SocketAddr,
    metrics: SocketAddr,
    view: View,
}

/// Runs a scenario beside a server, on one thread as the process does. `paused` makes time jump to the next timer.
fn served<F: Future<Output = ()>>(paused: bool, scenario: impl FnOnce(World) -> F) {
    let view = View {
        metrics: Arc::new(Metrics::new()),
        readiness: Readiness::new(),
        log_level: detached_level("info"),
        status: Arc::new(|| json!({"generation": 3})),
        config_dump: Arc::new(|| json!({"generation": 3})),
    };
    let runtime = runtime::Builder::new_current_thread().enable_all().start_paused(paused).build().unwrap();
    runtime.block_on(async {
        let server = AdminServer::bind(&ANY).unwrap();
        let world = World { admin: server.admin_address(), metrics: server.metrics_address(), view: view.clone() };
        let serving = task::spawn(server.serve(view));
        scenario(world).await;
        serving.abort();
    });
}

/// The status and the rest of the answer to `head` (request line and headers without the empty line) with `body`.
async fn ask(address: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{head}\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    // The server may refuse before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {answer:?}")), answer)
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path} HTTP/1.1"), "").await
}

#[test]
fn both_addresses_show_metrics_probes_and_an_index() {
    served(false, |world| async move {
        world.view.metrics.generation.set(3);
        for address in [world.admin, world.metrics] {
            let (status, answer) = get(address, "/metrics").await;
            assert_eq!(status, 200);
            assert!(
                answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
                "{answer}"
            );
            assert!(answer.contains("\nunderstudy_config_generation 3\n") && answer.ends_with("# EOF\n"), "{answer}");
            assert_eq!(get(address, "/livez").await.0, 200);
            let (status, answer) = get(address, "/").await;
            assert!(status == 200 && answer.contains("/readyz"), "{answer}");
            assert_eq!(get(address, "/nothing").await.0, 404);
        }
    });
}

#[test]
fn the_metrics_address_shows_no_configuration_and_takes_no_orders() {
    served(false, |world| async move {
        for address in [world.admin, world.metrics] {
            let (status, answer) = get(address, "/status").await;
            assert!(status == 200 && answer.contains("\"ready\": true"), "{answer}");
        }
        let (status, answer) = get(world.admin, "/config_dump").await;
        assert!(status == 200 && answer.contains("\"generation\": 3"), "{answer}");
        assert_eq!(get(world.metrics, "/config_dump").await.0, 404);
        assert_eq!(ask(world.metrics, "PUT /log-level HTTP/1.1", "debug").await.0, 404);
        assert_eq!(world.view.log_level.get(), "info");
    });
}

#[test]
fn readiness_names_what_is_missing() {
    served(false, |world| async move {
        let hooks = world.view.readiness.condition("hooks attached");
        let (status, answer) = get(world.metrics, "/readyz").await;
        assert!(status == 503 && answer.ends_with("not ready\nhooks attached: not yet\n"), "{answer}");
        hooks.met();
        assert_eq!(get(world.metrics, "/readyz").await.0, 200);
        hooks.unmet("detached by somebody");
        assert_eq!(get(world.metrics, "/readyz").await.0, 503);
        assert_eq!(get(world.metrics, "/livez").await.0, 200, "a process that is not ready lives");
    });
}

#[test]
fn the_log_level_can_be_read_and_put() {
    served(false, |world| async move {
        assert!(get(world.admin, "/log-level").await.1.ends_with("\r\n\r\ninfo\n"));
        let (status, answer) = ask(world.admin, "PUT /log-level HTTP/1.1", "info,understudy::capture=debug\n").await;
        assert!(status == 200, "{answer}");
        assert_eq!(world.view.log_level.get().split(',').count(), 2);
        let (status, answer) = ask(world.admin, "PUT /log-level HTTP/1.1", "inof").await;
        assert!(status == 400 && answer.contains("`inof` is no log filter"), "{answer}");
        assert_eq!(ask(world.admin, "PUT /log-level HTTP/1.1", &"x".repeat(1025)).await.0, 413);
        assert_eq!(world.view.log_level.get().split(',').count(), 2, "what was refused changed nothing");
    });
}

#[test]
fn other_methods_are_refused_and_told_which_there_are() {
    served(false, |world| async move {
        let (status, answer) = ask(world.metrics, "POST /metrics HTTP/1.1", "x").await;
        assert!(status == 405 && answer.contains("allow: GET, HEAD\r\n"), "{answer}");
        let (status, answer) = ask(world.admin, "DELETE /log-level HTTP/1.1", "").await;
        assert!(status == 405 && answer.contains("allow: GET, HEAD, PUT\r\n"), "{answer}");
        let (status, answer) = ask(world.metrics, "HEAD /livez HTTP/1.1", "").await;
        assert!(status == 200 && answer.ends_with("\r\n\r\n"), "{answer}");
    });
}

#[test]
fn oversized_heads_and_garbage_end_in_an_error() {
    served(false, |world| async move {
        let (status, _) = get(world.metrics, &format!("/{}", "x".repeat(40_000))).await;
        assert!((400..500).contains(&status), "{status}");
        assert_eq!(ask(world.metrics, "nonsense", "").await.0, 400);
        assert_eq!(get(world.metrics, "/livez").await.0, 200);
    });
}

/// Breaks without the limit (65 connections stay open), and without the timeout (the probe never gets in).
#[test]
fn stuck_clients_do_not_shut_out_a_probe_for_good() {
    served(true, |world| async move {
        let mut stuck = Vec::new();
        for _ in 0..64 {
            let mut stream = TcpStream::connect(world.metrics).await.unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
            stuck.push(stream);
        }
        let mut one_more = TcpStream::connect(world.metrics).await.unwrap();
        let before = Instant::now();
        assert!(matches!(one_more.read(&mut [0]).await, Ok(0) | Err(_)));
        assert_eq!(before.elapsed(), Duration::ZERO, "closed without waiting for a timer");
        assert_eq!(get(world.admin, "/livez").await.0, 200, "the other address has room of its own");
        for stream in &mut stuck {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        assert_eq!(get(world.metrics, "/livez").await.0, 200);
    });
}

/// Breaks if a connection may live as long as its peer does not read.
#[test]
fn a_scraper_that_never_reads_is_cut() {
    served(true, |world| async move {
        let mut stream = TcpStream::connect(world.metrics).await.unwrap();
        // More answers than both socket buffers hold, until the server no longer reads requests either.
        let request = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(64);
        while timeout(Duration::from_millis(1), stream.write_all(&request)).await.is_ok_and(|sent| sent.is_ok()) {}
        sleep(Duration::from_secs(120)).await;
        // A connection that still stood would have no room for another byte.
        let written = timeout(Duration::from_secs(1), stream.write_all(b"x")).await;
        assert!(matches!(written, Ok(Err(_))), "{written:?}");
    });
}

#[test]
fn a_taken_port_is_one_line_with_the_address_and_the_flag() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (settings, flag) in [
        (AdminSettings { admin: address, ..ANY }, "--admin-addr"),
        (AdminSettings { metrics: address, ..ANY }, "--metrics-addr"),
    ] {
        let error = AdminServer::bind(&settings).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()) && error.contains(flag) && !error.contains('\n'), "{error}");
    }
}
