//! Simulated failures.

use std::time::Duration;

use super::http::{Request, Response};

/// The effect of a [`Fault`] on a matching request.
#[derive(Debug, Clone)]
enum Action {
    /// This answer instead of the service's own.
    Answer { status: u16, code: String },
    /// This XML, with status 200, instead of the service's own answer.
    Xml(String),
    /// The service's own answer, but the connection ends after this number of bytes of its body.
    Cut(usize),
    /// The connection ends before the request is handled.
    Hangup,
    /// The request is carried out and the connection ends without an answer.
    LoseAnswer,
    /// The service's own answer, this much later.
    Delay(Duration),
}

/// A rule: which requests, which of them by number, and the effect.
#[derive(Debug, Clone)]
pub struct Fault {
    method: String,
    contains: String,
    skip: u32,
    times: u32,
    action: Action,
    headers: Vec<(String, String)>,
}

impl Fault {
    fn new(method: &str, contains: &str, action: Action) -> Self {
        let (method, contains) = (method.to_owned(), contains.to_owned());
        Self { method, contains, skip: 0, times: 1, action, headers: Vec::new() }
    }

    /// Answers the next request of this method (`*`: any) whose path and query contain a text with this status and
    /// error code. Without a code, or with a status below 400, the body is empty.
    pub fn answer(method: &str, contains: &str, status: u16, code: &str) -> Self {
        Self::new(method, contains, Action::Answer { status, code: code.to_owned() })
    }

    /// Answers the next request of this method with status 200 and this XML.
    pub fn xml(method: &str, contains: &str, body: &str) -> Self {
        Self::new(method, contains, Action::Xml(body.to_owned()))
    }

    /// Ends the connection after this number of bytes of the body.
    pub fn cut(method: &str, contains: &str, after: usize) -> Self {
        Self::new(method, contains, Action::Cut(after))
    }

    /// Ends the connection instead of answering.
    pub fn hangup(method: &str, contains: &str) -> Self {
        Self::new(method, contains, Action::Hangup)
    }

    /// Carries the request out but ends the connection instead of answering.
    pub fn lose_answer(method: &str, contains: &str) -> Self {
        Self::new(method, contains, Action::LoseAnswer)
    }

    /// Answers late.
    pub fn delay(method: &str, contains: &str, by: Duration) -> Self {
        Self::new(method, contains, Action::Delay(by))
    }

    /// One more header of [`Fault::answer`].
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the first ones pass.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// For this number of requests instead of one.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    /// For all of them.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    fn matches(&self, request: &Request) -> bool {
        (self.method == "*" || self.method == request.method) && request.target.contains(&self.contains)
    }
}

/// The first rule that applies to a request now; its count goes down.
pub fn take(faults: &mut [Fault], request: &Request) -> Option<Fault> {
    for fault in faults.iter_mut().filter(|fault| fault.matches(request)) {
        if fault.skip > 0 {
            fault.skip -= 1;
        } else if fault.times > 0 {
            if fault.times != u32::MAX {
                fault.times -= 1;
            }
            return Some(fault.clone());
        }
    }
    None
}

/// Answers a request, with the fault if there is one; `None` closes the connection.
pub fn answer(
    fault: Option<Fault>,
    request: &Request,
    refuse: impl Fn(u16, &str) -> Response,
    serve: impl FnOnce(&Request) -> Response,
) -> Option<Response> {
    let Some(fault) = fault else { return Some(serve(request)) };
    match fault.action {
        Action::Hangup => None,
        Action::LoseAnswer => {
            serve(request);
            None
        }
        Action::Delay(by) => {
            std::thread::sleep(by);
            Some(serve(request))
        }
        Action::Cut(after) => {
            let mut response = serve(request);
            response.cut = Some(after);
            Some(response)
        }
        Action::Xml(body) => Some(Response::xml(200, &body)),
        Action::Answer { status, code } => {
            let empty = status < 400 || code.is_empty();
            let mut response = if empty { Response::new(status) } else { refuse(status, &code) };
            response.headers.extend(fault.headers);
            Some(response)
        }
    }
}
