//! When a request that failed is sent again.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::failure::Failure;

/// After this number of bytes a connection counts as working, and the pauses start again.
const PROGRESS: u64 = 1024 * 1024;
/// The longest pause that a service may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(15 * 60);

/// Timeouts and retries of the client. Tests shorten them.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long a request that fails is tried again: after this time from the first try there is no further one, unless
    /// the service requests a longer pause: one pause of up to 15 minutes is granted. Reading a content is continued for the same time
    /// after its last byte.
    pub total: Duration,
    /// The pause before the second try; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause, unless the service asks for a longer one.
    pub longest_pause: Duration,
    /// How long setting up a connection may take.
    pub connect: Duration,
    /// How long an answer may take to begin, once the request is sent.
    pub first_byte: Duration,
    /// The maximum time without a byte of an answer.
    pub idle: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(300),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            connect: Duration::from_secs(30),
            first_byte: Duration::from_secs(100),
            idle: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// The pause after so many failures: twice as long each time, and half of it by chance, so that many clients
    /// do not retry at the same time.
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1_u32 << failures.saturating_sub(1).min(16));
        let full = doubled.min(self.longest_pause);
        let chance = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        full.mul_f64(0.5 + chance / 2.0)
    }

    /// The pause after so many failures, the first of which began at `begin`; none if this failure is final. The last
    /// try is made when the time is up. A service that asks to wait is not asked earlier, and once, as `extended` notes, it
    /// may ask for longer than there is time.
    fn pause_within(
        &self,
        failures: u32,
        failure: &Failure,
        begin: Instant,
        extended: &mut bool,
    ) -> Option<Duration> {
        if !failure.is_transient() {
            return None;
        }
        let left = self.total.saturating_sub(begin.elapsed());
        let asked = failure.wait().unwrap_or_default();
        if asked > left {
            let granted = asked <= LONGEST_ASKED && !std::mem::replace(extended, true);
            return granted.then_some(asked);
        }
        let own = self.pause(failures).min(left);
        (!left.is_zero()).then(|| asked.max(own))
    }
}

/// The tries of one request.
pub(super) struct Course<'a> {
    policy: &'a Policy,
    begin: Instant,
    failures: u32,
    /// Whether a pause beyond the time limit was granted.
    extended: bool,
}

impl<'a> Course<'a> {
    pub(super) fn new(policy: &'a Policy) -> Self {
        Self { policy, begin: Instant::now(), failures: 0, extended: false }
    }

    /// The number of the current or last attempt.
    pub(super) fn tries(&self) -> u32 {
        self.failures + 1
    }

    /// The time since the first attempt.
    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// How long to wait before the next try; none if this failure is final.
    pub(super) fn pause(&mut self, failure: &Failure) -> Option<Duration> {
        let pause = self.policy.pause_within(self.failures + 1, failure, self.begin, &mut self.extended)?;
        self.failures += 1;
        Some(pause)
    }
}

/// Interruptions of one content that is read with reconnects.
#[derive(Debug, Default)]
pub(super) struct Breaks {
    count: u32,
    /// Bytes that came since the last break.
    came: u64,
    /// The time of the first interruption after the last byte.
    since: Option<Instant>,
    /// Whether the service was granted a pause beyond the time since then.
    extended: bool,
}

impl Breaks {
    /// Records received bytes.
    pub(super) fn came(&mut self, bytes: usize) {
        self.came += bytes as u64;
        (self.since, self.extended) = (None, false);
    }

    /// How long to wait before going on; none if this failure is final.
    pub(super) fn pause(&mut self, policy: &Policy, failure: &Failure) -> Option<Duration> {
        if self.came >= PROGRESS {
            self.count = 0;
        }
        (self.came, self.count) = (0, self.count + 1);
        let since = *self.since.get_or_insert_with(Instant::now);
        // The first interruption is often only a closed connection: continue at once.
        if self.count == 1 && failure.is_transient() && failure.wait().is_none() {
            return Some(Duration::ZERO);
        }
        policy.pause_within(self.count, failure, since, &mut self.extended)
    }
}

/// How long an answer's headers ask to wait: milliseconds, seconds, or until a date.
pub(super) fn asked_wait<'a>(header: &dyn Fn(&str) -> Option<&'a str>) -> Option<Duration> {
    for name in ["x-ms-retry-after-ms", "retry-after-ms"] {
        if let Some(milliseconds) = header(name).and_then(|text| text.trim().parse().ok()) {
            return Some(Duration::from_millis(milliseconds));
        }
    }
    let text = header("retry-after")?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Duration::try_from(date.duration_since(Timestamp::now())).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::azure::{
        refusal,
        request::{Endpoint, Request, Service},
    };

    fn policy(total: u64) -> Policy {
        Policy { total: Duration::from_millis(total), ..Policy::default() }
    }

    #[test]
    fn pauses_grow_until_the_time_is_up() {
        let policy = Policy::default();
        let (busy, mut course) = (Failure::broken("x", "y", true), Course::new(&policy));
        for (try_, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 16.0), (6, 30.0), (7, 30.0)] {
            assert_eq!(course.tries(), try_);
            let pause = course.pause(&busy).unwrap().as_secs_f64();
            assert!((seconds / 2.0..=seconds).contains(&pause), "{pause}");
        }
        assert_eq!(Course::new(&policy).pause(&Failure::broken("x", "y", false)), None);
        assert_eq!(Course::new(&policy).pause(&busy.clone().settle()), None);
        let hasty = self::policy(100);
        let mut course = Course::new(&hasty);
        let last = course.pause(&busy).unwrap();
        assert!(last <= Duration::from_millis(100), "the last try is at the end of the time: {last:?}");
        std::thread::sleep(Duration::from_millis(101));
        assert_eq!((course.pause(&busy), course.tries()), (None, 2), "the time is up");
        assert!(Policy::default().pause(40) <= Duration::from_secs(30));
    }

    #[test]
    fn what_the_service_asks_for_is_waited_for_if_there_is_time() {
        let busy = |seconds| {
            let endpoint = Endpoint::parse(Service::Blob, "https://host").unwrap();
            let request = Request::new(reqwest::Method::GET, &endpoint, &["c"]).unwrap();
            refusal::failure(&request, 503, None, Some(Duration::from_secs(seconds)), b"")
        };
        let policy = Policy::default();
        assert_eq!(Course::new(&policy).pause(&busy(120)), Some(Duration::from_secs(120)));
        assert_eq!(Course::new(&policy).pause(&busy(901)), None);
        // Once it may be longer than the time of a request.
        let mut course = Course::new(&policy);
        assert_eq!(course.pause(&busy(900)), Some(Duration::from_secs(900)));
        assert_eq!((course.pause(&busy(301)), course.tries()), (None, 2));
        assert!(course.pause(&busy(1)).is_some(), "within the time it is always kept");
        let hasty = self::policy(0);
        let mut late = Course::new(&hasty);
        assert_eq!((late.pause(&busy(7)), late.pause(&busy(7))), (Some(Duration::from_secs(7)), None));
        assert_eq!(late.pause(&busy(0)), None, "the time is up");
        let mut breaks = Breaks::default();
        assert_eq!(breaks.pause(&policy, &busy(600)), Some(Duration::from_secs(600)));
        assert_eq!(breaks.pause(&policy, &busy(600)), None);
        breaks.came(1);
        assert_eq!(breaks.pause(&policy, &busy(600)), Some(Duration::from_secs(600)), "it went on meanwhile");
        let pause = Course::new(&policy).pause(&busy(0)).unwrap();
        assert!(pause >= Duration::from_millis(500), "never shorter than our own: {pause:?}");
        let given_up = busy(1200).after(1, Duration::ZERO).settle().to_string();
        assert!(given_up.ends_with("(the service asked to wait 1200 s)"), "{given_up}");
    }

    #[test]
    fn breaks_are_counted_from_the_last_byte() {
        let policy = policy(50);
        let (broken, mut breaks) = (Failure::broken("x", "y", true), Breaks::default());
        assert_eq!(breaks.pause(&policy, &broken), Some(Duration::ZERO), "a closed connection");
        assert!(breaks.pause(&policy, &broken).is_some());
        std::thread::sleep(Duration::from_millis(51));
        assert_eq!(breaks.pause(&policy, &broken), None);
        breaks.came(1);
        assert!(breaks.pause(&policy, &broken).unwrap() > Duration::ZERO, "little came: it is slow to go on");
        breaks.came(2 * 1024 * 1024);
        assert_eq!(breaks.pause(&policy, &broken), Some(Duration::ZERO));
        assert_eq!(Breaks::default().pause(&policy, &Failure::local("x")), None);
    }

    #[test]
    fn the_service_says_how_long() {
        let ask = |name: &'static str, value: &str| {
            let value = value.to_owned();
            asked_wait(&|wanted| (wanted == name).then_some(value.as_str()))
        };
        assert_eq!(ask("x-ms-retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(ask("retry-after", " 7 "), Some(Duration::from_secs(7)));
        let date =
            (Timestamp::now() + Duration::from_secs(60)).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let wait = ask("retry-after", &date).unwrap();
        assert!((58..=60).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(ask("retry-after", "Tue, 07 Jul 2009 02:08:05 GMT"), None, "that is over");
        assert_eq!(ask("retry-after", "soon"), None);
    }
}
