//! How seats are shared out among priority levels by what they need. Upstream: util/flowcontrol/conc_alloc.go.

/// What a priority level may get, and what it should get if all were served alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Claim {
    pub(crate) lower: f64,
    pub(crate) upper: f64,
    /// Not below `lower`.
    pub(crate) target: f64,
}

const MIN_TARGET: f64 = 0.001;
const EPSILON: f64 = 1e-7;

/// What each level gets, and the fair fraction: every level gets `fraction * target`, held within its bounds. The shares
/// sum to `sum`. None when the bounds do not allow that.
pub(crate) fn allocate(sum: u32, claims: &[Claim]) -> Option<(Vec<f64>, f64)> {
    let sum = f64::from(sum);
    let sane = |claim: &Claim| {
        claim.lower >= 0.0 && claim.target >= claim.lower && claim.upper >= claim.lower
    };
    if !claims.iter().all(sane) {
        return None;
    }
    let lowest: f64 = claims.iter().map(|claim| claim.lower).sum();
    let highest: f64 = claims.iter().map(|claim| claim.upper).sum();
    if lowest - sum > EPSILON || sum - highest > EPSILON {
        return None;
    }
    if sum == 0.0 {
        return Some((vec![0.0; claims.len()], 0.0));
    }
    let target = |claim: &Claim| claim.target.max(MIN_TARGET);
    let at = |fraction: f64| {
        claims
            .iter()
            .map(|claim| (fraction * target(claim)).clamp(claim.lower, claim.upper))
            .collect::<Vec<f64>>()
    };
    let lower_fractions = claims.iter().map(|claim| claim.lower / target(claim));
    let upper_fractions = claims.iter().map(|claim| claim.upper / target(claim));
    // No choice is left: the fraction is the one nearest to a solution that depends on it.
    if lowest - sum > -EPSILON {
        let fraction = lower_fractions.fold(f64::MAX, f64::min);
        return Some((claims.iter().map(|claim| claim.lower).collect(), fraction));
    }
    if sum - highest > -EPSILON {
        let fraction = upper_fractions.fold(0.0, f64::max);
        return Some((claims.iter().map(|claim| claim.upper).collect(), fraction));
    }
    // The sum of shares is a function of the fraction that never falls, and straight between the fractions at which a level
    // meets a bound: the solution is on the first piece that reaches the sum.
    let mut bends: Vec<f64> = lower_fractions.chain(upper_fractions).collect();
    bends.sort_by(f64::total_cmp);
    let mut from = 0.0;
    let mut reached = lowest;
    for to in bends {
        let total: f64 = at(to).iter().sum();
        if total >= sum {
            let rise = total - reached;
            let fraction = if rise > 0.0 {
                from + (to - from) * (sum - reached) / rise
            } else {
                to
            };
            return Some((at(fraction), fraction));
        }
        from = to;
        reached = total;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(lower: f64, target: f64, upper: f64) -> Claim {
        Claim {
            lower,
            upper,
            target,
        }
    }

    #[track_caller]
    fn check(sum: u32, claims: &[Claim], shares: &[f64], fraction: f64) {
        let (got, got_fraction) = allocate(sum, claims).unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        assert!(
            got.iter().zip(shares).all(|(a, b)| near(*a, *b)) && near(got_fraction, fraction),
            "{got:?} {got_fraction}"
        );
    }

    #[test]
    fn shares_follow_targets_within_bounds() {
        check(
            20,
            &[claim(0.0, 10.0, 20.0), claim(0.0, 10.0, 20.0)],
            &[10.0, 10.0],
            1.0,
        );
        check(
            20,
            &[claim(15.0, 15.0, 20.0), claim(0.0, 15.0, 20.0)],
            &[15.0, 5.0],
            1.0 / 3.0,
        );
        check(
            30,
            &[claim(0.0, 10.0, 5.0), claim(0.0, 10.0, 40.0)],
            &[5.0, 25.0],
            2.5,
        );
        check(0, &[claim(0.0, 10.0, 20.0)], &[0.0], 0.0);
        check(10, &[claim(10.0, 10.0, 20.0)], &[10.0], 1.0);
        assert_eq!(allocate(5, &[claim(10.0, 10.0, 20.0)]), None);
        assert_eq!(allocate(25, &[claim(10.0, 10.0, 20.0)]), None);
    }

    proptest! {
        #[test]
        fn shares_sum_up(
            claims in prop::collection::vec((0.0..50.0f64, 0.0..50.0f64, 0.0..100.0f64), 1..12),
            part in 0.0..1.0f64,
        ) {
            let claims: Vec<Claim> = claims
                .into_iter()
                .map(|(lower, more, span)| claim(lower, lower + more, lower + span))
                .collect();
            let lowest: f64 = claims.iter().map(|claim| claim.lower).sum();
            let highest: f64 = claims.iter().map(|claim| claim.upper).sum();
            let sum = (lowest + part * (highest - lowest)).ceil();
            prop_assume!(sum <= highest);
            let (shares, fraction) = allocate(sum as u32, &claims).unwrap();
            prop_assert!((shares.iter().sum::<f64>() - sum).abs() < 1e-4);
            for (share, claim) in shares.iter().zip(&claims) {
                prop_assert!(*share >= claim.lower - 1e-9 && *share <= claim.upper + 1e-9);
                let fair = (fraction * claim.target.max(MIN_TARGET)).clamp(claim.lower, claim.upper);
                prop_assert!((share - fair).abs() < 1e-4);
            }
        }
    }
}
