//! A problem and its hint, as they are recorded and shown later.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Error;

/// The separator of the two parts in one text.
const ARROW: &str = "\n  → ";

/// A problem, and what to do about it.
///
/// In JSON, and in the history, it is one text with an arrow between the two.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Problem {
    /// What is wrong.
    pub text: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None }
    }

    /// Sets the hint: what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A problem that was recorded as one text. Only this function splits it.
    pub(crate) fn recorded(text: &str) -> Self {
        match text.split_once(ARROW) {
            Some((text, hint)) => Self::new(text).hint(hint),
            None => Self::new(text),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        Self { text: error.summary(), hint: error.hint_text().map(str::to_owned) }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let error = Self::failed(problem.text);
        match problem.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "{ARROW}{hint}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_comes_back() {
        for problem in [Problem::new("a\nb"), Problem::new("a").hint("first → then"), Problem::default()] {
            assert_eq!(Problem::recorded(&problem.to_string()), problem);
            assert_eq!(Problem::from(Error::from(problem.clone())), problem);
        }
    }

    #[test]
    fn it_is_one_text_in_json_as_errors_are() {
        let error = Error::failed("no room").hint("make some");
        assert_eq!(Problem::from(&error).to_string(), error.to_string());
        assert_eq!(serde_json::to_string(&Problem::from(error)).unwrap(), r#""no room\n  → make some""#);
    }
}
