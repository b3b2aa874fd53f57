//! Addresses of pages: a path and a query, whose values may be any text.

use form_urlencoded::Serializer;

/// An address below the dashboard's root.
#[derive(Debug, Clone)]
pub(super) struct Address {
    path: &'static str,
    pairs: Vec<(&'static str, String)>,
}

impl Address {
    /// A path without a query.
    pub(super) fn new(path: &'static str) -> Self {
        Self { path, pairs: Vec::new() }
    }

    /// With a value in the query.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.pairs.push((name, value.into()));
        self
    }

    /// With a value in the query, if there is one.
    pub(super) fn with_some(self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The address as text.
    pub(super) fn text(&self) -> String {
        if self.pairs.is_empty() {
            return self.path.to_owned();
        }
        let query = Serializer::new(String::new()).extend_pairs(&self.pairs).finish();
        format!("{}?{query}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_may_stand_in_an_address() {
        let address = Address::new("/worker").with("name", "a&b=c#\u{202e} \"<é").with_some("page", None::<String>);
        assert_eq!(address.text(), "/worker?name=a%26b%3Dc%23%E2%80%AE+%22%3C%C3%A9");
        assert_eq!(Address::new("/workers").text(), "/workers");
    }
}
