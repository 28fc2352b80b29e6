//! Decimal numbers of any size, for the few quantities that do not fit 64 bits. Kept as decimal digits: everything
//! quantities do (shifting by powers of ten, rounding, printing) is simple on digits, and speed does not matter here.

use std::cmp::Ordering;

/// Two exponents further apart than this are not lined up digit by digit: the smaller number is lost in the larger one.
const MAX_SHIFT: i64 = 4096;

/// `±digits × 10^exponent`.
#[derive(Clone, Debug)]
pub(super) struct Decimal {
    negative: bool,
    /// Most significant first, without leading zeros; empty is zero.
    digits: Vec<u8>,
    exponent: i32,
}

impl Decimal {
    pub(super) fn from_i64(value: i64, exponent: i32) -> Self {
        let digits = value
            .unsigned_abs()
            .to_string()
            .into_bytes()
            .into_iter()
            .map(|c| c - b'0')
            .collect();
        let mut out = Decimal {
            negative: value < 0,
            digits,
            exponent,
        };
        out.normalize();
        out
    }

    /// From ASCII digits.
    pub(super) fn from_digits(
        negative: bool,
        text: impl Iterator<Item = u8>,
        exponent: i32,
    ) -> Self {
        let mut out = Decimal {
            negative,
            digits: text.map(|c| c - b'0').collect(),
            exponent,
        };
        out.normalize();
        out
    }

    /// The number times `10^exponent`.
    pub(super) fn shifted(mut self, exponent: i32) -> Self {
        self.exponent = self.exponent.wrapping_add(exponent);
        self
    }

    fn normalize(&mut self) {
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        if self.digits.is_empty() {
            self.negative = false;
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    pub(super) fn signum(&self) -> i32 {
        match (self.is_zero(), self.negative) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => -1,
        }
    }

    pub(super) fn negate(&mut self) {
        self.negative = !self.negative && !self.is_zero();
    }

    pub(super) fn multiply(&mut self, factor: u64) {
        let mut carry: u128 = 0;
        for digit in self.digits.iter_mut().rev() {
            let product = u128::from(*digit) * u128::from(factor) + carry;
            *digit = (product % 10) as u8;
            carry = product / 10;
        }
        while carry > 0 {
            self.digits.insert(0, (carry % 10) as u8);
            carry /= 10;
        }
        self.normalize();
    }

    /// Divides the digits by a small number; gives the quotient when nothing is left over.
    fn divide_exactly(&self, divisor: u32) -> Option<Decimal> {
        let mut rest = 0;
        let mut digits = Vec::with_capacity(self.digits.len());
        for digit in &self.digits {
            rest = rest * 10 + u32::from(*digit);
            digits.push((rest / divisor) as u8);
            rest %= divisor;
        }
        let mut out = Decimal {
            negative: self.negative,
            digits,
            exponent: self.exponent,
        };
        out.normalize();
        (rest == 0).then_some(out)
    }

    /// Rounds away from zero to a multiple of `10^exponent`; tells whether nothing was lost.
    pub(super) fn round_up(&mut self, exponent: i32) -> bool {
        if self.exponent >= exponent {
            return true;
        }
        let drop = i64::from(exponent) - i64::from(self.exponent);
        let keep = usize::try_from(self.digits.len() as i64 - drop).unwrap_or(0);
        let lost = self.digits[keep..].iter().any(|digit| *digit != 0);
        self.digits.truncate(keep);
        self.exponent = exponent;
        if lost {
            self.increment();
        }
        self.normalize();
        !lost
    }

    fn increment(&mut self) {
        for digit in self.digits.iter_mut().rev() {
            if *digit < 9 {
                *digit += 1;
                return;
            }
            *digit = 0;
        }
        self.digits.insert(0, 1);
    }

    /// Appends zeros so that the exponent becomes smaller.
    fn lower_exponent(&mut self, exponent: i32) {
        let more = (i64::from(self.exponent) - i64::from(exponent)).clamp(0, MAX_SHIFT) as usize;
        if !self.is_zero() {
            self.digits.resize(self.digits.len() + more, 0);
        }
        self.exponent = exponent;
    }

    /// Position of the first digit: numbers of different magnitude compare by it.
    fn magnitude(&self) -> i64 {
        self.digits.len() as i64 + i64::from(self.exponent)
    }

    fn compare_size(&self, other: &Decimal) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        self.magnitude().cmp(&other.magnitude()).then_with(|| {
            let len = self.digits.len().max(other.digits.len());
            let padded = |digits: &[u8], at: usize| digits.get(at).copied().unwrap_or(0);
            (0..len)
                .map(|at| padded(&self.digits, at).cmp(&padded(&other.digits, at)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        })
    }

    pub(super) fn compare(&self, other: &Decimal) -> Ordering {
        match (self.signum(), other.signum()) {
            (1, 1) => self.compare_size(other),
            (-1, -1) => other.compare_size(self),
            (a, b) => a.cmp(&b),
        }
    }

    pub(super) fn add(&mut self, other: &Decimal) {
        if other.is_zero() {
            return;
        }
        if self.is_zero() {
            *self = other.clone();
            return;
        }
        if (i64::from(self.exponent) - i64::from(other.exponent)).abs() > MAX_SHIFT {
            if self.compare_size(other).is_lt() {
                *self = other.clone();
            }
            return;
        }
        let mut other = other.clone();
        let exponent = self.exponent.min(other.exponent);
        self.lower_exponent(exponent);
        other.lower_exponent(exponent);
        if self.negative == other.negative {
            self.add_size(&other);
        } else {
            if self.compare_size(&other).is_lt() {
                std::mem::swap(self, &mut other);
            }
            self.sub_size(&other);
        }
        self.normalize();
    }

    fn add_size(&mut self, other: &Decimal) {
        let len = self.digits.len().max(other.digits.len()) + 1;
        let mut sum = vec![0; len];
        let mut carry = 0;
        for at in 0..len {
            let digit = nth_from_end(&self.digits, at) + nth_from_end(&other.digits, at) + carry;
            sum[len - 1 - at] = digit % 10;
            carry = digit / 10;
        }
        self.digits = sum;
    }

    /// Subtracts a number that is not larger.
    fn sub_size(&mut self, other: &Decimal) {
        let len = self.digits.len();
        let mut borrow = 0;
        for at in 0..len {
            let take = nth_from_end(&other.digits, at) + borrow;
            let digit = &mut self.digits[len - 1 - at];
            borrow = u8::from(*digit < take);
            *digit = *digit + borrow * 10 - take;
        }
    }

    /// Digits without trailing zeros and the matching exponent.
    pub(super) fn without_trailing_zeros(&self) -> (String, i32) {
        let zeros = self
            .digits
            .iter()
            .rev()
            .take_while(|digit| **digit == 0)
            .count();
        let mut text = String::with_capacity(self.digits.len() + 1);
        if self.negative {
            text.push('-');
        }
        text.extend(
            self.digits[..self.digits.len() - zeros]
                .iter()
                .map(|digit| char::from(b'0' + digit)),
        );
        (text, self.exponent.wrapping_add(zeros as i32))
    }

    /// The whole number, rounded up, divided by 1024 as often as nothing is left over; and how often that was.
    pub(super) fn base_1024(&self) -> (String, i32) {
        let mut number = self.clone();
        number.round_up(0);
        number.lower_exponent(0);
        let mut times = 0;
        while let Some(quotient) = number.divide_exactly(1024) {
            if quotient.is_zero() {
                break;
            }
            number = quotient;
            times += 1;
        }
        let mut text = String::with_capacity(number.digits.len() + 1);
        if number.negative {
            text.push('-');
        }
        text.extend(number.digits.iter().map(|digit| char::from(b'0' + digit)));
        (text, times)
    }

    /// Upstream's `scaledValue`: in units of `10^scale`, where a remainder adds one to the truncated quotient, and
    /// what does not fit wraps around.
    pub(super) fn scaled_value(&self, scale: i32) -> i64 {
        let mut number = self.clone();
        // Upstream keeps parsed numbers at nine decimals.
        number.lower_exponent(number.exponent.min(-9));
        let shift = i64::from(scale) - i64::from(number.exponent);
        if shift <= 0 {
            let factor = (0..-shift.max(-19)).fold(1_i64, |factor, _| factor.wrapping_mul(10));
            return number.wrapping_i64().wrapping_mul(factor);
        }
        let keep = usize::try_from(number.digits.len() as i64 - shift).unwrap_or(0);
        let rest = number.digits[keep..].iter().any(|digit| *digit != 0);
        number.digits.truncate(keep);
        number.wrapping_i64().wrapping_add(i64::from(rest))
    }

    fn wrapping_i64(&self) -> i64 {
        let size = self.digits.iter().fold(0_i64, |sum, digit| {
            sum.wrapping_mul(10).wrapping_add(i64::from(*digit))
        });
        if self.negative {
            size.wrapping_neg()
        } else {
            size
        }
    }

    pub(super) fn to_f64(&self) -> f64 {
        let (text, exponent) = self.without_trailing_zeros();
        format!("{text}e{exponent}").parse().unwrap_or(0.0)
    }

    /// Whether the digits alone fit 64 bits.
    pub(super) fn fits_i64(&self) -> bool {
        let limit = Decimal::from_i64(
            if self.negative { i64::MIN } else { i64::MAX },
            self.exponent,
        );
        self.compare_size(&limit).is_le()
    }
}

fn nth_from_end(digits: &[u8], at: usize) -> u8 {
    digits
        .len()
        .checked_sub(at + 1)
        .map_or(0, |index| digits[index])
}
