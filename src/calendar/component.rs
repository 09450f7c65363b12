//! One component of a calendar expression: `*`, or a list of numbers, ranges and repetitions.

/// The numbers that a component matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Component {
    /// Every number.
    Any,
    /// The numbers that at least one of these ranges matches.
    List(Vec<Chain>),
}

/// `START`, `START..END`, `START/STEP` or `START..END/STEP`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chain {
    start: i32,
    /// The last number that may match; `None` for no upper bound.
    end: Option<i32>,
    step: i32,
}

impl Component {
    /// Parses a component whose numbers lie from `low` to `high`.
    pub(super) fn parse(text: &str, low: i32, high: i32) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let chains: Result<Vec<Chain>, String> =
            text.split(',').map(|part| Chain::parse(part, low, high)).collect();
        Ok(Self::List(chains?))
    }

    /// Whether it matches this number.
    pub(super) fn matches(&self, number: i32) -> bool {
        match self {
            Self::Any => true,
            Self::List(chains) => chains.iter().any(|chain| chain.matches(number)),
        }
    }

    /// Whether it matches this day of a month with `days` days when it counts from the end, where 1 is the last day. A
    /// repetition goes towards the end.
    pub(super) fn matches_from_end(&self, day: i32, days: i32) -> bool {
        match self {
            Self::Any => true,
            Self::List(chains) => chains.iter().any(|chain| {
                let start = days - chain.start + 1;
                let end = chain.end.map_or(days, |end| days - end + 1);
                let (start, end) = (start.min(end), start.max(end));
                (start..=end).contains(&day) && (day - start) % chain.step == 0
            }),
        }
    }

    /// The numbers from `low` to `high` that it matches, ascending.
    pub(super) fn within(&self, low: i32, high: i32) -> Vec<i32> {
        (low..=high).filter(|number| self.matches(*number)).collect()
    }
}

impl Chain {
    fn parse(text: &str, low: i32, high: i32) -> Result<Self, String> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (text, None),
        };
        if step == Some(0) {
            return Err(format!("{text:?} has a repetition of 0, which must be 1 or more"));
        }
        let bounded = |text: &str| {
            let value = number(text)?;
            if (low..=high).contains(&value) {
                return Ok(value);
            }
            Err(format!("{value} is not from {low} to {high}"))
        };
        let chain = match (range.split_once(".."), range) {
            (Some((start, end)), _) => {
                let (start, end) = (bounded(start)?, bounded(end)?);
                if end < start {
                    return Err(format!("the end of {range:?} is before its start"));
                }
                Self { start, end: Some(end), step: step.unwrap_or(1) }
            }
            (None, "*") => return Err(format!("instead of {text:?} write the first number, as in {low}/2")),
            (None, _) => {
                let start = bounded(range)?;
                Self { start, end: step.is_none().then_some(start), step: step.unwrap_or(1) }
            }
        };
        Ok(chain)
    }

    fn matches(&self, number: i32) -> bool {
        number >= self.start
            && self.end.is_none_or(|end| number <= end)
            && (number - self.start) % self.step == 0
    }
}

fn number(text: &str) -> Result<i32, String> {
    if text.is_empty() || text.len() > 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text:?} is not a number"));
    }
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}
