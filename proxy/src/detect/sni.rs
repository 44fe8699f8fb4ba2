//! The server's name in the first message of a TLS connection (RFC 8446, 4.1.2; RFC 6066, 3). It is in the clear, and nothing else is looked at.
//!
//! Comes in: the first bytes of a connection, perhaps only a part of the message. Goes out: a host name, or nothing.

/// Does a TLS connection begin so? A record with a handshake in it, of TLS 1.0 to 1.3.
#[must_use]
pub fn is_client_hello(bytes: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    let record = matches!(bytes, [HANDSHAKE, 3, 0..=4, ..]);
    record && bytes.get(5).is_none_or(|kind| *kind == CLIENT_HELLO)
}

/// The host that the client asks for, in lower case, if it has come that far and is a host name.
#[must_use]
pub fn server_name(bytes: &[u8]) -> Option<String> {
    const SERVER_NAME: usize = 0;
    const HOST_NAME: usize = 0;
    // A hello larger than one record goes on behind another header; the name stands in the first one in practice.
    let mut hello = Reader(bytes.get(5..)?);
    // Kind, length, version, random.
    hello.take(1 + 3 + 2 + 32)?;
    // Session, cipher suites, compression.
    hello.block(1)?;
    hello.block(2)?;
    hello.block(1)?;
    // The extensions' length: they may not all be there.
    hello.take(2)?;
    loop {
        let kind = hello.number(2)?;
        let mut extension = Reader(hello.block(2)?);
        if kind != SERVER_NAME {
            continue;
        }
        extension.take(2)?;
        if extension.number(1)? != HOST_NAME {
            return None;
        }
        let name = extension.block(2)?;
        let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._".contains(byte);
        let valid = (1..=253).contains(&name.len()) && name.iter().all(is_host);
        return valid.then(|| String::from_utf8_lossy(name).to_ascii_lowercase());
    }
}

/// What is left.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of one or two bytes.
    fn number(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    /// What stands behind its length.
    fn block(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(width: usize, bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u32).to_be_bytes()[4 - width..], bytes].concat()
    }

    /// A hello that asks for `name` behind another extension.
    fn hello(name: &[u8]) -> Vec<u8> {
        let list = block(2, &[&[0][..], &block(2, name)].concat());
        let extensions = [&[0, 43][..], &block(2, &[2, 3, 4]), &[0, 0], &block(2, &list)].concat();
        let parts =
            [&[3, 3][..], &[7; 32], &block(1, &[9; 32]), &block(2, &[19, 1]), &block(1, &[0]), &block(2, &extensions)];
        let message = [&[1][..], &block(3, &parts.concat())].concat();
        [&[22, 3, 1][..], &block(2, &message)].concat()
    }

    #[test]
    fn the_name_is_found_behind_other_extensions() {
        assert_eq!(server_name(&hello(b"Httpbin.Mirror.svc")).as_deref(), Some("httpbin.mirror.svc"));
        assert!(is_client_hello(&hello(b"a")));
    }

    #[test]
    fn what_is_no_host_name_is_none() {
        for name in [&b""[..], b"a b", b"line\nbreak", &[b'a'; 254], b"\xff"] {
            assert_eq!(server_name(&hello(name)), None, "{name:?}");
        }
    }

    #[test]
    fn a_part_of_a_hello_has_a_name_or_none() {
        let whole = hello(b"httpbin");
        for end in 0..whole.len() {
            assert_eq!(server_name(&whole[..end]), None, "the name is the last that comes");
            assert_eq!(is_client_hello(&whole[..end]), end >= 3);
        }
    }

    #[test]
    fn other_records_are_no_hello() {
        for other in
            [&b"\x16\x03\x01\x00\x05\x02"[..], b"\x17\x03\x03", b"\x16\x04\x01", b"GET / HTTP/1.1\r\n", b"\x16\x03"]
        {
            assert!(!is_client_hello(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0..120usize, byte: u8) {
            let _ = server_name(&bytes);
            let mut changed = hello(b"httpbin");
            let at = at % changed.len();
            changed[at] = byte;
            let _ = server_name(&changed);
        }
    }
}
