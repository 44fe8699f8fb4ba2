//! nginx as v1 and v2, and as a client in a captured pod.

use std::{fs, net::SocketAddr, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use integration::{
    case, curl, harness,
    needs::Need,
    nginx::Nginx,
    parity::{Twice, equal, pairs, setting},
    theatre::{HOST, MIRROR, PORT, Theatre, VIP, noise},
    wait,
};

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Curl, Need::Nginx, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[case!(files_of_all_sorts).needs(NEEDS), case!(nginx_as_a_captured_client).needs(NEEDS)])
}

/// A file server that says goodbye after every third request of a connection, packs text, and has a way through itself.
const FILES: &str = r#"
  server {
    listen 80; root WWW; keepalive_requests 3; gzip on; gzip_min_length 1; gzip_types text/css;
    location /loop/ { proxy_pass http://127.0.0.1:80/; }
    location /old { return 301 /new; }
    location /form { client_max_body_size 1k; return 200 "taken\n"; }
    location /put/ { root DIR; dav_methods PUT; create_full_put_path on; }
  }
"#;

/// v1 and v2 on the same files.
fn files(theatre: &Theatre) -> Result<(Nginx, Nginx)> {
    let www = theatre.node.dir().join("www");
    fs::create_dir_all(&www).with_context(|| format!("cannot make {}", www.display()))?;
    fs::write(www.join("index.html"), "<p>index\n")?;
    fs::write(www.join("style.css"), "p { color: black }\n".repeat(2000))?;
    fs::write(www.join("big.bin"), noise(8 << 20))?;
    fs::write(www.join("empty.bin"), "")?;
    let start = |pod| Nginx::start(&theatre.node, pod, PORT, &FILES.replace("WWW", &www.display().to_string()));
    Ok((start(&theatre.v1.pod)?, start(&theatre.v2.pod)?))
}

/// Waits for so many lines of a log; no more may come.
fn asked(nginx: &Nginx, count: usize) -> Result<Vec<String>> {
    let lines =
        wait::until(&format!("{count} requests at nginx"), || Ok(Some(nginx.asked()).filter(|l| l.len() >= count)))?;
    ensure!(lines.len() == count, "nginx was asked {} times, not {count}", lines.len());
    Ok(lines)
}

/// Without what nginx asks itself; and in one version, because the proxy asks in its own (RFC 9110, 2.5).
fn of_clients(lines: Vec<String>) -> Vec<String> {
    let own = lines.into_iter().filter(|line| !line.contains(r#""from":"127.0.0.1""#));
    own.map(|line| line.replace("HTTP/1.0", "HTTP/1.1")).collect()
}

/// v1 was asked all things twice, by the proxy and past it; v2 was asked them once.
fn compare(v1: &[String], v2: &[String]) -> Result<()> {
    let primaries = pairs(v1)?;
    let marked = v2.iter().all(|line| line.contains(r#""host":"httpbin-shadow:8000","shadow":"true""#));
    ensure!(marked, "v2 got what is no shadow: {v2:?}");
    let unmark =
        |line: &String| line.replace("httpbin-shadow:8000", HOST).replace(r#""shadow":"true""#, r#""shadow":"""#);
    let mut copies: Vec<_> = v2.iter().map(unmark).collect();
    copies.sort();
    equal("v2 was asked", &copies.join("\n"), &primaries.join("\n"))
}

/// Fails if a validator, a range, an encoding or a byte of a large file is changed on the way, or if a client feels that v1 ends its connections.
fn files_of_all_sorts() -> Result<()> {
    let theatre = setting(MIRROR).start()?;
    let (v1, v2) = files(&theatre)?;
    let to = v1.server.address;
    let whole = curl::same(&theatre, to, &["/style.css"], &[])?;
    let field =
        |name: &str| whole.out.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap_or_default();
    let (etag, modified) =
        (format!("If-None-Match: {}", field("ETag: ")), format!("If-Modified-Since: {}", field("Last-Modified: ")));
    ensure!(
        etag.len() > 20 && modified.len() > 30,
        "nginx gave no validators: {}",
        whole.out.lines().take(12).collect::<String>()
    );
    let cases: [(&[&str], &str); 12] = [
        (&["/"], "200"),
        (&["/missing"], "404"),
        (&["/old"], "301"),
        (&["-I", "/big.bin"], "200"),
        (&["-H", &etag, "/style.css"], "304"),
        (&["-H", &modified, "/style.css"], "304"),
        (&["-H", &etag, "-I", "/style.css"], "304"),
        (&["-r", "100-199", "/big.bin"], "206"),
        (&["-r", "0-9,100-109", "/style.css"], "206"),
        (&["-r", "99999999-", "/big.bin"], "416"),
        (&["/loop/style.css"], "200"),
        (&["-X", "POST", "-d", "x=y", "/"], "405"),
    ];
    for (words, status) in cases {
        // The boundary of a multipart answer is a number of nginx' own.
        if words.iter().any(|word| word.contains("0-9,")) {
            let both = Twice::run(&theatre.client, VIP, to, |to| curl::words(to, words))?;
            for said in [both.captured, both.direct] {
                ensure!(said.out.matches("Content-Range: bytes ").count() == 2, "{}", said.out);
            }
            continue;
        }
        let said = curl::same(&theatre, to, words, &[])?;
        ensure!(
            said.out.contains(&format!("\n[{status} ")),
            "curl {words:?}: {}",
            said.out.chars().take(500).collect::<String>()
        );
    }
    // Known: a length of 0 arrives as the last field.
    curl::same(&theatre, to, &["/empty.bin"], &["Content-Length"])?;
    // Packed in chunks; unpacked by curl, so that a byte too many would show.
    let packed = curl::same(&theatre, to, &["--compressed", "/style.css"], &[])?;
    ensure!(
        packed.out.contains("Content-Encoding: gzip") && packed.out.matches("color: black").count() == 2000,
        "not packed"
    );
    // Eight on what is one connection for curl where nobody ends it.
    let many: Vec<_> = (0..8).map(|n| format!("/style.css?{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let said = curl::same(&theatre, to, &many, &[])?;
    ensure!(said.out.matches("\n[200 ").count() == 8, "{}", said.out);
    let digest = |to| {
        let words = curl::words(to, &["--no-include", "-w", "", "/big.bin"]);
        ["sh", "-c", "\"$@\" | sha256sum", "sh"].map(str::to_owned).into_iter().chain(words).collect()
    };
    Twice::run(&theatre.client, VIP, to, digest)?.same()?;
    let requests = 1 + cases.len() + 1 + 1 + 8 + 1;
    // The way through itself is asked once more, by itself.
    compare(&of_clients(asked(&v1, 2 * (requests + 1))?), &of_clients(asked(&v2, requests + 1)?))?;
    theatre.outcomes(&[("answered", requests)])?;
    Ok(())
}

/// nginx passes on with HTTP/1.0 and a connection each, unless it is told otherwise.
const FRONT: &str = r#"
  upstream kept { server ADDRESS; keepalive 2; }
  server {
    listen 8080; proxy_set_header Host httpbin:8000;
    location /each/ { proxy_pass http://ADDRESS/; }
    location /kept/ { proxy_pass http://kept/; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host httpbin:8000; }
    location /streamed/ {
      proxy_pass http://kept/; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host httpbin:8000;
      proxy_request_buffering off; proxy_buffering off; client_max_body_size 0;
    }
  }
"#;

/// Fails if nginx takes an answer amiss that the proxy has framed for it: in HTTP/1.0, on kept connections, or streamed.
fn nginx_as_a_captured_client() -> Result<()> {
    let theatre = setting(MIRROR).start()?;
    let (v1, v2) = files(&theatre)?;
    // In the captured pod: at the service, and at v1 itself.
    let front = |port: u16, to: SocketAddr| {
        let servers = FRONT.replace("ADDRESS", &to.to_string()).replace("8080", &port.to_string());
        Nginx::start(&theatre.node, &theatre.client, port, &servers)
    };
    let (captured, direct) = (front(8080, VIP)?, front(8081, v1.server.address)?);
    let mut requests = 0;
    for way in ["each", "kept", "streamed"] {
        for path in ["", "style.css", "missing", "loop/index.html", "big.bin", "form"] {
            let both = Twice::run(&theatre.client, captured.server.address, direct.server.address, |to| {
                let mut words = curl::words(to, &["-o", "-"]);
                // By HTTP/1.0 nginx gets nothing packed from nginx; the proxy asks in its own version (RFC 9110, 2.5).
                if way != "each" {
                    words.push("--compressed".to_owned());
                }
                if path == "form" {
                    words.extend(["-H", "Transfer-Encoding: chunked", "-d", "a=b"].map(str::to_owned));
                }
                words.push(format!("http://{HOST}/{way}/{path}"));
                words
            })?;
            both.map(|said| said.without(&["Date"])).same().with_context(|| format!("/{way}/{path}"))?;
            requests += 1;
        }
    }
    let loops = 3;
    compare(&of_clients(asked(&v1, 2 * (requests + loops))?), &of_clients(asked(&v2, requests + loops)?))?;
    theatre.outcomes(&[("answered", requests)])?;
    Ok(())
}
