//! The cases are those of upstream's tests.

use api_types::Time;

use super::rules::*;
use super::*;

const NOW: MicroTime = MicroTime::from_unix_micros(1_800_000_000_000_000);

fn at(seconds: i64) -> Option<MicroTime> {
    let micros = NOW.unix_micros() + seconds * 1_000_000;
    Some(MicroTime::from_unix_micros(micros))
}

/// A candidate with an emulation and a binary version, who has just renewed itself.
fn candidate(name: &str, emulation: &str, binary: &str) -> LeaseCandidate {
    let mut candidate = LeaseCandidate::default();
    candidate.metadata.name = name.to_owned();
    candidate.spec.emulation_version = emulation.to_owned();
    candidate.spec.binary_version = binary.to_owned();
    candidate.spec.strategy = OLDEST_EMULATION_VERSION.to_owned();
    candidate.spec.renew_time = at(0);
    candidate
}

fn timed(mut candidate: LeaseCandidate, pinged: Option<i64>, renewed: i64) -> LeaseCandidate {
    candidate.spec.ping_time = pinged.and_then(at);
    candidate.spec.renew_time = at(renewed);
    candidate
}

fn with_strategy(mut candidate: LeaseCandidate, strategy: &str) -> LeaseCandidate {
    candidate.spec.strategy = strategy.to_owned();
    candidate
}

fn held(holder: &str, renewed: i64) -> Lease {
    let mut lease = Lease::default();
    lease.spec.holder_identity = Some(holder.to_owned());
    lease.spec.lease_duration_seconds = Some(10);
    lease.spec.renew_time = at(renewed);
    lease
}

fn elect(holder: &str) -> Result<Step, Failed> {
    Ok(Step::Elect(Election {
        strategy: OLDEST_EMULATION_VERSION.to_owned(),
        holder: Some(holder.to_owned()),
    }))
}

#[test]
fn the_oldest_emulation_version_is_best() {
    let check = |candidates: &[(&str, &str, i64)], want: Option<usize>| {
        let candidates: Vec<LeaseCandidate> = candidates
            .iter()
            .enumerate()
            .map(|(index, (emulation, binary, created))| {
                let mut made = candidate(&index.to_string(), emulation, binary);
                made.metadata.creation_timestamp = Time::from_unix(*created);
                made
            })
            .collect();
        let found = best(&candidates).map(|best| best.metadata.name.clone());
        assert_eq!(found, want.map(|index| index.to_string()), "{candidates:?}");
    };
    check(&[], None);
    check(&[("0.1.0", "0.1.0", 1)], Some(0));
    check(&[("0.2.0", "0.2.0", 1), ("0.1.0", "0.2.0", 2)], Some(1));
    check(&[("0.1.0", "0.2.0", 1), ("0.1.0", "0.1.0", 2)], Some(1));
    check(&[("0.1.0", "0.1.0", 2), ("0.1.0", "0.1.0", 1)], Some(1));
    check(&[("0.1.0", "0.1.0", 1), ("0.1.0", "0.1.0", 1)], Some(0));
    // By number, not by text.
    check(&[("1.10.0", "1.10.0", 1), ("1.2.0", "1.20.0", 1)], Some(1));
    check(&[("1.4", "v1.4", 1), ("1.04.1", "1.4.1", 1)], Some(0));
    // Those who do not tell their versions are never elected.
    check(&[("", "0.1.0", 1), ("invalid", "0.1.0", 1)], None);
    check(&[("0.1.0", "invalid", 1), ("9.0.0", "9.0.0", 1)], Some(1));
}

#[test]
fn those_with_the_newest_binary_say_which_strategy() {
    let other = "foo.com/bar";
    let check = |candidates: &[(&str, &str)], want: Result<&str, &str>| {
        let candidates: Vec<LeaseCandidate> = candidates
            .iter()
            .zip(["a", "b", "c"])
            .map(|((binary, strategy), name)| {
                with_strategy(candidate(name, "1.0.0", binary), strategy)
            })
            .collect();
        let found = strategy(&candidates).map(str::to_owned);
        assert_eq!(found, want.map(str::to_owned).map_err(str::to_owned));
    };
    check(&[], Err("no candidates"));
    check(&[("1.0.0", other)], Ok(other));
    let mine = OLDEST_EMULATION_VERSION;
    let both = "candidates \"a\", \"b\" at same binary version but received differing strategies OldestEmulationVersion, foo.com/bar";
    check(&[("1.0.0", mine), ("1.0.0", other)], Err(both));
    check(&[("1.30.0", mine), ("1.31.0", other)], Ok(other));
    check(&[("1.31.0", other), ("1.30.0", mine)], Ok(other));
    check(&[("1.1.10", mine), ("1.1.2", other)], Ok(mine));
    check(&[("1.0.0", mine), ("1.0.0", mine)], Ok(mine));
    check(&[("none", mine), ("0.0.1", other)], Ok(other));
}

#[test]
fn a_step_of_an_election() {
    let one = || candidate("one", "1.19.0", "1.19.0");
    let two = || candidate("two", "1.18.0", "1.18.0");
    let check = |candidates: &[LeaseCandidate], lease: Option<&Lease>, want| {
        assert_eq!(step(candidates, lease, NOW), want, "{candidates:?}");
    };
    check(&[], None, Ok(Step::Rest));
    check(&[], Some(&Lease::default()), Ok(Step::Rest));
    check(&[one()], None, elect("one"));
    check(&[one(), two()], Some(&held("one", 0)), elect("two"));
    check(&[one(), two()], Some(&held("two", 0)), Ok(Step::Watch));
    check(&[one()], Some(&held("gone", -60)), elect("one"));
    check(&[one()], Some(&held("", 0)), elect("one"));
    // Only those who have answered.
    let silent = timed(two(), Some(-10), -20);
    check(
        &[silent.clone(), timed(one(), Some(0), 0)],
        None,
        elect("one"),
    );
    let nobody = Failed {
        why: "no available candidates".to_owned(),
        watch: false,
    };
    check(&[silent], None, Err(nobody));
    // They are asked, and have their time to answer.
    check(&[timed(one(), None, -10)], None, Ok(Step::Ping(vec![0])));
    check(
        &[two(), timed(one(), Some(-9), -8)],
        None,
        Ok(Step::Ping(vec![1])),
    );
    check(&[two(), timed(one(), Some(0), -60)], None, Ok(Step::Watch));
    // A quarter of an hour after their last answer, too.
    let old = timed(two(), Some(-1000), -999);
    check(
        &[old.clone()],
        Some(&held("two", 0)),
        Ok(Step::Ping(vec![0])),
    );
    assert!(!is_candidate_expired(&old, NOW));
    assert!(is_candidate_expired(&timed(one(), None, -1801), NOW));
    // Somebody else's strategy.
    let foreign = with_strategy(one(), "foo.com/bar");
    check(
        std::slice::from_ref(&foreign),
        Some(&held("x", 0)),
        Ok(Step::Watch),
    );
    let nobody = Election {
        strategy: "foo.com/bar".to_owned(),
        holder: None,
    };
    check(
        std::slice::from_ref(&foreign),
        Some(&held("x", -60)),
        Ok(Step::Elect(nobody)),
    );
    let differs = step(
        &[
            one(),
            with_strategy(candidate("b", "1.19.0", "1.19.0"), "x"),
        ],
        Some(&held("one", 0)),
        NOW,
    );
    assert!(differs.is_err_and(|failed| failed.watch));
}

#[test]
fn what_an_election_changes() {
    let election = |holder: Option<&str>| Election {
        strategy: OLDEST_EMULATION_VERSION.to_owned(),
        holder: holder.map(str::to_owned),
    };
    let won = election(Some("one"));
    let made = won.lease("kube-system", "component", NOW);
    assert_eq!(
        (
            made.metadata.namespace.as_str(),
            made.metadata.name.as_str()
        ),
        ("kube-system", "component")
    );
    assert_eq!(made.spec.holder_identity.as_deref(), Some("one"));
    assert_eq!(
        (made.spec.lease_duration_seconds, made.spec.renew_time),
        (Some(5), at(0))
    );
    assert!(!won.change(&mut made.clone(), NOW));

    let check = |mut lease: Lease, holder: &str, preferred: Option<&str>, renewed: i64| {
        assert!(won.change(&mut lease, NOW));
        let spec = lease.spec;
        assert_eq!(spec.strategy.as_deref(), Some(OLDEST_EMULATION_VERSION));
        assert_eq!(spec.holder_identity.as_deref(), Some(holder));
        assert_eq!(spec.preferred_holder.as_deref(), preferred);
        assert_eq!(spec.renew_time, at(renewed));
    };
    check(held("other", -1), "other", Some("one"), -1);
    check(held("", -1), "one", None, 0);
    let mut expired = held("other", -60);
    expired.spec.preferred_holder = Some("two".to_owned());
    expired.spec.acquire_time = at(-100);
    check(expired, "one", None, 0);
    // Of its own it only gets the strategy.
    check(held("one", -60), "one", None, -60);

    let mut foreign = held("other", -60);
    assert!(election(None).change(&mut foreign, NOW));
    assert_eq!(foreign.spec.holder_identity.as_deref(), Some("other"));
    assert!(!election(None).change(&mut foreign, NOW));
}
