//! What a client can unpack.

use axum::http::{HeaderMap, header};

/// Whether `Accept-Encoding` names a coding, such as `gzip`, or else anything, and does not refuse it.
pub(crate) fn takes(headers: &HeaderMap, coding: &str) -> bool {
    let offers = || headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let of = |wanted: &str| {
        offers().flat_map(|value| value.split(',')).find_map(|offer| {
            let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
            let weight = weight.trim().strip_prefix("q=").map_or(Some(1.0), |weight| weight.trim().parse::<f32>().ok());
            name.trim().eq_ignore_ascii_case(wanted).then(|| weight.is_some_and(|weight| weight > 0.0))
        })
    };
    of(coding).or_else(|| of("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_takes_a_coding_gets_it() {
        let takes_gzip = |offers: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, offers.parse().unwrap());
            takes(&headers, "gzip")
        };
        for offers in ["gzip", "br, GZIP;q=0.5, deflate", "*", "identity;q=0.1, *;q=1.0", "gzip ; q=1"] {
            assert!(takes_gzip(offers), "{offers}");
        }
        for offers in ["", "br", "gzip;q=0", "*;q=0", "gzip;q=0, *", "gzip;q=much", "xgzip", "identity"] {
            assert!(!takes_gzip(offers), "{offers}");
        }
        assert!(!takes(&HeaderMap::new(), "gzip"));
    }
}
