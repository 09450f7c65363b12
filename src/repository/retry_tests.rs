use super::*;

fn failing(times: usize, errno: Errno) -> (io::Result<u32>, usize) {
    let mut calls = 0;
    let result = retry(|| {
        calls += 1;
        if calls <= times { Err(errno.into()) } else { Ok(7) }
    });
    (result, calls)
}

#[test]
fn momentary_errors_are_tried_again() {
    assert_eq!(failing(3, Errno::INTR).0.unwrap(), 7);
    assert_eq!(failing(2, Errno::AGAIN).0.unwrap(), 7);
}

#[test]
fn lasting_errors_are_returned_at_once() {
    let (result, calls) = failing(usize::MAX, Errno::NOSPC);
    assert_eq!((result.unwrap_err().raw_os_error(), calls), (Some(Errno::NOSPC.raw_os_error()), 1));
}

#[test]
fn tries_are_bounded() {
    let (result, calls) = failing(usize::MAX, Errno::INTR);
    assert!(result.is_err());
    assert_eq!(calls, MOMENTS_MS.len() + 1);
}

#[test]
fn what_the_storage_refuses_it_refuses_again() {
    for errno in
        [Errno::NOSPC, Errno::DQUOT, Errno::ROFS, Errno::ACCESS, Errno::PERM, Errno::NOENT, Errno::INVAL]
    {
        assert!(!passes(&errno.into()), "{errno:?}");
    }
    for errno in [Errno::IO, Errno::STALE, Errno::HOSTDOWN, Errno::NOTCONN, Errno::NODEV, Errno::AGAIN] {
        assert!(passes(&errno.into()), "{errno:?}");
    }
}

#[test]
fn an_outage_is_outlived_within_the_limit_and_ended_by_the_flag() {
    let outlive = |patience: &Patience, times: usize| {
        let mut calls = 0;
        patience.run(passes, || {
            calls += 1;
            if calls <= times { Err(Errno::HOSTDOWN.into()) } else { Ok(calls) }
        })
    };
    let patience = Patience::new(Duration::from_secs(60), &Cancel::new());
    assert_eq!(outlive(&patience, 4).unwrap(), 5);
    let hasty = Patience::new(Duration::from_millis(20), &Cancel::new());
    assert_eq!(outlive(&hasty, usize::MAX).unwrap_err().raw_os_error(), Some(Errno::HOSTDOWN.raw_os_error()));
    let cancel = Cancel::new();
    cancel.cancel("enough");
    patience.obey(&cancel);
    assert!(outlive(&patience, 1).is_err(), "who was told to stop waits for nothing");
    assert!(patience.shared.state().operations.is_empty());
    assert_eq!((patience.given_up(), hasty.given_up()), (1, 1));
}

#[test]
fn a_storage_that_is_away_is_not_waited_for_by_each_operation_anew() {
    let patience = Patience::new(Duration::from_millis(300), &Cancel::new());
    let calls = std::cell::Cell::new(0);
    let mut fail = || {
        calls.set(calls.get() + 1);
        Err::<(), _>(io::Error::from(Errno::HOSTDOWN))
    };
    assert!(patience.run(passes, &mut fail).is_err());
    assert!(patience.run(passes, &mut fail).is_err());
    let before = calls.get();
    assert!(patience.run(passes, &mut fail).is_err());
    assert_eq!(calls.get(), before + 1, "the time is up");
    patience.run(passes, || Ok::<_, io::Error>(())).unwrap();
    assert!(patience.run(passes, &mut fail).is_err());
    assert!(calls.get() > before + 2, "it has answered: another outage has its own time");
}

#[test]
fn an_outage_is_told_ever_more_rarely_and_its_end_once() {
    let mut teller = Teller { limit: Duration::from_secs(900), told: None };
    let mut operations = BTreeMap::new();
    let ago = |seconds: u64| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
    let failed = |seconds| Operation { begun: ago(seconds), failed: Some((ago(seconds), "down".to_owned())) };
    operations.insert(0, failed(1));
    assert_eq!(teller.look(&operations, false), None);
    operations.insert(0, failed(4));
    let text = teller.look(&operations, false).unwrap();
    assert!(
        text.starts_with("the storage does not answer, trying again, 4") && text.ends_with(": down"),
        "{text}"
    );
    operations.insert(0, failed(5));
    assert_eq!(teller.look(&operations, false), None);
    operations.insert(0, failed(9));
    assert!(teller.look(&operations, false).is_some());
    operations.clear();
    assert!(teller.look(&operations, false).unwrap().starts_with("the storage answers again after 9"));
    assert_eq!(teller.look(&operations, false), None);
    operations.insert(0, failed(20));
    assert!(teller.look(&operations, true).is_some());
    operations.clear();
    assert_eq!(teller.look(&operations, true), None, "it was given up");
    operations.insert(1, Operation { begun: ago(61), failed: None });
    assert!(teller.look(&operations, false).unwrap().contains("has not answered yet"));
}
