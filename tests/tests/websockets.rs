//! The `websockets` library as client and as server: an upgrade is v1's alone, and a tunnel afterwards.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    case, harness,
    needs::Need,
    parity::{Server, Twice, equal, setting},
    python,
    theatre::{HOST, MIRROR, PORT, VIP, whole},
};

const NEEDS: &[Need] = &[Need::Root, Need::NetTools, Need::PythonPeers, Need::Cgroup2, Need::Btf, Need::Agent];

fn main() -> ExitCode {
    harness::main(&[case!(a_websocket_cannot_tell).needs(NEEDS)])
}

/// Conversations of the client's script.
const CONVERSATIONS: usize = 3;

/// Fails if a message, a ping or a close code is lost on either way, if an extension or subprotocol is not agreed on as without us, or if v2 is connected to.
fn a_websocket_cannot_tell() -> Result<()> {
    let theatre = setting(MIRROR).start()?;
    let serve = |pod| {
        let words = python::script("websocket_server.py", &["0.0.0.0", &PORT.to_string()]);
        Server::start(&theatre.node, pod, "websockets", PORT, &words)
    };
    let (v1, v2) = (serve(&theatre.v1.pod)?, serve(&theatre.v2.pod)?);
    let said = Twice::run(&theatre.client, VIP, v1.address, |to| {
        python::script("websocket_client.py", &[&to.ip().to_string(), &to.port().to_string(), HOST])
    })?
    .same()?;
    ensure!(said.out.contains(r#""closed by the server", "is": [4321, "as you wish"]"#), "{}", said.out);
    let lines = v1.lines(2 * CONVERSATIONS)?;
    let (captured, direct) = lines.split_at(CONVERSATIONS);
    equal("v1 saw", &captured.join("\n"), &direct.join("\n"))?;
    let view = theatre.outcomes(&[("not_mirrorable", CONVERSATIONS)])?;
    let tunnels = whole(view.sum("understudy_connections_total", &[("kind", "tunnel")]));
    ensure!(tunnels == CONVERSATIONS, "{tunnels} tunnels");
    // The library reports every connection that does not open well.
    ensure!(v2.log().is_empty(), "v2 heard of it: {}", v2.log());
    Ok(())
}
