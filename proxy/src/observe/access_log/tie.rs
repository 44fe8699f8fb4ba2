//! Ties the lines of a request's shadows to its primary's: each says how the primary ended too, and comes after it.
//!
//! Comes in: the primary's end, and its shadows', in any order. Goes out: the primary's line, then theirs. What ends before the primary waits here,
//! on the request's worker, as text of a bounded length, at most one line for each mirror. Never: lets one wait for the other.

use std::{
    cell::{OnceCell, RefCell},
    rc::Rc,
    sync::Arc,
};

use http::request::Parts;

use super::{
    AccessLog, On, PrimaryEnd, PrimaryLine, RequestId, RequestLine, Requested, ShadowLine,
    form::{self, Unfinished},
};

/// One request, for those who write about it. Clones are the same request.
#[derive(Clone, Debug)]
pub struct Tie(Rc<Tied>);

#[derive(Debug)]
struct Tied {
    on: Arc<On>,
    id: RequestId,
    request: Requested,
    rule: OnceCell<Arc<str>>,
    primary: RefCell<Primary>,
}

#[derive(Debug)]
enum Primary {
    /// Lines that wait for its end.
    UnderWay(Vec<Unfinished>),
    Ended(PrimaryEnd),
}

impl AccessLog {
    /// A request has come; `None` if nobody will read of it.
    #[must_use]
    pub fn request(&self, id: RequestId, head: &Parts) -> Option<Tie> {
        self.0.as_ref().map(|on| {
            Tie(Rc::new(Tied {
                on: Arc::clone(on),
                id,
                request: Requested::of(head),
                rule: OnceCell::new(),
                primary: RefCell::new(Primary::UnderWay(Vec::new())),
            }))
        })
    }
}

impl Tie {
    /// The request's id.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.0.id
    }

    /// What the client asked for.
    #[must_use]
    pub fn request(&self) -> RequestLine<'_> {
        self.0.request.line()
    }

    /// The request falls under this rule.
    pub fn set_rule(&self, name: &Arc<str>) {
        self.0.rule.get_or_init(|| Arc::clone(name));
    }

    /// The rule, if it fell under one.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.0.rule.get().map(|name| &**name)
    }

    /// Logs the primary, and the shadows that have ended before it.
    pub fn primary(&self, line: &PrimaryLine<'_>) {
        let on = &self.0.on;
        let end = PrimaryEnd { status: line.status, duration: line.duration };
        on.lines.push(form::primary(line, on.format));
        if let Primary::UnderWay(waiting) = self.0.primary.replace(Primary::Ended(end)) {
            for shadow in waiting {
                on.lines.push(shadow.finish(end, on.format));
            }
        }
    }

    /// Logs a shadow, once its primary has ended.
    pub fn shadow(&self, line: &ShadowLine<'_>) {
        let on = &self.0.on;
        let shadow = form::shadow(line, on.format);
        match &mut *self.0.primary.borrow_mut() {
            Primary::UnderWay(waiting) => waiting.push(shadow),
            Primary::Ended(end) => on.lines.push(shadow.finish(*end, on.format)),
        }
    }
}
