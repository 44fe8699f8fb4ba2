//! Changing the path of a request; the query stays (Envoy's `prefix_rewrite` and `regex_rewrite`).

use http::{Uri, request::Parts, uri::PathAndQuery};
use regex::Regex;

use super::matching::{RequestMatch, StringMatch};

/// What becomes of a path.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// What was matched is replaced: the prefix, or the whole path for an exact match and for an expression. Without a condition on the path
    /// the first `/` is what was matched.
    Matched(Box<str>),
    /// Everything that the expression finds in the path is replaced, `$` being the crate's own way to say "group".
    Regex(Regex, Box<str>),
}

/// Rewrites the path of a head. A result that is no path leaves it as it is.
pub fn path(head: &mut Parts, rewrite: &PathRewrite, matched: Option<&RequestMatch>) {
    let path = head.uri.path();
    if !path.starts_with('/') {
        // `OPTIONS *`, or CONNECT.
        return;
    }
    let mut new = match rewrite {
        PathRewrite::Regex(regex, with) => regex.replace_all(path, &**with).into_owned(),
        PathRewrite::Matched(with) => [with, &path[matched_length(path, matched)..]].concat(),
    };
    if !new.starts_with('/') {
        return;
    }
    if let Some(query) = head.uri.query() {
        new.push('?');
        new.push_str(query);
    }
    let Ok(new) = PathAndQuery::try_from(new) else { return };
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = Some(new);
    if let Ok(uri) = Uri::from_parts(parts) {
        head.uri = uri;
    }
}

fn matched_length(path: &str, matched: Option<&RequestMatch>) -> usize {
    match matched.and_then(|matched| matched.uri.as_ref()) {
        // Bytes that match without regard to ASCII case are as many.
        Some(StringMatch::Prefix(prefix)) => prefix.len().min(path.len()),
        Some(_) => path.len(),
        None => 1,
    }
}

/// RE2's way to write a substitution (`\1`, `\\`) in the words of the crate `regex`.
///
/// # Errors
/// What is wrong with it: a group that the expression does not have, or a lone backslash.
pub fn substitution(regex: &Regex, written: &str) -> Result<String, String> {
    let mut out = String::with_capacity(written.len());
    let mut chars = written.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some(digit) if digit.is_ascii_digit() => {
                    let group = digit as usize - '0' as usize;
                    if group >= regex.captures_len() {
                        return Err(format!("the expression has no group {group}"));
                    }
                    out.push_str(&format!("${{{group}}}"));
                }
                _ => return Err("a backslash stands before a digit or a backslash".to_owned()),
            },
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn rewritten(target: &str, rewrite: &PathRewrite, uri: Option<StringMatch>) -> String {
        let mut head = Request::get(target).body(()).unwrap().into_parts().0;
        let matched = RequestMatch { uri, ..RequestMatch::default() };
        path(&mut head, rewrite, Some(&matched));
        head.uri.to_string()
    }

    fn prefix(text: &str) -> Option<StringMatch> {
        Some(StringMatch::Prefix(text.into()))
    }

    #[test]
    fn what_was_matched_is_replaced_and_the_query_stays() {
        let to = PathRewrite::Matched("/new".into());
        assert_eq!(rewritten("/api/x?q=/api", &to, prefix("/api")), "/new/x?q=/api");
        assert_eq!(rewritten("/apix", &to, prefix("/api")), "/newx");
        assert_eq!(rewritten("/a/b?q", &to, Some(StringMatch::Exact("/a/b".into()))), "/new?q");
        assert_eq!(rewritten("/a/b?q", &to, Some(StringMatch::Regex(Regex::new("^(?:/a.*)$").unwrap()))), "/new?q");
        assert_eq!(rewritten("/a/b", &to, None), "/newa/b", "as Envoy does with the prefix `/`");
        assert_eq!(rewritten("/a/b", &PathRewrite::Matched("/".into()), prefix("/a")), "//b", "as Envoy does");
        assert_eq!(rewritten("http://h:1/a?q", &to, prefix("/a")), "http://h:1/new?q");
        assert_eq!(rewritten("*", &to, None), "*");
    }

    #[test]
    fn an_expression_replaces_all_that_it_finds_outside_of_the_query() {
        let regex = Regex::new("/v([0-9]+)").unwrap();
        let with = substitution(&regex, r"/$\1\\").unwrap();
        let to = PathRewrite::Regex(regex, r"/version/${1}".into());
        assert_eq!(rewritten("/v1/v22?x=/v3", &to, None), "/version/1/version/22?x=/v3");
        assert_eq!(with, r"/$$${1}\");
    }

    #[test]
    fn a_substitution_names_groups_that_there_are() {
        let regex = Regex::new("(a)(b)").unwrap();
        assert!(substitution(&regex, r"\0\1\2").is_ok());
        for wrong in [r"\3", r"\x", "\\"] {
            assert!(substitution(&regex, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_would_be_no_path_is_left_alone() {
        let to = PathRewrite::Regex(Regex::new("^/").unwrap(), "".into());
        assert_eq!(rewritten("/a", &to, None), "/a");
    }
}
