//! Whatever stands in a manifest, reading it ends with findings, never with a panic, and leaves a configuration that works.
#![expect(clippy::unwrap_used, reason = "in tests, also in their helpers")]

use proptest::prelude::*;
use understudy::{
    control::{Controller, ManifestText, Settings, Store, dump::Dump},
    observe::metrics::Metrics,
};

/// Everything that the parsers and validators know a branch for.
const SEEDS: [&str; 6] = [
    include_str!("../../tests/fixtures/manifests/world.yaml"),
    include_str!("../../tests/fixtures/manifests/valid/seed-mirror.yaml"),
    include_str!("../../tests/fixtures/manifests/valid/every-supported-field.yaml"),
    include_str!("../../tests/fixtures/manifests/valid/kubectl-dump.yaml"),
    include_str!("../../tests/fixtures/manifests/valid/anchors-and-merge-keys.yaml"),
    include_str!("../../tests/fixtures/manifests/valid/list-of-objects.json"),
];

/// Words that turn one valid manifest into an interesting other one.
const WORDS: [&str; 24] = [
    "null",
    "~",
    "-1",
    "0",
    "65536",
    "1e999",
    ".nan",
    "''",
    "[]",
    "{}",
    "*",
    "&a",
    "*a",
    "<<: *a",
    "!!str 1",
    "---\n",
    "...\n",
    "\t",
    "\u{feff}",
    "ä",
    "- ",
    ": ",
    "\"\\ud83d\"",
    "# ",
];

/// Loads a text after a good configuration, renders everything, and loads the good one again.
fn exercise(text: &str) {
    let metrics = std::sync::Arc::new(Metrics::new());
    let store = std::sync::Arc::new(Store::new(metrics.clone()));
    let mut controller = Controller::new(Settings::default(), metrics, store);
    let manifest = |path: &str, text: &str| ManifestText { path: path.into(), text: Ok(text.into()) };
    let good = [manifest("a.yaml", SEEDS[0]), manifest("b.yaml", SEEDS[1])];
    controller.start(&good).unwrap();
    for name in ["b.yaml", "b.json", "c"] {
        let applied = controller.reload(&[good[0].clone(), manifest(name, text)]);
        for finding in applied.diagnostics.iter() {
            assert!(finding.location.line > 0, "{finding}");
            let _ = finding.render(Some(text));
        }
        serde_json::to_string(&Dump::of(&applied)).unwrap();
    }
    let applied = controller.reload(&good);
    let host = applied.table.virtual_host("mirror", 8000, "httpbin").unwrap();
    assert_eq!(host.rules[0].mirrors.len(), 1, "nothing of the text is left");
}

proptest! {
    #[test]
    fn arbitrary_text_is_only_reported(text in any::<String>()) {
        exercise(&text);
    }

    #[test]
    fn text_of_yamls_own_characters_is_only_reported(text in "[-:?\\[\\]{},#&*!|>'\"%@` a0\\n\\t]{0,80}") {
        exercise(&text);
    }

    /// Replaces stretches of valid manifests by words or by stretches of others.
    #[test]
    fn mutated_manifests_are_only_reported(
        seed in 0..SEEDS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..12_usize, prop::sample::select(&WORDS[..]), any::<bool>()), 1..6),
    ) {
        let mut text = SEEDS[seed].to_owned();
        for (at, length, word, insert) in edits {
            let boundaries: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let from = at.index(boundaries.len());
            let to = if insert { from } else { (from + length).min(boundaries.len() - 1) };
            text.replace_range(boundaries[from]..boundaries[to], word);
        }
        exercise(&text);
    }

    /// Exchanges the values of fields: keys stay known, so that decoding and validation are reached.
    #[test]
    fn exchanged_values_are_only_reported(
        seed in 0..SEEDS.len(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(&WORDS[..])), 1..4),
    ) {
        let mut lines: Vec<String> = SEEDS[seed].lines().map(str::to_owned).collect();
        for (at, word) in edits {
            let line = at.get(&lines).clone();
            if let Some((key, _)) = line.split_once(": ") {
                let index = at.index(lines.len());
                lines[index] = format!("{key}: {word}");
            }
        }
        exercise(&lines.join("\n"));
    }
}
