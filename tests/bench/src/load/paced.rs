//! Requests at a constant rate, whatever the answers do: latency from the moment a request was *meant* to start, so that a queue cannot hide.
//!
//! Our own: of the two that are known for it, neither wrk2 nor oha is a package of Debian stable, and it has to wake up to the microsecond: one
//! thread, one epoll, one timer of the kernel. A request that is due goes to a connection that is idle; if none is, it waits, and the wait counts.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use integration::Pod;
use nix::sys::{
    epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
    time::TimeSpec,
    timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
};

use crate::load::{Outcome, latency::Recorder};

/// Number of the timer among the epoll's things.
const TIMER: u64 = u64::MAX;
/// Before what is measured: a v2 that hangs takes as many shadows as it may at first, and none for seconds then.
const WARM_UP: Duration = Duration::from_millis(300);
/// How long after the last request answers are still waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection and what is under way on it.
struct Lane {
    stream: TcpStream,
    /// When the request that is under way was meant to start.
    due: Option<Instant>,
    answer: Answer,
}

/// How much of an answer has come.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    /// Bytes of the body still to come, once the head is there.
    left: Option<usize>,
}

/// The generator.
struct Generator {
    to: SocketAddr,
    request: Vec<u8>,
    epoll: Epoll,
    lanes: Vec<Lane>,
    idle: VecDeque<usize>,
    waiting: VecDeque<Instant>,
    recorder: Recorder,
    errors: u64,
}

/// Plays it from a pod, over so many connections to there.
pub(super) fn play(
    pod: &Pod,
    (host, to): (&str, SocketAddr),
    rate: f64,
    connections: usize,
    time: Duration,
) -> Result<Outcome> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}:{}\r\n\r\n", to.port()).into_bytes();
    pod.run(|| {
        let mut generator = Generator::new(to, request, connections)?;
        let warm_up = generator.warm_up(rate)?;
        let start = Instant::now();
        generator.recorder = Recorder::from(start)?;
        generator.run(start, rate, time)?;
        Ok(Outcome {
            requests: generator.recorder.len().saturating_sub(generator.errors),
            errors: generator.errors,
            warm_up,
            seconds: start.elapsed().as_secs_f64(),
            latency: Some(generator.recorder.latency(rate)),
            slices: Some(generator.recorder.slices()),
        })
    })
}

impl Generator {
    fn new(to: SocketAddr, request: Vec<u8>, connections: usize) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let recorder = Recorder::from(Instant::now())?;
        let mut generator = Self {
            to,
            request,
            epoll,
            lanes: Vec::new(),
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            recorder,
            errors: 0,
        };
        for index in 0..connections {
            let stream = generator.connect(index)?;
            generator.lanes.push(Lane { stream, due: None, answer: Answer::default() });
            generator.idle.push_back(index);
        }
        Ok(generator)
    }

    fn connect(&self, index: usize) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.to).with_context(|| format!("cannot connect to {}", self.to))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        Ok(stream)
    }

    /// One request on each connection and some at the rate, so that pools are full and no connect is measured. Returns how many were answered.
    fn warm_up(&mut self, rate: f64) -> Result<u64> {
        let until = Instant::now() + PATIENCE;
        self.waiting.extend((0..self.lanes.len()).map(|_| Instant::now()));
        self.send();
        while self.idle.len() < self.lanes.len() && Instant::now() < until {
            self.wait(EpollTimeout::from(100_u16))?;
        }
        self.run(Instant::now(), rate, WARM_UP)?;
        let answered = self.recorder.len();
        self.errors = 0;
        Ok(answered)
    }

    fn run(&mut self, start: Instant, rate: f64, time: Duration) -> Result<()> {
        let total = (rate * time.as_secs_f64()) as u64;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        self.epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let due = |number: u64| start + Duration::from_secs_f64(number as f64 / rate);
        let mut next = 0;
        while next < total {
            let now = Instant::now();
            while next < total && due(next) <= now {
                self.waiting.push_back(due(next));
                next += 1;
            }
            self.send();
            let left = due(next).saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
            timer.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
            self.wait(EpollTimeout::NONE)?;
            let _ = timer.wait();
        }
        let end = Instant::now() + PATIENCE;
        while (self.idle.len() < self.lanes.len() || !self.waiting.is_empty()) && Instant::now() < end {
            self.send();
            self.wait(EpollTimeout::from(10_u16))?;
        }
        self.epoll.delete(&timer)?;
        // What was never answered is late by as long as it was waited for, and an error.
        let now = Instant::now();
        for due in self.waiting.drain(..).chain(self.lanes.iter_mut().filter_map(|lane| lane.due.take())) {
            self.errors += 1;
            self.recorder.record(due, now - due);
        }
        Ok(())
    }

    /// Gives requests that are due to idle connections.
    fn send(&mut self) {
        while let (Some(&index), Some(&due)) = (self.idle.front(), self.waiting.front()) {
            self.idle.pop_front();
            self.waiting.pop_front();
            let lane = &mut self.lanes[index];
            lane.due = Some(due);
            // A small request always has room in an idle connection's buffer; otherwise the connection is broken.
            if !lane.stream.write(&self.request).is_ok_and(|written| written == self.request.len()) {
                self.broken(index);
            }
        }
    }

    fn wait(&mut self, timeout: EpollTimeout) -> Result<()> {
        let mut events = [EpollEvent::empty(); 256];
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            if event.data() != TIMER {
                self.read(event.data() as usize);
            }
        }
        Ok(())
    }

    fn read(&mut self, index: usize) {
        let mut buffer = [0; 16 << 10];
        loop {
            let lane = &mut self.lanes[index];
            match lane.stream.read(&mut buffer) {
                Ok(0) => return self.broken(index),
                Ok(read) => match lane.answer.take(&buffer[..read]) {
                    None => return self.broken(index),
                    Some(false) => {}
                    Some(true) => {
                        lane.answer = Answer::default();
                        if let Some(due) = lane.due.take() {
                            self.recorder.record(due, due.elapsed());
                            self.idle.push_back(index);
                        }
                        return;
                    }
                },
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.broken(index),
            }
        }
    }

    /// The connection has ended or said what is no good answer: an error, and another connection.
    fn broken(&mut self, index: usize) {
        self.errors += 1;
        match self.lanes[index].due.take() {
            Some(due) => self.recorder.record(due, due.elapsed()),
            None => self.idle.retain(|idle| *idle != index),
        }
        let _ = self.epoll.delete(&self.lanes[index].stream);
        // Where nobody listens any more the lane is lost, and what waits says so.
        if let Ok(stream) = self.connect(index) {
            self.lanes[index] = Lane { stream, due: None, answer: Answer::default() };
            self.idle.push_back(index);
        }
    }
}

impl Answer {
    /// Takes what has come. `Some(true)`: whole; `None`: no good answer.
    fn take(&mut self, bytes: &[u8]) -> Option<bool> {
        if let Some(left) = self.left {
            self.left = Some(left.checked_sub(bytes.len())?);
            return Some(self.left == Some(0));
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
            return Some(false);
        };
        let head = std::str::from_utf8(&self.head[..end]).ok()?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return None;
        }
        let length = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        };
        let length = head.lines().find_map(length)?;
        self.left = Some(length.checked_sub(self.head.len() - end)?);
        Some(self.left == Some(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_may_come_in_pieces() {
        let mut answer = Answer::default();
        assert_eq!(answer.take(b"HTTP/1.1 200 OK\r\nContent-Le"), Some(false));
        assert_eq!(answer.take(b"ngth: 5\r\n\r\nab"), Some(false));
        assert_eq!(answer.take(b"cde"), Some(true));
        assert_eq!(Answer::default().take(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), None);
    }
}
