//! What is counted: the ways of a request through the proxy that are worth a figure of their own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use clap::ValueEnum;

/// One way, of which instructions are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// A GET without a shadow, on a connection that is kept.
    Plain,
    /// The same with a shadow.
    Mirrored,
    /// A POST of 10 KiB with a shadow.
    Upload,
    /// A GET without a shadow, on a connection of its own.
    Close,
    /// As `plain`, under a rule with a timeout: hyper serves it, and not the fast path.
    Codec,
    /// The same with a shadow.
    CodecMirrored,
    /// As `plain`, over HTTP/2 on both sides.
    Http2Plain,
    /// As `mirrored`, over HTTP/2 on all sides.
    Http2Mirrored,
}

impl Case {
    pub(crate) const ALL: [Self; 8] = [
        Self::Plain,
        Self::Mirrored,
        Self::Upload,
        Self::Close,
        Self::Codec,
        Self::CodecMirrored,
        Self::Http2Plain,
        Self::Http2Mirrored,
    ];

    /// What it is called in the table, in the baseline, and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Mirrored => "mirrored",
            Self::Upload => "upload",
            Self::Close => "close",
            Self::Codec => "codec",
            Self::CodecMirrored => "codec-mirrored",
            Self::Http2Plain => "http2-plain",
            Self::Http2Mirrored => "http2-mirrored",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Plain => "GET, keep-alive",
            Self::Mirrored => "GET, keep-alive, with a shadow",
            Self::Upload => "POST of 10 KiB, keep-alive, with a shadow",
            Self::Close => "GET, a connection for each",
            Self::Codec => "GET under a rule with a timeout, by hyper",
            Self::CodecMirrored => "the same with a shadow",
            Self::Http2Plain => "GET over HTTP/2",
            Self::Http2Mirrored => "GET over HTTP/2, with a shadow",
        }
    }

    pub(crate) fn is_mirrored(self) -> bool {
        matches!(self, Self::Mirrored | Self::Upload | Self::CodecMirrored | Self::Http2Mirrored)
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2Plain | Self::Http2Mirrored)
    }

    /// The Service's name, which is the request's Host.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Codec => "codec",
            Self::CodecMirrored => "codec-mirrored",
            _ if self.is_mirrored() => "mirrored",
            _ => "plain",
        }
    }

    /// Where the application wanted to go (`world.yaml`).
    pub(crate) fn original(self) -> SocketAddr {
        let last = match self {
            Self::Codec => 12,
            Self::CodecMirrored => 13,
            _ if self.is_mirrored() => 11,
            _ => 10,
        };
        let port = if self.is_http2() { 8001 } else { 8000 };
        (IpAddr::V4(Ipv4Addr::new(10, 96, 0, last)), port).into()
    }
}
