//! A server of the test's own: it keeps every request byte for byte and behaves as it is told.
//!
//! Refusing needs no server: an address where nothing listens refuses.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{
    http::{self, Framing},
    netns::Netns,
    wait,
};

/// What the server does with a connection.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// 200 with this body to every request, keeping the connection.
    Ok(Vec<u8>),
    /// 200 with the request's own body.
    Echo,
    /// These bytes to every request, whatever they are; the connection is kept.
    Raw(Vec<u8>),
    /// These bytes to the first request, and the connection is closed.
    RawThenClose(Vec<u8>),
    /// Reads requests and never answers.
    Hang,
    /// Reads one request's head and resets the connection.
    Reset,
    /// 200 with a body that is announced as a GiB and sent for as long as the client takes it.
    Endless,
    /// Answers the first request as soon as its head has come, and never reads again.
    EarlyThenDeaf,
    /// Accepts and never reads.
    Deaf,
    /// Not HTTP: sends back every byte it gets, and closes its half when the client has closed its own.
    Bytes,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Request line and header fields with the empty line, byte for byte.
    pub head: Vec<u8>,
    /// What followed, with its framing, byte for byte.
    pub raw_body: Vec<u8>,
    /// The body without framing.
    pub body: Vec<u8>,
    /// Where it came from.
    pub peer: SocketAddr,
    /// Number of the connection it came on, from 0.
    pub connection: usize,
    /// When its last byte was read.
    pub at: SystemTime,
}

impl Recorded {
    /// The head as text.
    #[must_use]
    pub fn head_text(&self) -> String {
        String::from_utf8_lossy(&self.head).into_owned()
    }

    /// The first line.
    #[must_use]
    pub fn request_line(&self) -> String {
        self.head_text().lines().next().unwrap_or_default().to_owned()
    }

    /// The first value of a field, whatever its letter case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        self.head_text().lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Recorded>,
    peers: Vec<SocketAddr>,
    bytes: Vec<u8>,
    heard: Vec<u8>,
    /// Which connection said so many bytes of that.
    said: Vec<(usize, usize)>,
    endless: u64,
}

#[derive(Debug)]
struct Shared {
    seen: Mutex<Seen>,
    behaviour: Mutex<Behaviour>,
    closing: AtomicBool,
}

impl Shared {
    fn seen<T>(&self, f: impl FnOnce(&mut Seen) -> T) -> T {
        f(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A running server; closed when dropped.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

/// Bytes of requests that are kept as they came.
const MOST_HEARD: usize = 1 << 20;

/// How often a blocked thread looks whether the server is being dropped.
const TICK: Duration = Duration::from_millis(50);

impl Recorder {
    /// Listens in a namespace; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn start(netns: &Netns, address: SocketAddr, behaviour: Behaviour) -> Result<Self> {
        let listener =
            netns.run(|| TcpListener::bind(address).with_context(|| format!("cannot listen on {address}")))?;
        Self::on(listener, behaviour)
    }

    /// Serves a listener.
    ///
    /// # Errors
    /// When its address cannot be read.
    pub fn on(listener: TcpListener, behaviour: Behaviour) -> Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            behaviour: Mutex::new(behaviour),
            closing: AtomicBool::new(false),
        });
        let accepting = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        });
        Ok(Self { address, shared, accepting: Some(accepting) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From the next request on, behaves otherwise.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// All requests so far, in the order in which they ended.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.seen(|seen| seen.requests.clone())
    }

    /// How many requests so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.seen(|seen| seen.requests.len())
    }

    /// The clients' addresses, one for each connection so far.
    #[must_use]
    pub fn peers(&self) -> Vec<SocketAddr> {
        self.shared.seen(|seen| seen.peers.clone())
    }

    /// All bytes that came on connections served as [`Behaviour::Bytes`].
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.shared.seen(|seen| seen.bytes.clone())
    }

    /// What came on all connections, whole requests or not, in the order in which it came; the first mebibyte of it.
    #[must_use]
    pub fn heard(&self) -> Vec<u8> {
        self.shared.seen(|seen| seen.heard.clone())
    }

    /// The same without the first `known` bytes, taken apart by connection.
    #[must_use]
    pub fn heard_apart(&self, known: usize) -> Vec<Vec<u8>> {
        self.shared.seen(|seen| {
            let (mut apart, mut at) = (BTreeMap::<usize, Vec<u8>>::new(), 0);
            for (connection, length) in &seen.said {
                let piece = &seen.heard[at..at + length];
                let new = &piece[known.saturating_sub(at).min(*length)..];
                if !new.is_empty() {
                    apart.entry(*connection).or_default().extend_from_slice(new);
                }
                at += length;
            }
            apart.into_values().collect()
        })
    }

    /// Body bytes that the kernel took of all [`Behaviour::Endless`] answers.
    #[must_use]
    pub fn endless(&self) -> u64 {
        self.shared.seen(|seen| seen.endless)
    }

    /// Waits until at least so many requests have come, and returns all.
    ///
    /// # Errors
    /// When they do not come.
    pub fn wait_for(&self, count: usize) -> Result<Vec<Recorded>> {
        let what = format!("{count} requests at {}", self.address);
        wait::until(&what, || Ok((self.count() >= count).then(|| self.requests())))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::Release);
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.closing.load(Ordering::Acquire) {
        match listener.accept() {
            Ok((stream, peer)) => {
                let number = shared.seen(|seen| {
                    seen.peers.push(peer);
                    seen.peers.len() - 1
                });
                let shared = Arc::clone(shared);
                thread::spawn(move || {
                    // The connection's end is the client's to notice.
                    let _ = Connection { stream, peer, number, shared, unread: Vec::new() }.serve();
                });
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    number: usize,
    shared: Arc<Shared>,
    unread: Vec<u8>,
}

impl Connection {
    fn serve(mut self) -> Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_read_timeout(Some(TICK))?;
        loop {
            match self.behaviour() {
                Behaviour::Deaf => {
                    self.be_deaf();
                    return Ok(());
                }
                Behaviour::Bytes => return self.echo_bytes(),
                _ => {}
            }
            let Some(request) = self.request()? else { return Ok(()) };
            let body = request.body.clone();
            self.shared.seen(|seen| seen.requests.push(request));
            match self.behaviour() {
                Behaviour::Ok(answer) => self.answer(&answer)?,
                Behaviour::Echo => self.answer(&body)?,
                Behaviour::Raw(bytes) => self.stream.write_all(&bytes)?,
                Behaviour::RawThenClose(bytes) => {
                    self.stream.write_all(&bytes)?;
                    self.stream.shutdown(Shutdown::Write)?;
                    return self.until_closed();
                }
                Behaviour::Reset => {
                    setsockopt(&self.stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
                    return Ok(());
                }
                Behaviour::Endless => return self.endless(),
                Behaviour::EarlyThenDeaf => {
                    self.answer(b"early")?;
                    self.be_deaf();
                    return Ok(());
                }
                Behaviour::Hang | Behaviour::Deaf | Behaviour::Bytes => {}
            }
        }
    }

    fn be_deaf(&self) {
        while !self.shared.closing.load(Ordering::Acquire) {
            thread::sleep(TICK);
        }
    }

    fn endless(mut self) -> Result<()> {
        self.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")?;
        let chunk = vec![b'e'; 64 * 1024];
        loop {
            self.stream.write_all(&chunk)?;
            self.shared.seen(|seen| seen.endless += chunk.len() as u64);
        }
    }

    fn behaviour(&self) -> Behaviour {
        self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answer(&mut self, body: &[u8]) -> Result<()> {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
        self.stream.write_all(&[head.as_bytes(), body].concat())?;
        Ok(())
    }

    /// The next whole request; `None` when the client has closed or the server is being dropped.
    fn request(&mut self) -> Result<Option<Recorded>> {
        let head_end = loop {
            if let Some(end) = http::head_end(&self.unread) {
                break end;
            }
            if !self.more()? {
                return Ok(None);
            }
        };
        let head = self.unread[..head_end].to_vec();
        if matches!(self.behaviour(), Behaviour::Reset | Behaviour::EarlyThenDeaf) {
            self.unread.clear();
            return Ok(Some(self.recorded(head, Vec::new(), Vec::new())));
        }
        let framing = http::framing(&String::from_utf8_lossy(&head))?;
        if has_expect(&head) && matches!(self.behaviour(), Behaviour::Ok(_) | Behaviour::Echo) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        loop {
            let rest = &self.unread[head_end..];
            let whole = match framing {
                Framing::None => Some((Vec::new(), 0)),
                Framing::Length(length) => rest.get(..length).map(|body| (body.to_vec(), length)),
                Framing::Chunked => http::unchunk(rest),
            };
            if let Some((body, taken)) = whole {
                let raw_body = rest[..taken].to_vec();
                self.unread.drain(..head_end + taken);
                return Ok(Some(self.recorded(head, raw_body, body)));
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    fn recorded(&self, head: Vec<u8>, raw_body: Vec<u8>, body: Vec<u8>) -> Recorded {
        Recorded { head, raw_body, body, peer: self.peer, connection: self.number, at: SystemTime::now() }
    }

    /// Reads once; false at the end of the stream or of the server.
    fn more(&mut self) -> Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    self.unread.extend_from_slice(&buffer[..n]);
                    self.shared.seen(|seen| {
                        let room = MOST_HEARD.saturating_sub(seen.heard.len()).min(n);
                        seen.heard.extend_from_slice(&buffer[..room]);
                        seen.said.push((self.number, room));
                    });
                    return Ok(true);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if self.shared.closing.load(Ordering::Acquire) {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn echo_bytes(mut self) -> Result<()> {
        loop {
            let bytes = std::mem::take(&mut self.unread);
            self.stream.write_all(&bytes)?;
            self.shared.seen(|seen| seen.bytes.extend_from_slice(&bytes));
            if !self.more()? {
                self.stream.shutdown(Shutdown::Write)?;
                return Ok(());
            }
        }
    }

    fn until_closed(mut self) -> Result<()> {
        while self.more()? {
            self.unread.clear();
        }
        Ok(())
    }
}

fn has_expect(head: &[u8]) -> bool {
    String::from_utf8_lossy(head).to_ascii_lowercase().contains("\r\nexpect: 100-continue\r\n")
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;

    use super::*;

    fn recorder(behaviour: Behaviour) -> (Recorder, TcpStream) {
        let recorder = Recorder::on(TcpListener::bind("127.0.0.1:0").unwrap(), behaviour).unwrap();
        let stream = TcpStream::connect(recorder.address()).unwrap();
        (recorder, stream)
    }

    #[test]
    fn two_pipelined_requests_are_kept_byte_for_byte() {
        let (recorder, mut stream) = recorder(Behaviour::Ok(b"hi".to_vec()));
        let first = b"POST /a HTTP/1.1\r\nHOST:  x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        stream
            .write_all(&[&first[..], b"3\r\nabc\r\n0\r\n\r\n", b"GET /b HTTP/1.1\r\nHost: y\r\n\r\n"].concat())
            .unwrap();
        let requests = recorder.wait_for(2).unwrap();
        assert_eq!(requests[0].head, first);
        assert_eq!((&requests[0].raw_body[..], &requests[0].body[..]), (&b"3\r\nabc\r\n0\r\n\r\n"[..], &b"abc"[..]));
        assert_eq!(requests[0].header("host").as_deref(), Some("x"));
        assert_eq!(requests[1].request_line(), "GET /b HTTP/1.1");
        assert_eq!((requests[1].connection, requests[1].peer), (0, stream.local_addr().unwrap()));
    }

    #[test]
    fn a_reset_is_a_reset() {
        let (recorder, mut stream) = recorder(Behaviour::Reset);
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let error = stream.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(recorder.count(), 1);
    }

    #[test]
    fn half_closed_bytes_come_back() {
        let (_recorder, mut stream) = recorder(Behaviour::Bytes);
        stream.write_all(b"one\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let lines: Vec<_> = std::io::BufReader::new(stream).lines().map(Result::unwrap).collect();
        assert_eq!(lines, ["one"]);
    }
}
