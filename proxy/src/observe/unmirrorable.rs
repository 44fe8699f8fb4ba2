//! Hosts that are spoken to in TLS: nobody can mirror what nobody can read. The operator hears of each once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{enrol::EnrolledPod, net::addr::OriginalDst};

/// Hosts that are remembered; a client that invents names cannot have more memory or lines than this.
const MOST: usize = 1024;

/// The hosts that were reported, one set for the process. Only connections in TLS come here.
#[derive(Clone, Debug, Default)]
pub struct TlsHosts(Arc<Mutex<HashSet<String>>>);

impl TlsHosts {
    /// A captured connection begins with TLS for `host`, or without a name.
    pub fn report(&self, host: Option<String>, pod: &EnrolledPod, original: OriginalDst) {
        let host = host.unwrap_or_else(|| original.to_string());
        match self.remember(&host) {
            News::Known => {}
            News::New => tracing::warn!(
                %host, pod = %pod.name, namespace = %pod.namespace, %original,
                "TLS cannot be mirrored: the connections pass through untouched. Let the application speak plain HTTP to this host, or take it \
                 out of the rules; it is not reported again"
            ),
            News::TooMany => {
                tracing::warn!("{MOST} hosts are spoken to in TLS and cannot be mirrored; no more are reported")
            }
        }
    }

    fn remember(&self, host: &str) -> News {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(host) || known.len() > MOST {
            return News::Known;
        }
        known.insert(host.to_owned());
        if known.len() > MOST { News::TooMany } else { News::New }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    New,
    Known,
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails if a host is reported twice, or if invented names grow the set without end.
    #[test]
    fn each_host_is_news_once_and_they_are_bounded() {
        let hosts = TlsHosts::default();
        for _ in 0..2 {
            let news: Vec<_> = (0..2 * MOST).map(|i| hosts.remember(&format!("h{i}"))).collect();
            let fresh = news.iter().filter(|news| **news == News::New).count();
            assert!(fresh == MOST || fresh == 0, "{fresh}");
            assert!(news.iter().filter(|news| **news == News::TooMany).count() <= 1);
        }
        assert_eq!(hosts.remember("h0"), News::Known);
        assert_eq!(hosts.0.lock().unwrap().len(), MOST + 1);
    }
}
