//! Which queues a flow may use. Upstream: util/shufflesharding.

/// Deals hands of a deck of queues: each flow gets a few queues, and two flows have seldom the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dealer {
    deck: u32,
    hand: u32,
}

/// The hash of a flow is not to be used up by dealing: the last cards would not be evenly spread.
const MAX_HASH_BITS: f64 = 60.0;
const MAX_DECK: u32 = 1 << 26;
/// The largest hand that [`MAX_HASH_BITS`] allow.
pub(crate) const MAX_HAND: usize = 15;

impl Dealer {
    /// None when a hash has too few bits for such hands, or they make no sense.
    pub(crate) fn new(deck: i32, hand: i32) -> Option<Dealer> {
        let (deck, hand) = (u32::try_from(deck).ok()?, u32::try_from(hand).ok()?);
        let possible = deck > 0 && hand > 0 && hand <= deck && deck <= MAX_DECK;
        let bits = (f64::from(deck).log2() * f64::from(hand)).ceil();
        (possible && hand as usize <= MAX_HAND && bits <= MAX_HASH_BITS)
            .then_some(Dealer { deck, hand })
    }

    /// The queues of a flow.
    pub(crate) fn deal(&self, mut hash: u64, cards: &mut [usize; MAX_HAND]) -> usize {
        let hand = self.hand as usize;
        let mut remainders = [0u64; MAX_HAND];
        for (i, remainder) in remainders.iter_mut().enumerate().take(hand) {
            let left = u64::from(self.deck) - i as u64;
            *remainder = hash % left;
            hash /= left;
        }
        for i in 0..hand {
            let mut card = remainders[i];
            for earlier in remainders[..i].iter().rev() {
                if card >= *earlier {
                    card += 1;
                }
            }
            cards[i] = card as usize;
        }
        hand
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn impossible_hands() {
        assert_eq!(Dealer::new(0, 1), None);
        assert_eq!(Dealer::new(4, 5), None);
        assert_eq!(Dealer::new(128, 9), None);
        assert!(Dealer::new(128, 8).is_some());
        assert!(Dealer::new(1, 1).is_some());
        assert_eq!(Dealer::new((1 << 26) + 1, 1), None);
    }

    /// The cases of upstream's TestDeal that have a written hand.
    #[test]
    fn dealing() {
        let mut cards = [0; MAX_HAND];
        let deal = |deck, hand, hash, cards: &mut [usize; MAX_HAND]| {
            let count = Dealer::new(deck, hand).unwrap().deal(hash, cards);
            cards[..count].to_vec()
        };
        assert_eq!(deal(6, 3, 0, &mut cards), [0, 1, 2]);
        assert_eq!(deal(9, 3, 0, &mut cards), [0, 1, 2]);
        assert_eq!(deal(1, 1, 17, &mut cards), [0]);
    }

    proptest! {
        #[test]
        fn a_hand_has_no_card_twice(hash: u64, deck in 1..200i32, hand in 1..9i32) {
            if let Some(dealer) = Dealer::new(deck, hand) {
                let mut cards = [0; MAX_HAND];
                let count = dealer.deal(hash, &mut cards);
                let mut seen: Vec<usize> = cards[..count].to_vec();
                seen.sort_unstable();
                seen.dedup();
                prop_assert_eq!(seen.len(), count);
                prop_assert!(seen.iter().all(|card| *card < deck as usize));
            }
        }
    }
}
