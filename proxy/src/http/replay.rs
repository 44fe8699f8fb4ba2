//! What has passed of a request's body, kept while the request may have to be sent again.
//!
//! Comes in: the frames of a body as they pass. Goes out: the same frames once more. Never: more than [`MOST`] for one request or [`ROOM`] for all of
//! a worker; a request that is longer is sent once.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use crate::codec::kept;

/// Most bytes that are kept of one request.
const MOST: usize = 64 * 1024;
/// Most bytes that a worker keeps.
const ROOM: usize = 16 * 1024 * 1024;

/// Bytes that a worker keeps at the moment.
#[derive(Clone, Debug, Default)]
pub struct Room(Rc<Cell<usize>>);

/// A frame that is kept.
#[derive(Clone, Debug)]
pub enum Piece {
    /// Bytes.
    Data(Bytes),
    /// What comes last.
    Trailers(HeaderMap),
}

impl Piece {
    fn of(frame: &Frame<Bytes>) -> Option<Self> {
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Some(Self::Data(kept(data))),
            (_, Some(trailers)) => Some(Self::Trailers(trailers.clone())),
            (None, None) => None,
        }
    }

    /// What it takes, itself included: there may be very many with a byte each.
    fn cost(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Data(data) => data.len(),
                Self::Trailers(trailers) => {
                    trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
                }
            }
    }
}

impl From<Piece> for Frame<Bytes> {
    fn from(piece: Piece) -> Self {
        match piece {
            Piece::Data(data) => Self::data(data),
            Piece::Trailers(trailers) => Self::trailers(trailers),
        }
    }
}

/// The frames of one request; clones share them.
#[derive(Clone, Debug)]
pub struct Replay(Rc<Kept>);

#[derive(Debug)]
struct Kept {
    room: Room,
    taken: Cell<usize>,
    /// `None` = they were too many, or nobody will ask for them any more.
    pieces: RefCell<Option<VecDeque<Piece>>>,
}

impl Replay {
    /// Nothing has passed yet.
    #[must_use]
    pub fn new(room: &Room) -> Self {
        Self(Rc::new(Kept { room: room.clone(), taken: Cell::new(0), pieces: RefCell::new(Some(VecDeque::new())) }))
    }

    /// Keeps what passes, if there is room for it.
    pub fn keep(&self, frame: &Frame<Bytes>) {
        let kept = &*self.0;
        let mut guard = kept.pieces.borrow_mut();
        let (Some(pieces), Some(piece)) = (&mut *guard, Piece::of(frame)) else { return };
        let cost = piece.cost();
        if kept.taken.get() + cost <= MOST && kept.room.0.get() + cost <= ROOM {
            kept.taken.set(kept.taken.get() + cost);
            kept.room.0.set(kept.room.0.get() + cost);
            pieces.push_back(piece);
        } else {
            drop(guard);
            kept.forget();
        }
    }

    /// The request will not be sent again.
    pub fn forget(&self) {
        self.0.forget();
    }

    /// All that has passed, if it was kept.
    #[must_use]
    pub fn pieces(&self) -> Option<VecDeque<Piece>> {
        self.0.pieces.borrow().clone()
    }
}

impl Kept {
    fn forget(&self) {
        self.pieces.replace(None);
        self.room.0.set(self.room.0.get() - self.taken.take());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(length: usize) -> Frame<Bytes> {
        Frame::data(vec![7; length].into())
    }

    #[test]
    fn what_passed_comes_again_in_order() {
        let replay = Replay::new(&Room::default());
        replay.keep(&Frame::data("a".into()));
        replay.keep(&Frame::trailers(HeaderMap::new()));
        let again: Vec<_> = replay.pieces().unwrap().into_iter().map(Frame::from).collect();
        assert_eq!(again[0].data_ref().unwrap(), "a");
        assert!(again[1].is_trailers() && again.len() == 2);
    }

    /// Fails if half of what passed is taken for all of it, or if many small pieces cost nothing.
    #[test]
    fn too_much_is_forgotten_altogether() {
        let room = Room::default();
        let replay = Replay::new(&room);
        replay.keep(&data(MOST / 2));
        replay.keep(&data(MOST / 2));
        replay.keep(&data(1));
        assert!(replay.pieces().is_none() && room.0.get() == 0);
        let replay = Replay::new(&room);
        (0..MOST).for_each(|_| replay.keep(&data(1)));
        assert!(replay.pieces().is_none());
    }

    #[test]
    fn a_worker_keeps_no_more_than_its_room() {
        let room = Room::default();
        let mut all: Vec<_> = (0..=ROOM / MOST).map(|_| Replay::new(&room)).collect();
        all.iter().for_each(|replay| replay.keep(&data(MOST - 1024)));
        assert!(room.0.get() <= ROOM);
        assert!(all.last().unwrap().pieces().is_some(), "the costs leave a little");
        (0..20).for_each(|_| {
            let more = Replay::new(&room);
            more.keep(&data(MOST - 1024));
            all.push(more);
        });
        assert!(room.0.get() <= ROOM && all.last().unwrap().pieces().is_none());
        drop(all);
        assert_eq!(room.0.get(), 0, "it is given back");
    }
}
