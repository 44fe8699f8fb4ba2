//! What we take in one message and ahead of its reader, in both directions.

/// Most header fields of a message. HTTP/1 and HTTP/2: a request with more is answered 431.
pub const MAX_HEADERS: usize = 256;
/// Most header bytes of a message. HTTP/1 and HTTP/2: a request with more is answered 431.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Bytes that the other side of an HTTP/2 stream may send before somebody reads. At 1 ms round trip it lets 4 Gbit/s through on one stream.
pub const STREAM_WINDOW: u32 = 512 * 1024;
/// The same for all streams of a client's connection: as many full streams as would stall each other at most servers as well.
pub const CLIENT_WINDOW: u32 = 16 * STREAM_WINDOW;
/// Streams that a client may have open on one connection: more than servers allow (nginx 128, Go 250, Envoy 100 or no limit), because a client
/// that waits for streams of its own before it ends others must not hang on us. What they hold in memory is bounded by [`CLIENT_WINDOW`].
pub const CLIENT_STREAMS: u32 = 1024;

/// Streams of ours on one connection to an endpoint: the least that a server is recommended to allow (RFC 9113, 6.5.2).
pub const UPSTREAM_STREAMS: usize = 100;
/// Bytes of all streams that an endpoint may send ahead on one connection. Each of them has its whole window: clients that do not read share
/// the connection with others, which must not notice.
pub const UPSTREAM_WINDOW: u32 = UPSTREAM_STREAMS as u32 * STREAM_WINDOW;
