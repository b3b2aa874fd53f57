//! "Did you mean": the known name nearest to a mistyped one.

/// The candidate that `typed` was probably meant to be: at most a third of its characters away.
pub(crate) fn nearest<'c>(typed: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let allowed = (typed.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(typed, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// What to say about an unknown name: the nearest known one, or all of them.
pub(crate) fn help<'c>(typed: &str, what: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    let mut candidates: Vec<&str> = candidates.into_iter().collect();
    candidates.sort_unstable();
    candidates.dedup();
    if let Some(nearest) = nearest(typed, candidates.iter().copied()) {
        return format!("did you mean `{nearest}`?");
    }
    if candidates.is_empty() {
        return format!("there are no {what} here");
    }
    format!("known {what}: {}", candidates.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["listen", "tokens", "noise"];
        assert_eq!(nearest("lisen", known), Some("listen"));
        assert_eq!(nearest("lsiten", known), Some("listen"), "a swap is one step");
        assert_eq!(nearest("token", known), Some("tokens"));
        assert_eq!(nearest("database", known), None);
    }
}
