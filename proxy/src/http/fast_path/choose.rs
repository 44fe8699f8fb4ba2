//! Whether the rule that a request falls under needs nothing but the request itself to be passed on.
//!
//! Comes in: a plain request's head, the table. Goes out: its rule. Never: a count, a draw, or a word to anybody: what has no such rule is read again.

use http::request::Parts;

use crate::{
    http::{exchange, headers},
    route::{Action, Client, Forward, Rule, Table, action::Target},
    worker::Connection,
};

/// The rule, and where it sends its requests.
pub(super) struct Chosen<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// What it does.
    pub forward: &'a Forward,
}

/// The rule of this request, if it is as plain as the request.
pub(super) fn choose<'a>(table: &'a Table, connection: &Connection, head: &Parts) -> Option<Chosen<'a>> {
    headers::check_coding(&head.headers).ok()?;
    let host = exchange::find(table, connection, head).ok()??;
    let labels = table.clients.get(&connection.client.0.ip());
    let client = Client { namespace: &connection.pod.namespace, labels };
    let (rule, _) = host.select(head, client)?;
    match &rule.action {
        Action::Forward(forward) if is_plain(forward) => Some(Chosen { rule, forward }),
        _ => None,
    }
}

/// Of all targets alike: what is drawn here must not be drawn again.
fn is_plain(forward: &Forward) -> bool {
    let is_plain = |target: &Target| {
        target.authority.is_none()
            && target.request.is_empty()
            && target.response.is_empty()
            && target.destination.endpoints.as_ref().is_ok_and(|endpoints| !endpoints.is_empty())
    };
    forward.path.is_none() && forward.timeout.is_none() && forward.targets.iter().all(is_plain)
}
