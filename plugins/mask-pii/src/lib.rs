//! Send hook: masks payment card numbers in bodies, all digits but the last four.
//!
//! A card number is 13 to 19 digits, with single blanks or dashes between them if any, whose check
//! digit (Luhn) is right. Settings: `mask` (*), one character.

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Edits, Message, Needs, SendHook, export_send_hook, host};

struct MaskPii {
    mask: u8,
}

impl SendHook for MaskPii {
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.body();
        match binding.param("mask").unwrap_or("*").as_bytes() {
            [mask] if mask.is_ascii_graphic() => Ok(MaskPii { mask: *mask }),
            _ => Err("mask must be one ASCII character".into()),
        }
    }

    fn before_send(&mut self, message: &Message<'_>, edits: &mut Edits<'_>) {
        if let Some((body, masked)) = masked(message.body(), self.mask) {
            host::counter_add("masked", masked);
            edits.set_body(body);
        }
    }
}

/// The body with its card numbers masked, and how many there were; `None` when there are none.
fn masked(body: &[u8], mask: u8) -> Option<(Vec<u8>, u64)> {
    let mut copy = None;
    let mut cards = 0;
    let mut at = 0;
    while let Some(digits) = body[at..].iter().position(u8::is_ascii_digit) {
        let begin = at + digits;
        let places = digit_run(body, begin);
        at = places[places.len() - 1] + 1;
        if is_card(body, &places) {
            let copy = copy.get_or_insert_with(|| body.to_vec());
            places[..places.len() - 4]
                .iter()
                .for_each(|place| copy[*place] = mask);
            cards += 1;
        }
    }
    copy.map(|copy| (copy, cards))
}

/// Places of the digits of a number that begins at `begin`.
fn digit_run(body: &[u8], begin: usize) -> Vec<usize> {
    let digit = |at: usize| body.get(at).is_some_and(u8::is_ascii_digit);
    let mut places = vec![begin];
    let mut at = begin;
    loop {
        let separated = matches!(body.get(at + 1), Some(b' ' | b'-')) && digit(at + 2);
        at += if separated { 2 } else { 1 };
        if !digit(at) {
            return places;
        }
        places.push(at);
    }
}

fn is_card(body: &[u8], places: &[usize]) -> bool {
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let from_right = places
        .iter()
        .rev()
        .map(|place| u32::from(body[*place] - b'0'));
    let sum: u32 = from_right
        .enumerate()
        .map(|(at, digit)| if at % 2 == 1 { doubled(digit) } else { digit })
        .sum();
    (13..=19).contains(&places.len()) && sum.is_multiple_of(10)
}

export_send_hook!(MaskPii);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::Edit;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn cards_are_masked_and_nothing_else() {
        let body = b"{\"card\":\"4111-1111 11111111\",\"order\":\"4111111111111112\",\"at\":1700000000000}";
        let expected = b"{\"card\":\"****-**** ****1111\",\"order\":\"4111111111111112\",\"at\":1700000000000}";
        let (copy, cards) = masked(body, b'*').unwrap();
        assert_eq!(
            String::from_utf8_lossy(&copy),
            String::from_utf8_lossy(expected)
        );
        assert_eq!(cards, 1);
        assert_eq!(masked(b"", b'*'), None);
        assert_eq!(
            masked(b"378282246310005 0", b'*'),
            None,
            "one number of 16 digits"
        );
        assert_eq!(
            masked(b"378282246310005.", b'#').unwrap().0,
            b"###########0005."
        );
    }

    #[test]
    fn a_body_without_cards_is_not_touched() {
        let mut plugin = testing::send_hook::<MaskPii>(&[]).unwrap();
        let samples = [
            Sample::new().body("4111111111111111"),
            Sample::new().body(b"\xff 12"),
        ];
        plugin.before_send(&samples, |edits| {
            assert_eq!(edits, [(0, Edit::SetBody(b"************1111"))]);
        });
        assert_eq!(plugin.host.counter("masked"), 1);
    }

    #[test]
    fn a_mask_of_two_characters_is_refused() {
        assert!(testing::send_hook::<MaskPii>(&[("mask", "xx")]).is_err());
    }
}
