//! Host names: short ones made full, and what may be one.

use std::net::IpAddr;

/// The full name behind a `host:` of a rule in `namespace`: a name without a dot gets the rule's namespace and the cluster's domain,
/// anything else stays (Istio's `ResolveShortnameToFQDN`). Lower case.
#[must_use]
pub fn full_host(host: &str, namespace: &str, cluster_domain: &str) -> String {
    let host = host.to_ascii_lowercase();
    if host.contains('.') || host.starts_with('*') || host.parse::<IpAddr>().is_ok() {
        host
    } else {
        format!("{host}.{namespace}.svc.{cluster_domain}")
    }
}

/// Why a host name cannot be one (Istio's `ValidateWildcardDomain`).
#[must_use]
pub fn host_problem(host: &str) -> Option<&'static str> {
    if host.is_empty() {
        return Some("is empty");
    }
    if host.len() > 255 {
        return Some("is longer than 255 characters");
    }
    if host == "*" || host.parse::<IpAddr>().is_ok() {
        return None;
    }
    let rest = host.strip_prefix("*.").unwrap_or(host);
    let label_is_good = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (!rest.split('.').all(label_is_good)).then_some("is not a domain name")
}

/// Whether a name is a DNS-1123 label, as names of subsets must be.
#[must_use]
pub fn is_dns_label(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(good) && !name.starts_with('-') && !name.ends_with('-')
}

/// Whether two host names, of which either may begin with `*`, have a name in common.
#[must_use]
pub fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (None, None) => a == b,
        (Some(suffix), None) => b.ends_with(suffix),
        (None, Some(suffix)) => a.ends_with(suffix),
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_without_a_dot_get_the_rules_namespace() {
        let full = |host| full_host(host, "mirror", "cluster.local");
        assert_eq!(full("HttpBin"), "httpbin.mirror.svc.cluster.local");
        assert_eq!(full("reviews.prod"), "reviews.prod");
        assert_eq!(full("*"), "*");
        assert_eq!(full("10.0.0.1"), "10.0.0.1");
        assert_eq!(full("fd00::1"), "fd00::1");
    }

    #[test]
    fn hosts_are_domain_names_or_wildcards() {
        for good in ["a", "a.b", "*", "*.b.c", "A-1.b_c", "10.0.0.1", "fd00::1"] {
            assert_eq!(host_problem(good), None, "{good}");
        }
        for bad in ["", "a..b", "a b", "http://a", "a:80", "*a.b", "a.*", "-a", &"a".repeat(64)] {
            assert!(host_problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn subsets_are_dns_labels() {
        assert!(is_dns_label("v1-canary"));
        for bad in ["", "V1", "v1.2", "-v", "v-", "v_1"] {
            assert!(!is_dns_label(bad), "{bad}");
        }
    }

    #[test]
    fn wildcards_overlap_with_what_they_cover() {
        assert!(overlap("*.a.b", "x.a.b"));
        assert!(overlap("*.b", "*.a.b"));
        assert!(!overlap("*.a.b", "x.c.b"));
    }
}
