//! "Did you mean …?"

/// The candidate that is closest to what was written, if it is close enough to be a slip: no more than a third of the letters differ, one
/// word begins with the other, or only case and separators differ.
#[must_use]
pub fn closest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters =
        |word: &str| word.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let written = letters(written);
    candidates
        .into_iter()
        .map(|candidate| (candidate, letters(candidate)))
        .map(|(candidate, known)| {
            (distance(&written, &known), written.len() > 3 && begins(&written, &known), candidate)
        })
        .filter(|(distance, begins, candidate)| *begins || *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, ..)| *distance)
        .map(|(.., candidate)| candidate)
}

fn begins(a: &str, b: &str) -> bool {
    a.len() <= 2 * b.len() && (a.starts_with(b) || b.starts_with(a))
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    // Nothing that long is a slip of one of our names.
    if a.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_find_their_word_and_strangers_do_not() {
        let names = ["mirror", "mirrors", "mirrorPercentage", "route", "host"];
        assert_eq!(closest("miror", names), Some("mirror"));
        assert_eq!(closest("mirror_percentage", names), Some("mirrorPercentage"));
        assert_eq!(closest("Host", names), Some("host"));
        assert_eq!(closest("hostname", names), Some("host"));
        assert_eq!(closest("teapot", names), None);
        assert_eq!(closest("", names), None);
        assert_eq!(closest(&"mirror".repeat(1000), names), None);
    }
}
