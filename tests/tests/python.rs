//! Python's http.client as client, httpbin under gunicorn as server: Python on both sides.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    access_log, case, harness, httpbin,
    needs::Need,
    parity::{Server, Twice, equal, setting},
    python,
    theatre::{HOST, MIRROR, PORT, VIP},
    wait,
};

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::Httpbin, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[case!(http_client_and_httpbin).needs(NEEDS)])
}

/// Fails if what httpbin says that it was asked differs by the proxy, or if v2 is asked anything else than v1.
fn http_client_and_httpbin() -> Result<()> {
    let theatre = setting(MIRROR).start()?;
    let serve = |pod| Server::start(&theatre.node, pod, "httpbin", PORT, &httpbin::keeping_connections());
    let (v1, v2) = (serve(&theatre.v1.pod)?, serve(&theatre.v2.pod)?);
    let said = Twice::run(&theatre.client, VIP, v1.address, |to| {
        python::script("http_client.py", &[&to.ip().to_string(), &to.port().to_string(), HOST])
    })?
    .same()?;
    let requests = said.out.lines().count();
    ensure!(requests == 22, "{}", said.out);
    // gunicorn writes a request's line after its answer.
    let asked = |server: &Server| -> Vec<_> {
        access_log::lines(&server.log()).into_iter().map(|line| (line.host, line.status, line.request)).collect()
    };
    let by_v1 =
        wait::until("v1 has logged both runs", || Ok(Some(asked(&v1)).filter(|lines| lines.len() >= 2 * requests)))?;
    let by_v2 =
        wait::until("v2 has logged its copies", || Ok(Some(asked(&v2)).filter(|lines| lines.len() >= requests)))?;
    let listed = |lines: &[(String, u16, String)], host: &str| -> Result<String> {
        let mut lines = lines
            .iter()
            .map(|(of, status, request)| {
                ensure!(of == host, "`{request}` came with Host {of}");
                Ok(format!("{status} {request}"))
            })
            .collect::<Result<Vec<_>>>()?;
        lines.sort();
        Ok(lines.join("\n"))
    };
    let (captured, direct) = by_v1.split_at(requests);
    equal("v1 was asked", &listed(captured, HOST)?, &listed(direct, HOST)?)?;
    equal("v2 was asked", &listed(&by_v2, "httpbin-shadow:8000")?, &listed(captured, HOST)?)?;
    theatre.outcomes(&[("answered", requests)])?;
    Ok(())
}
