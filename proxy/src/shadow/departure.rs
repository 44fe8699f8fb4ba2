//! The shadows of one request that wait for the primary's head to be on its way.
//!
//! Comes in: what was planned; over HTTP/1 the bytes of the head as they are written, over HTTP/2 word that something was. Goes out: shadows that have
//! started. Never: a shadow without a primary: what has not left when the request is over has ended.

use std::{cell::RefCell, rc::Rc};

use http::request::Parts;

use super::{
    plan::Shadows,
    send::{self, Origin},
};
use crate::upstream::watched::Witness;

/// Shadows before their departure; the request holds it, and the connection that will write its head.
#[derive(Debug)]
pub struct Departure {
    origin: Rc<Origin>,
    shadows: RefCell<Shadows>,
    /// Over HTTP/2: a head for them.
    head: RefCell<Option<Parts>>,
}

impl Departure {
    /// They wait. `head` is what they are sent over HTTP/2; over HTTP/1 it is what the connection writes.
    #[must_use]
    pub fn new(origin: &Rc<Origin>, shadows: Shadows, head: Option<Parts>) -> Rc<Self> {
        Rc::new(Self { origin: Rc::clone(origin), shadows: shadows.into(), head: head.into() })
    }

    /// A head has gone out over HTTP/2.
    pub fn has_left(&self) {
        if let Some(head) = self.head.take() {
            let mut copy = Some(head);
            self.shadows.take().launch(|planned, is_last| {
                if let Some(head) = if is_last { copy.take() } else { copy.clone() } {
                    send::over_http2(&self.origin, planned, head);
                }
            });
        }
    }

    /// No head will go out: there is nothing to mirror.
    pub fn not_mirrorable(&self) {
        self.shadows.borrow_mut().not_mirrorable();
    }
}

impl Witness for Departure {
    fn saw(&self, head: &[u8]) {
        let head: Rc<[u8]> = head.into();
        self.shadows.take().launch(|planned, _| send::over_http1(&self.origin, planned, Rc::clone(&head)));
    }
}

/// The request's hold on its shadows: dropped before their departure, they end as `cancelled`.
#[derive(Debug)]
pub struct Waiting(pub Rc<Departure>);

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.shadows.take());
    }
}
