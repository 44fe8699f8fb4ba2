//! Where a redirected client is sent (Istio's `ApplyRedirect`, Envoy's `Utility::newUri`).

use http::request::Parts;

use super::authority::port_start;

/// What of the request's URL is replaced; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redirect {
    /// `https`.
    pub scheme: Option<Box<str>>,
    /// Host, possibly with a port.
    pub authority: Option<Box<str>>,
    /// The port.
    pub port: Option<u16>,
    /// Path, possibly with a query; without one the request's query stays.
    pub uri: Option<Box<str>>,
}

impl Redirect {
    /// The value of `Location` for a request that named this authority.
    #[must_use]
    pub fn location(&self, head: &Parts, authority: &str) -> String {
        let original = head.uri.scheme_str().unwrap_or("http");
        let scheme = self.scheme.as_deref().unwrap_or(original);
        let host = match &self.authority {
            Some(host) => host,
            None => request_host(authority, original, scheme, self.port.is_some()),
        };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        let old = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let path = match &self.uri {
            None => old.to_owned(),
            Some(new) if new.contains('?') => new.to_string(),
            Some(new) => old.find('?').map_or_else(|| new.to_string(), |query| [new, &old[query..]].concat()),
        };
        format!("{scheme}://{host}{port}{path}")
    }
}

/// The request's own host; its port goes if another one comes, or if it is the default of the scheme that changes.
fn request_host<'a>(authority: &'a str, original: &str, scheme: &str, new_port: bool) -> &'a str {
    let Some(start) = port_start(authority) else { return authority };
    let default = matches!((original, &authority[start..]), ("http", ":80") | ("https", ":443"));
    if new_port || (scheme != original && default) { &authority[..start] } else { authority }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn location(redirect: &Redirect, target: &str, authority: &str) -> String {
        redirect.location(&Request::get(target).body(()).unwrap().into_parts().0, authority)
    }

    #[test]
    fn what_is_not_named_stays() {
        let redirect = Redirect { uri: Some("/new".into()), ..Redirect::default() };
        assert_eq!(location(&redirect, "/old?q=1", "h:8000"), "http://h:8000/new?q=1");
        let redirect = Redirect { uri: Some("/new?r".into()), ..Redirect::default() };
        assert_eq!(location(&redirect, "/old?q=1", "h"), "http://h/new?r");
        let redirect = Redirect { authority: Some("other.example".into()), ..Redirect::default() };
        assert_eq!(location(&redirect, "/old?q=1", "h:8000"), "http://other.example/old?q=1");
    }

    #[test]
    fn a_port_that_no_longer_fits_goes() {
        let https = Redirect { scheme: Some("https".into()), ..Redirect::default() };
        assert_eq!(location(&https, "/", "h:80"), "https://h/");
        assert_eq!(location(&https, "/", "h:8000"), "https://h:8000/");
        let port = Redirect { port: Some(9), ..Redirect::default() };
        assert_eq!(location(&port, "/", "[::1]:80"), "http://[::1]:9/");
    }
}
