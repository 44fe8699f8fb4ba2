//! The fields that a plain message may not just be passed on with. Comes in: a field's name. Goes out: what is special about it.

/// What a field is to an intermediary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// End-to-end.
    Plain,
    /// Whom the request is for.
    Host,
    /// `Content-Length`.
    Length,
    /// `Transfer-Encoding`.
    Coding,
    /// `Connection`: names others, says whether it stays.
    Connection,
    /// Of one connection whatever `Connection` says.
    HopByHop,
    /// `Upgrade`, hop-by-hop as well.
    Upgrade,
    /// `TE`: goes on only for trailers.
    Te,
    /// `Expect`.
    Expect,
}

impl Field {
    /// Of this name, in any letter case.
    pub(super) fn of(name: &[u8]) -> Self {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::HopByHop,
            14 if is("content-length") => Self::Length,
            16 if is("proxy-connection") => Self::HopByHop,
            17 if is("transfer-encoding") => Self::Coding,
            _ => Self::Plain,
        }
    }
}

/// The members of a list, without the spaces around them.
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
