//! The three of them over HTTP/2: a task for each connection, and the same turns as over HTTP/1.

use std::{
    future::Future,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use h2::{RecvStream, client, server};
use http::{Request, Response};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Builder,
    sync::mpsc,
    task::spawn,
    time::{sleep, timeout},
};

use super::{PATIENCE, Rest, Versions};
use crate::case::Case;

/// Time for the tasks of the connections.
const TURN: Duration = Duration::from_millis(1);

type Heard = (Request<RecvStream>, server::SendResponse<Bytes>);

pub(super) fn play(case: Case, versions: Versions, proxy: SocketAddr, rest: Rest, requests: u64) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut v1 = serve(versions.v1)?;
        let mut v2 = serve(versions.v2)?;
        let stream = TcpStream::connect(proxy).await?;
        stream.set_nodelay(true)?;
        let (mut client, connection) = client::handshake(stream).await?;
        spawn(connection);
        for _ in 0..requests {
            let request = Request::get(format!("http://{}:8001/get?a=b", case.host()))
                .header("user-agent", "curl/8.5.0")
                .header("accept", "*/*")
                .body(())?;
            client = step("the client may ask", client.ready()).await??;
            let (answer, _) = client.send_request(request, true)?;
            let primary = hear("v1", &mut v1).await?;
            let shadow = if case.is_mirrored() { Some(hear("v2", &mut v2).await?) } else { None };
            settle(rest).await?;
            reply(primary).context("v1 answers")?;
            let answer = step("the client has its answer", answer).await??;
            ensure!(answer.status() == 200, "the client was answered {}", answer.status());
            let mut body = answer.into_body();
            while let Some(data) = step("the client has its answer's body", body.data()).await? {
                let data = data?;
                body.flow_control().release_capacity(data.len())?;
            }
            settle(rest).await?;
            if let Some(shadow) = shadow {
                reply(shadow).context("v2 answers")?;
                settle(rest).await?;
            }
        }
        Ok(())
    })
}

/// A version, which tells of each request that has come whole.
fn serve(listener: std::net::TcpListener) -> Result<mpsc::UnboundedReceiver<Heard>> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (heard, requests) = mpsc::unbounded_channel();
    spawn(async move {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut connection = server::handshake(stream).await?;
        while let Some(request) = connection.accept().await {
            heard.send(request?).map_err(|_| anyhow!("nobody listens any more"))?;
        }
        anyhow::Ok(())
    });
    Ok(requests)
}

/// Waits until several looks in a row find the proxy at rest. The connections' tasks run between two looks: what was handed to h2 goes out, and
/// what the proxy says of itself (windows, acknowledgements) is read.
async fn settle(rest: Rest) -> Result<()> {
    let start = Instant::now();
    let mut looks = 0;
    while looks < 3 {
        ensure!(start.elapsed() < PATIENCE, "the counted proxy does not come to rest");
        sleep(TURN).await;
        looks = if rest.look()? { looks + 1 } else { 0 };
    }
    Ok(())
}

async fn hear(who: &'static str, requests: &mut mpsc::UnboundedReceiver<Heard>) -> Result<Heard> {
    step(who, requests.recv()).await?.with_context(|| format!("{who} has lost its connection"))
}

fn reply((_, mut respond): Heard) -> Result<()> {
    let head = Response::builder()
        .header("server", "nginx")
        .header("date", "Thu, 01 Jan 2026 00:00:00 GMT")
        .header("content-type", "text/plain")
        .header("content-length", "17")
        .body(())?;
    respond.send_response(head, false)?.send_data(Bytes::from_static(b"small body of v1\n"), true)?;
    Ok(())
}

async fn step<T>(what: &str, action: impl Future<Output = T>) -> Result<T> {
    timeout(PATIENCE, action).await.with_context(|| format!("waited in vain: {what}"))
}
