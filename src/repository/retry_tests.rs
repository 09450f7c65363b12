use std::io;

use rustix::io::Errno;

use super::*;
use crate::repository::transient::passes;

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
fn an_outage_is_waited_for_once_and_not_by_each_operation() {
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
fn an_outage_is_reported_less_and_less_often_and_its_end_once() {
    let mut teller = Reporter { limit: Duration::from_secs(900), told: None };
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
    assert!(teller.look(&operations, true).unwrap().starts_with("the storage answers again after 9"));
    assert_eq!(teller.look(&operations, false), None);
    operations.insert(0, failed(20));
    assert!(teller.look(&operations, false).is_some());
    operations.clear();
    assert_eq!(teller.look(&operations, false), None, "it was given up");
    operations.insert(1, Operation { begun: ago(61), failed: None });
    assert!(teller.look(&operations, false).unwrap().contains("has not answered yet"));
}

#[test]
fn the_success_of_another_operation_does_not_end_an_outage() {
    let patience = Patience::new(Duration::from_millis(20), &Cancel::new());
    let fail = || Err::<(), _>(io::Error::from(Errno::IO));
    assert!(patience.run(passes, fail).is_err());
    patience.run(passes, || Ok::<_, io::Error>(())).unwrap();
    assert!(!patience.shared.state().recovered, "what failed has been given up");
    let mut first = true;
    let again = || if std::mem::take(&mut first) { fail() } else { Ok(()) };
    patience.run(passes, again).unwrap();
    assert!(patience.shared.state().recovered);
}

#[test]
fn an_operation_without_an_answer_is_abandoned_after_its_limit_or_when_the_work_is_stopped() {
    let cancel = Cancel::new();
    let patience = Patience::new(Duration::from_millis(20), &cancel);
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let silence = patience.answered(Duration::from_millis(50), move || held.recv()).unwrap_err();
    assert!(silence.to_string().starts_with("no answer within"), "{silence}");
    assert_eq!(patience.answered(Duration::from_secs(60), || 7).unwrap(), 7);
    let (other, held) = std::sync::mpsc::channel::<()>();
    cancel.cancel("enough");
    assert!(patience.answered(Duration::from_secs(3600), move || held.recv()).is_err());
    // On a busy machine the answering thread may start too late: then try again.
    let answers =
        (0..50).any(|_| patience.answered(Duration::from_secs(60), || 7).is_ok_and(|answer| answer == 7));
    assert!(answers, "what answers at once still does");
    drop((hold, other));
}
