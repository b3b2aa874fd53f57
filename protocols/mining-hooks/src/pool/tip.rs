//! The chain's tip as the template provider tells it: a template names the height of the block that it is for, and the new
//! tip names the template.

use std::collections::VecDeque;

/// Templates remembered until one of them is named.
const KEPT_TEMPLATES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Tip {
    templates: VecDeque<(u64, u32)>,
    /// Height of the next block; 0 where unknown.
    next_height: u32,
}

impl Tip {
    /// A template and the beginning of its coinbase script.
    pub(super) fn template(&mut self, template_id: u64, coinbase_prefix: &[u8]) {
        let Some(height) = bip34_height(coinbase_prefix) else { return };
        if self.templates.len() == KEPT_TEMPLATES {
            self.templates.pop_front();
        }
        self.templates.push_back((template_id, height));
    }

    /// The template that is to be mined on the new tip. Returns the tip's height, 0 where unknown.
    pub(super) fn change(&mut self, template_id: u64) -> u32 {
        let named = self.templates.iter().rev().find(|(id, _)| *id == template_id);
        self.next_height = named.map_or(0, |(_, height)| *height);
        self.next_height.saturating_sub(1)
    }

    /// Height of the block that is being mined; 0 where unknown.
    pub(super) fn next_height(&self) -> u32 {
        self.next_height
    }
}

/// The height that a coinbase script begins with (BIP 34), pushed as a script number.
fn bip34_height(script: &[u8]) -> Option<u32> {
    let (&push, rest) = script.split_first()?;
    match push {
        // OP_1 to OP_16.
        0x51..=0x60 => Some(u32::from(push - 0x50)),
        1..=5 => {
            let number = rest.get(..usize::from(push))?;
            let value = number.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            // The top bit of the last byte is a sign, which no height has.
            let negative = number.last().is_some_and(|byte| byte & 0x80 != 0);
            if negative { None } else { value.try_into().ok() }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bitcoin::script::Builder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn heights_are_read_as_bitcoin_pushes_them(height in prop_oneof![1..1000_u32, any::<u32>().prop_filter("not 0", |h| *h > 0)]) {
            let script = Builder::new().push_int(height.into()).into_script();
            prop_assert_eq!(bip34_height(script.as_bytes()), Some(height));
        }

        #[test]
        fn no_script_is_too_strange(script: Vec<u8>) {
            bip34_height(&script);
        }
    }

    #[test]
    fn the_named_template_tells_the_height() {
        let mut tip = Tip::default();
        assert_eq!((tip.change(1), tip.next_height()), (0, 0));
        tip.template(1, &[3, 0x40, 0x0d, 0x03]);
        tip.template(2, &[3, 0x41, 0x0d, 0x03]);
        assert_eq!((tip.change(1), tip.next_height()), (199_999, 200_000));
        assert_eq!((tip.change(2), tip.next_height()), (200_000, 200_001));
        assert_eq!((tip.change(3), tip.next_height()), (0, 0));
        for id in 0..1000 {
            tip.template(id, &[1, 7]);
        }
        assert_eq!(tip.templates.len(), KEPT_TEMPLATES);
    }
}
