//! Who asks: what a condition on the client looks at.

use super::Labels;

/// The pod whose application sent a request.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels, if its manifest is known.
    pub labels: Option<&'a Labels>,
}
