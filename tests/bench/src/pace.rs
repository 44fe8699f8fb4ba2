//! Load at a constant rate, and how long each answer took from the moment at which its request was due, whether or not a connection was free to
//! send it then: a proxy that stalls for a second is charged with every request of that second.
//!
//! Why our own: wrk waits for an answer before it sends the next request, and so leaves out what it could not send; wrk2 and oha are not in
//! Debian. One thread, blocking nowhere: a timer of nanoseconds (`timerfd`) and the sockets in one epoll.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use integration::Pod;
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use crate::world::Service;

/// Where the timer is among the events; connections are numbered from 0.
const TIMER: u64 = u64::MAX;
/// How long after the last request is due the last answer may come.
const PATIENCE: Duration = Duration::from_secs(5);

/// A load of a constant rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Paced {
    /// Nanoseconds from when a request was due to the end of its answer.
    pub(crate) latency: Histogram<u64>,
    pub(crate) requests: u64,
    pub(crate) failed: u64,
}

struct Connection {
    stream: TcpStream,
    /// When the request under way was due.
    due: Option<Instant>,
    buffer: Vec<u8>,
}

impl Pace {
    /// Applies it from a pod.
    ///
    /// # Errors
    /// When connections cannot be made; answers that do not come are counted.
    pub(crate) fn run(self, client: &Pod, service: Service) -> Result<Paced> {
        client.run(|| self.apply(service.address(), service.name()))
    }

    fn apply(self, to: SocketAddr, host: &str) -> Result<Paced> {
        let request = format!("GET /small HTTP/1.1\r\nHost: {host}:{}\r\n\r\n", to.port());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let mut connections = Vec::new();
        for number in 0..self.connections as u64 {
            let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll.add(stream.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, number))?;
            connections.push(Connection { stream, due: None, buffer: Vec::with_capacity(4096) });
        }
        let mut idle: VecDeque<usize> = (0..self.connections).collect();
        let mut waiting: VecDeque<Instant> = VecDeque::new();
        let mut done = Paced { latency: Histogram::new_with_bounds(1, 60_000_000_000, 3)?, requests: 0, failed: 0 };
        let total = (self.rate * self.seconds) as u64;
        let start = Instant::now() + Duration::from_millis(10);
        let due = |number: u64| start + Duration::from_secs_f64(number as f64 / self.rate);
        let (mut next, mut events) = (0, vec![EpollEvent::empty(); self.connections + 1]);
        while done.requests + done.failed < total {
            let now = Instant::now();
            while next < total && due(next) <= now {
                waiting.push_back(due(next));
                next += 1;
            }
            while let (Some(at), Some(number)) = (waiting.front().copied(), idle.front().copied()) {
                let Some(connection) = connections.get_mut(number) else { break };
                connection.stream.write_all(request.as_bytes()).context("a connection takes no request")?;
                connection.due = Some(at);
                waiting.pop_front();
                idle.pop_front();
            }
            if next >= total && now > due(total) + PATIENCE {
                done.failed = total - done.requests;
                break;
            }
            if next < total {
                let wait = due(next).saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
                timer.set(Expiration::OneShot(TimeSpec::from_duration(wait)), TimerSetTimeFlags::empty())?;
            }
            for event in 0..epoll.wait(&mut events, EpollTimeout::from(200_u8))? {
                let number = events.get(event).map_or(TIMER, EpollEvent::data);
                if number == TIMER {
                    let _ = timer.wait();
                    continue;
                }
                let at = usize::try_from(number)?;
                let Some(connection) = connections.get_mut(at) else { continue };
                if connection.answered()? {
                    if let Some(due) = connection.due.take() {
                        let nanoseconds = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
                        done.latency.saturating_record(nanoseconds);
                        done.requests += 1;
                    }
                    idle.push_back(at);
                }
            }
        }
        Ok(done)
    }
}

impl Connection {
    /// Reads what is there; true if the answer is complete.
    fn answered(&mut self) -> Result<bool> {
        let mut chunk = [0; 4096];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the proxy has closed a connection under load"),
                Ok(read) => self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("a connection broke under load"),
            }
        }
        let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(false) };
        let head = String::from_utf8_lossy(self.buffer.get(..end).unwrap_or_default()).to_ascii_lowercase();
        if !head.starts_with("http/1.1 200 ") {
            bail!("an answer is no 200: {head}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let complete = self.buffer.len() >= end + 4 + length.context("an answer without a length")?;
        if complete {
            self.buffer.clear();
        }
        Ok(complete)
    }
}
