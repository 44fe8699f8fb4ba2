//! The name of an image: as it was typed, and in full as engines keep it.

use std::{fmt, str::FromStr};

/// NAME:TAG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    name: String,
    tag: String,
}

impl Reference {
    /// What is behind the colon.
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// With the registry and folder that a short name stands for: what a kubelet looks for.
    pub(super) fn full(&self) -> String {
        let prefix = match self.name.split_once('/') {
            Some((host, _)) if host == "localhost" || host.contains(['.', ':']) => "",
            Some(_) => "docker.io/",
            None => "docker.io/library/",
        };
        format!("{prefix}{self}")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, tag) = text.rsplit_once(':').ok_or("a tag is needed: NAME:TAG")?;
        // The host of a registry may have a port: then the colon was not the tag's, which has no slash.
        let in_tag = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if tag.is_empty() || tag.len() > 128 || tag.starts_with(['.', '-']) || !tag.chars().all(in_tag) {
            return Err(format!(
                "{tag:?} is no tag: up to 128 letters, digits, `_`, `.`, `-`, the first a letter, a digit or `_`"
            ));
        }
        let in_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-/:".contains(c);
        if name.split('/').any(str::is_empty) || !name.chars().all(in_name) {
            return Err(format!(
                "{name:?} is no image's name: small letters, digits, `_`, `.`, `-`, between single `/`"
            ));
        }
        Ok(Self { name: name.to_owned(), tag: tag.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_stands_for_a_long_one() {
        for (typed, full) in [
            ("understudy:0.1.0", "docker.io/library/understudy:0.1.0"),
            ("me/understudy:1", "docker.io/me/understudy:1"),
            ("localhost/understudy:1", "localhost/understudy:1"),
            ("registry:5000/a/b:1", "registry:5000/a/b:1"),
            ("quay.io/understudy:1", "quay.io/understudy:1"),
        ] {
            let reference: Reference = typed.parse().unwrap();
            assert_eq!((reference.to_string(), reference.full()), (typed.to_owned(), full.to_owned()));
        }
    }

    #[test]
    fn what_no_engine_would_take_is_refused_before_anything_is_built() {
        for typed in ["understudy", "understudy:", ":1", "Understudy:1", "a//b:1", "registry:5000/a", "a:.1", "a b:1"] {
            assert!(typed.parse::<Reference>().is_err(), "{typed}");
        }
    }
}
