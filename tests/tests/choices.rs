//! Which rule's mirrors a request has: those of the first rule that it matched as it came, each by its own percentage, once.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use integration::{
    Behaviour, Theatre, case, harness,
    theatre::{NEEDS, ROUTE, Setting, from_v1},
};

fn main() -> ExitCode {
    harness::main(&[
        case!(a_rewritten_request_is_not_matched_again).needs(NEEDS),
        case!(a_redirect_of_v1_is_the_clients_to_follow).needs(NEEDS),
        case!(an_earlier_rule_without_a_mirror_has_none).needs(NEEDS),
        case!(each_mirror_has_a_percentage_of_its_own).needs(NEEDS),
    ])
}

/// A rule below a path, to v1.
fn rule(path: &str, rest: &str) -> String {
    format!(
        "  - match: [{{uri: {{prefix: {path}}}}}]\n    route: [{{destination: {{host: httpbin, subset: v1}}}}]\n{rest}"
    )
}

fn mirror(subset: &str) -> String {
    format!("    mirror: {{host: httpbin, subset: {subset}}}\n")
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: httpbin\r\n\r\n").into_bytes()
}

/// What v2 and v3 were asked for, once all shadows have ended.
fn asked(theatre: &Theatre) -> Result<[Vec<String>; 2]> {
    theatre.agent.settled()?;
    Ok([&theatre.v2, &theatre.native].map(|actor| {
        let lines = actor.recorder.requests().into_iter().map(|request| request.request_line());
        lines.map(|line| line.split(' ').nth(1).unwrap_or_default().to_owned()).collect()
    }))
}

/// nginx mirrors a request before its internal redirect and once more after it. Fails if the rewritten path chooses another rule, or the mirrors of
/// both.
fn a_rewritten_request_is_not_matched_again() -> Result<()> {
    let rules =
        [rule("/outer", &format!("    rewrite: {{uri: /inner}}\n{}", mirror("v2"))), rule("/inner", &mirror("v3"))];
    let theatre = Setting::new(&rules.concat()).start()?;
    let mut wire = theatre.dial()?;
    from_v1(&wire.exchange(&get("/outer/x"))?)?;
    theatre.outcomes(&[("answered", 1)])?;
    ensure!(asked(&theatre)? == [vec!["/inner/x".to_owned()], vec![]], "{:?}", asked(&theatre)?);
    from_v1(&wire.exchange(&get("/inner/y"))?)?;
    theatre.outcomes(&[("answered", 2)])?;
    ensure!(asked(&theatre)?[1] == ["/inner/y"], "{:?}", asked(&theatre)?);
    Ok(())
}

/// Envoy can follow a redirect by itself, and then mirrors what it follows. Fails if anybody but the client does, or if v2's redirect is followed.
fn a_redirect_of_v1_is_the_clients_to_follow() -> Result<()> {
    let theatre = Setting::new(&[rule("/old", &mirror("v2")), rule("/new", &mirror("v3"))].concat()).start()?;
    let moved = b"HTTP/1.1 302 Found\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n".to_vec();
    for actor in [&theatre.v1, &theatre.v2] {
        actor.recorder.behave(Behaviour::Raw(moved.clone()));
    }
    let answer = theatre.ask(&get("/old"))?;
    ensure!(answer.head.as_bytes() == moved, "{answer:?}");
    theatre.outcomes(&[("answered", 1)])?;
    ensure!(theatre.v1.recorder.count() == 1, "v1 was asked {} times", theatre.v1.recorder.count());
    ensure!(asked(&theatre)? == [vec!["/old".to_owned()], vec![]], "{:?}", asked(&theatre)?);
    Ok(())
}

/// nginx's `mirror off` in a nested location. Fails if a later rule that matches as well adds its mirrors.
fn an_earlier_rule_without_a_mirror_has_none() -> Result<()> {
    let theatre = Setting::new(&[rule("/quiet/off", ""), rule("/quiet", &mirror("v2"))].concat()).start()?;
    let mut wire = theatre.dial()?;
    for path in ["/quiet/off", "/quiet/on", "/quiet/off/too"] {
        from_v1(&wire.exchange(&get(path))?)?;
    }
    theatre.outcomes(&[("answered", 1)])?;
    ensure!(asked(&theatre)? == [vec!["/quiet/on".to_owned()], vec![]], "{:?}", asked(&theatre)?);
    Ok(())
}

/// Fails if `{}` or 0 in `mirrors` means all or takes another mirror along, if an absent percentage means none, or if the percentage of `mirror`
/// counts for `mirrors`.
fn each_mirror_has_a_percentage_of_its_own() -> Result<()> {
    let to = |subset: &str, percentage: &str| {
        format!("    - destination: {{host: httpbin, subset: {subset}}}\n{percentage}")
    };
    let mirrors = [
        to("v3", "      percentage: {value: 0.0}\n"),
        to("v2", ""),
        to("v3", "      percentage: {}\n"),
        to("v2", "      percentage: {value: 100.0}\n"),
        to("v3", "      percentage: {value: 0.00009}\n"),
    ]
    .concat();
    for of_mirror in ["", "    mirrorPercentage: {value: 0.0}\n", "    mirror_percent: 0\n", "    mirrorPercent: 1\n"] {
        let theatre = Setting::new(&format!("{ROUTE}    mirrors:\n{mirrors}{of_mirror}")).start()?;
        let mut wire = theatre.dial()?;
        for _ in 0..20 {
            from_v1(&wire.exchange(&get("/"))?)?;
        }
        let view = theatre.outcomes(&[("answered", 40)])?;
        // Numbered as the rule has them, although three are compiled away.
        for number in ["1", "3"] {
            let candidates = view.sum("understudy_shadow_candidates_total", &[("mirror", number)]);
            ensure!((candidates - 20.0).abs() < 0.5, "mirror {number} counts {candidates}");
        }
        ensure!((theatre.v2.recorder.count(), theatre.native.recorder.count()) == (40, 0), "{of_mirror}");
    }
    Ok(())
}
