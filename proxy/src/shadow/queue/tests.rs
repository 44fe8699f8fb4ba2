use std::future::poll_fn;

use http_body_util::BodyExt as _;
use prometheus_client::metrics::gauge::Gauge;

use super::*;
use crate::shadow::chunk::OVERHEAD;

fn budget(limit: usize) -> Budget {
    Budget::new(limit, Gauge::default())
}

async fn reason(mut failure: Failure) -> Outcome {
    poll_fn(|cx| failure.poll(cx)).await
}

#[tokio::test]
async fn chunks_and_trailers_arrive_in_order() {
    let budget = budget(1000);
    let (sink, body, _failure) = channel(100, &budget, &SizeHint::new());
    sink.push(&Bytes::from_static(b"one "));
    sink.push(&Bytes::from_static(b"two"));
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", http::HeaderValue::from_static("7"));
    sink.trailers(&trailers);
    sink.complete();
    let whole = body.collect().await.unwrap();
    assert_eq!(whole.trailers(), Some(&trailers));
    assert_eq!(whole.to_bytes(), "one two");
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn a_shadow_that_lags_ends_as_too_slow_and_gives_its_memory_back() {
    let budget = budget(1000);
    let (sink, mut body, failure) = channel(4, &budget, &SizeHint::new());
    sink.push(&Bytes::from_static(b"1234"));
    assert_eq!(budget.used(), 4 + OVERHEAD);
    sink.push(&Bytes::from_static(b"5"));
    assert_eq!(budget.used(), 0);
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(reason(failure).await, Outcome::TooSlow);
}

#[tokio::test]
async fn a_spent_node_budget_sheds_the_shadow() {
    let budget = budget(6 + OVERHEAD);
    let (first, _body, _failure) = channel(100, &budget, &SizeHint::new());
    first.push(&Bytes::from_static(b"12345"));
    let (second, _second_body, failure) = channel(100, &budget, &SizeHint::new());
    second.push(&Bytes::from_static(b"12"));
    assert_eq!(reason(failure).await, Outcome::ShedMemory);
    assert_eq!(budget.used(), 5 + OVERHEAD);
}

#[tokio::test]
async fn a_request_that_never_completes_cancels_its_shadow() {
    let (sink, _body, failure) = channel(100, &budget(1000), &SizeHint::new());
    sink.push(&Bytes::from_static(b"half"));
    drop(sink);
    assert_eq!(reason(failure).await, Outcome::Cancelled);
}

#[tokio::test]
async fn a_complete_request_outlives_the_client() {
    let (sink, body, _failure) = channel(100, &budget(1000), &SizeHint::with_exact(5));
    sink.push(&Bytes::from_static(b"whole"));
    sink.complete();
    drop(sink);
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "whole");
}

/// Fails if bytes that the connection has taken but not written are forgotten, by the limit or by the budget.
#[tokio::test]
async fn what_the_connection_has_not_written_still_counts() {
    let budget = budget(1000);
    let (sink, mut body, failure) = channel(6, &budget, &SizeHint::new());
    sink.push(&Bytes::from_static(b"1234"));
    let mut taken = body.frame().await.unwrap().unwrap().into_data().unwrap();
    taken.advance(3);
    assert_eq!(budget.used(), 4 + OVERHEAD);
    sink.push(&Bytes::from_static(b"56"));
    sink.push(&Bytes::from_static(b"7"));
    assert_eq!(reason(failure).await, Outcome::TooSlow);
    assert_eq!(budget.used(), 4 + OVERHEAD, "the connection still holds it");
    drop(taken);
    assert_eq!(budget.used(), 0);
}

/// Fails if a connection that waits for the rest of a request keeps waiting when nobody wants the shadow any more.
#[tokio::test]
async fn a_waiting_connection_learns_that_the_shadow_was_given_up() {
    let (_sink, mut body, failure) = channel(100, &budget(1000), &SizeHint::new());
    let waits = tokio::spawn(std::future::ready(()));
    let (frame, ()) = tokio::join!(body.frame(), async {
        waits.await.unwrap();
        drop(failure);
    });
    assert!(frame.unwrap().is_err());
}

#[test]
fn an_ended_shadow_takes_no_more_memory() {
    let budget = budget(1000);
    let (sink, body, failure) = channel(100, &budget, &SizeHint::new());
    sink.push(&Bytes::from_static(b"1234"));
    drop((body, failure));
    assert_eq!(budget.used(), 0);
    sink.push(&Bytes::from_static(b"5678"));
    assert_eq!(budget.used(), 0);
}
