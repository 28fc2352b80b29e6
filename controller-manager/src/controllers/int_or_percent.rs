//! Numbers that may be given as a percentage. Upstream: k8s.io/apimachinery/pkg/util/intstr.

use api_types::IntOrString;

use super::SyncError;

/// The value, where a percentage is one of `total`, rounded up or down.
pub fn scaled(value: &IntOrString, total: i32, round_up: bool) -> Result<i32, SyncError> {
    let text = match value {
        IntOrString::Int(value) => return Ok(*value),
        IntOrString::String(text) => text,
    };
    let Some(percent) = text.strip_suffix('%') else {
        return Err(SyncError::other(
            "invalid value for IntOrString: invalid type: string is not a percentage",
        ));
    };
    let percent: i64 = percent.parse().map_err(|_| {
        SyncError::other(format!(
            "invalid value for IntOrString: invalid value {text:?}: not an integer"
        ))
    })?;
    let hundredfold = percent.saturating_mul(i64::from(total));
    let rounded = if round_up {
        hundredfold.saturating_add(99).div_euclid(100)
    } else {
        hundredfold.div_euclid(100)
    };
    Ok(i32::try_from(rounded).unwrap_or(i32::MAX))
}

/// How many pods may be added and taken away during an update. Never both zero: a surge may be impossible because of quota.
pub fn fenceposts(
    surge: Option<&IntOrString>,
    unavailable: Option<&IntOrString>,
    desired: i32,
) -> Result<(i32, i32), SyncError> {
    let surge = surge.map_or(Ok(0), |value| scaled(value, desired, true))?;
    let unavailable = unavailable.map_or(Ok(0), |value| scaled(value, desired, false))?;
    Ok(if surge == 0 && unavailable == 0 {
        (0, 1)
    } else {
        (surge, unavailable)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(text: &str) -> IntOrString {
        IntOrString::String(text.into())
    }

    #[test]
    fn percentages_round_as_asked() {
        for (value, total, up, down) in [
            ("25%", 10, 3, 2),
            ("100%", 7, 7, 7),
            ("0%", 9, 0, 0),
            ("50%", 0, 0, 0),
            ("1%", 1, 1, 0),
        ] {
            assert_eq!(
                scaled(&percent(value), total, true).unwrap(),
                up,
                "{value} of {total}"
            );
            assert_eq!(
                scaled(&percent(value), total, false).unwrap(),
                down,
                "{value} of {total}"
            );
        }
        assert_eq!(scaled(&IntOrString::Int(4), 1, true).unwrap(), 4);
        assert!(scaled(&percent("5"), 1, true).is_err());
        assert!(scaled(&percent("x%"), 1, true).is_err());
    }

    #[test]
    fn an_update_can_always_move() {
        let (zero, one) = (IntOrString::Int(0), IntOrString::Int(1));
        assert_eq!(
            fenceposts(Some(&zero), Some(&percent("10%")), 5).unwrap(),
            (0, 1)
        );
        assert_eq!(fenceposts(Some(&one), Some(&zero), 5).unwrap(), (1, 0));
        assert_eq!(
            fenceposts(Some(&percent("25%")), Some(&percent("25%")), 10).unwrap(),
            (3, 2)
        );
        assert_eq!(fenceposts(None, None, 10).unwrap(), (0, 1));
    }
}
