//! How the shadows of a mirror behave: limits and looks, from ShadowPolicies and the process's defaults.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use http::{HeaderName, Method};

use super::header_ops::HeaderOps;
use crate::net::Dscp;

/// Settings of a mirror's shadows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowSettings {
    /// Appended to the Host, before the port.
    pub host_suffix: Arc<str>,
    /// From the shadow's first byte to the last byte of its answer.
    pub timeout: Duration,
    /// Shadows of one mirror under way at once on this node.
    pub max_concurrent: u32,
    /// Unsent body bytes that one shadow may hold.
    pub buffer_bytes: usize,
    /// Which methods are mirrored.
    pub methods: Methods,
    /// What happens to the fields of a shadow, beside its Host and the marker.
    pub headers: HeaderOps,
    /// What a sample is a sample of.
    pub sampling: SampleBy,
    /// Class of its packets.
    pub dscp: Dscp,
}

impl Default for ShadowSettings {
    fn default() -> Self {
        Self {
            host_suffix: "-shadow".into(),
            timeout: Duration::from_secs(10),
            max_concurrent: 128,
            buffer_bytes: 1 << 20,
            methods: Methods::default(),
            headers: HeaderOps::default(),
            sampling: SampleBy::default(),
            dscp: Dscp::LOWER_EFFORT,
        }
    }
}

/// Methods that are mirrored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Methods {
    /// Every method (`*`).
    #[default]
    All,
    /// These; methods have a letter case (RFC 9110, 9.1).
    Only(Arc<[Method]>),
}

impl Methods {
    /// Whether requests of a method are mirrored.
    #[must_use]
    pub fn include(&self, method: &Method) -> bool {
        match self {
            Self::All => true,
            Self::Only(methods) => methods.contains(method),
        }
    }

    /// From the names of methods; `*` stands for all.
    ///
    /// # Errors
    /// The first word that cannot be a method, or nothing if there are no words.
    pub fn from_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut methods = Vec::new();
        let mut all = false;
        for word in words {
            all |= word == "*";
            // `get` is a method of its own, which nobody means.
            let method = Method::from_bytes(word.as_bytes()).ok();
            let method = method.filter(|_| !word.bytes().any(|byte| byte.is_ascii_lowercase()));
            methods.push(method.ok_or_else(|| word.to_owned())?);
        }
        match methods.is_empty() {
            _ if all => Ok(Self::All),
            true => Err(String::new()),
            false => Ok(Self::Only(methods.into())),
        }
    }
}

/// What shares one draw: requests with the same key are mirrored together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SampleBy {
    /// Every request by itself.
    #[default]
    Request,
    /// All requests of one captured connection.
    Connection,
    /// All requests of one pod, by its address.
    SourceIp,
    /// All requests with one value of a header field; those without it are taken by themselves.
    Header(HeaderName),
    /// All requests with one value of a cookie; those without it are taken by themselves.
    Cookie(Arc<str>),
}

/// `request`, `connection`, `sourceIP`, `header:NAME` or `cookie:NAME`. The error says what is wrong.
impl FromStr for SampleBy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "request" => Ok(Self::Request),
            None if text == "connection" => Ok(Self::Connection),
            None if text == "sourceIP" => Ok(Self::SourceIp),
            Some(("header", name)) => {
                HeaderName::from_bytes(name.as_bytes()).map(Self::Header).map_err(|_| "no name of a header follows")
            }
            // Names of cookies are tokens, as those of headers are, but with a letter case (RFC 6265, 4.1.1).
            Some(("cookie", name)) if HeaderName::from_bytes(name.as_bytes()).is_ok() => Ok(Self::Cookie(name.into())),
            Some(("cookie", _)) => Err("no name of a cookie follows"),
            _ => Err("it is none of `request`, `connection`, `sourceIP`, `header:NAME` and `cookie:NAME`"),
        }
    }
}

/// As manifests write it.
impl fmt::Display for SampleBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => f.write_str("request"),
            Self::Connection => f.write_str("connection"),
            Self::SourceIp => f.write_str("sourceIP"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_that_are_named() {
        let only = Methods::from_words(["GET", "PURGE"]).unwrap();
        assert!(only.include(&Method::GET) && only.include(&Method::from_bytes(b"PURGE").unwrap()));
        assert!(!only.include(&Method::HEAD));
        assert!(Methods::from_words(["GET", "*"]).unwrap().include(&Method::DELETE));
        assert_eq!(Methods::from_words(["GET", "p ut"]), Err("p ut".into()));
        assert_eq!(Methods::from_words(["get"]), Err("get".into()));
        assert_eq!(Methods::from_words([]), Err(String::new()));
    }

    #[test]
    fn a_sampling_key_reads_as_it_is_written() {
        for text in ["request", "connection", "sourceIP", "header:x-user", "cookie:SID"] {
            assert_eq!(text.parse::<SampleBy>().unwrap().to_string(), text);
        }
        assert_eq!("header:X-User".parse::<SampleBy>().unwrap().to_string(), "header:x-user", "headers have no case");
        for bad in ["", "sourceip", "header", "header:", "header:a b", "cookie:", "cookie:a=b", "path:/x", "request:x"]
        {
            assert!(bad.parse::<SampleBy>().is_err(), "{bad}");
        }
    }
}
