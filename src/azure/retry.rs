//! When a request that failed is sent again.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::failure::Failure;

/// How long the client waits, and how often it tries. Tests shorten it.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The most often that one request is sent.
    pub tries: u32,
    /// After this time from the first try there is no further one.
    pub total: Duration,
    /// The pause before the second try; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause, unless the service asks for a longer one.
    pub longest_pause: Duration,
    /// How long setting up a connection may take.
    pub connect: Duration,
    /// How long an answer may take to begin, once the request is sent.
    pub first_byte: Duration,
    /// How long an answer may stand still.
    pub idle: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            tries: 6,
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
    /// do not come back together.
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1_u32 << failures.saturating_sub(1).min(16));
        let full = doubled.min(self.longest_pause);
        let chance = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        full.mul_f64(0.5 + chance / 2.0)
    }
}

/// The tries of one request.
pub(super) struct Course<'a> {
    policy: &'a Policy,
    begin: Instant,
    failures: u32,
}

impl<'a> Course<'a> {
    pub(super) fn new(policy: &'a Policy) -> Self {
        Self { policy, begin: Instant::now(), failures: 0 }
    }

    /// The number of the try that is under way or, after the last one, was.
    pub(super) fn tries(&self) -> u32 {
        (self.failures + 1).min(self.policy.tries.max(1))
    }

    /// How long to wait before the next try; none if this failure is final.
    pub(super) fn pause(&mut self, failure: &Failure) -> Option<Duration> {
        if !failure.is_transient() || failure.is_settled() || self.failures + 1 >= self.policy.tries {
            return None;
        }
        let own = self.policy.pause(self.failures + 1);
        let pause = failure.wait().map_or(own, |asked| asked.max(own));
        if self.begin.elapsed() + pause > self.policy.total {
            return None;
        }
        self.failures += 1;
        Some(pause)
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
    use crate::azure::auth::http_date;

    #[test]
    fn pauses_grow_and_end() {
        let policy = Policy { tries: 4, ..Policy::default() };
        let (busy, mut course) = (Failure::broken("x", "y", true), Course::new(&policy));
        for (try_, seconds) in [(1, 1.0), (2, 2.0), (3, 4.0)] {
            assert_eq!(course.tries(), try_);
            let pause = course.pause(&busy).unwrap().as_secs_f64();
            assert!((seconds / 2.0..=seconds).contains(&pause), "{pause}");
        }
        assert_eq!((course.pause(&busy), course.tries()), (None, 4));
        assert_eq!(Course::new(&policy).pause(&Failure::broken("x", "y", false)), None);
        let hasty = Policy { total: Duration::from_millis(100), ..policy };
        assert_eq!(Course::new(&hasty).pause(&busy), None, "the time is up");
        assert!(Policy::default().pause(40) <= Duration::from_secs(30));
    }

    #[test]
    fn the_service_says_how_long() {
        let ask = |name: &'static str, value: &str| {
            let value = value.to_owned();
            asked_wait(&|wanted| (wanted == name).then_some(value.as_str()))
        };
        assert_eq!(ask("x-ms-retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(ask("retry-after", " 7 "), Some(Duration::from_secs(7)));
        let date = http_date(Timestamp::now() + Duration::from_secs(60));
        let wait = ask("retry-after", &date).unwrap();
        assert!((58..=60).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(ask("retry-after", "Tue, 07 Jul 2009 02:08:05 GMT"), None, "that is over");
        assert_eq!(ask("retry-after", "soon"), None);
    }
}
