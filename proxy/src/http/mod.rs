//! HTTP/1 between the application and the endpoints.
//!
//! Comes in: a captured connection that carries HTTP/1. Goes out: answers of the primary, and shadows in passing. Never: a change to what is
//! end-to-end; a wait for a shadow.
//!
//! `fast_path` is the way of requests that are plain; of the others, `serve` runs the codec on one connection, `exchange` handles one request, `headers`
//! takes out what is hop-by-hop, `request_body` feeds the shadows, `replay` keeps what may have to be sent again, `reread` reads a head that has to, `interim` keeps 1xx honest, `primary` sends it with the retries that are safe (`tries`), `answer` carries the response home, `deadline` is a rule's timeout, `line` is its access log entry, `tunnel` switches protocols, `unread` is what nobody wants of a body, `respond` speaks for
//! ourselves.

pub mod answer;
pub mod deadline;
pub mod exchange;
pub mod fast_path;
pub mod headers;
pub mod interim;
pub mod line;
pub mod primary;
pub mod replay;
pub mod request_body;
pub mod reread;
pub mod respond;
pub mod serve;
pub mod tries;
pub mod tunnel;
pub mod unread;
