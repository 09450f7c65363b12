//! Tests of the client against a server that answers as told: tokens, tries, pages, and what messages say.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use reqwest::Method;

use super::{
    http::{Anonymous, Answer},
    request::Request,
    *,
};
use crate::stream::cancel::Cancel;

mod keys;

/// Answers each connection's one request with the next text, and keeps the requests.
#[derive(Clone)]
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// Part of an answer: the server waits here for so long that a client gives up.
const STALL: &str = "<stall>";

impl Server {
    fn start(answers: impl IntoIterator<Item = String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url: url.clone(), requests: Arc::default() };
        let requests = Arc::clone(&server.requests);
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.replace("{url}", &url)).collect();
        thread::spawn(move || {
            for answer in answers {
                let mut stream = listener.accept().unwrap().0;
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !complete(&request) {
                    match stream.read(&mut buffer) {
                        Ok(read @ 1..) => request.extend_from_slice(&buffer[..read]),
                        _ => break,
                    }
                }
                requests.lock().push(String::from_utf8_lossy(&request).into_owned());
                let (now, stall) = answer.split_once(STALL).map_or((&*answer, false), |(now, _)| (now, true));
                stream.write_all(now.as_bytes()).ok();
                if stall {
                    // Kept open by a thread that nobody waits for.
                    thread::spawn(move || {
                        thread::sleep(Duration::from_secs(30));
                        drop(stream);
                    });
                }
            }
        });
        server
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().clone()
    }

    fn azure(&self) -> Azure {
        let public = Settings::public("tenant".into(), "client".into(), Secret::new("hunter2".into()));
        let settings = Settings { authority: self.url.clone(), management: self.url.clone(), ..public };
        Azure::with_policy(settings, quick()).unwrap()
    }

    fn send<T>(&self, read: &mut dyn FnMut(Answer) -> Result<T, Failure>) -> Result<T, Failure> {
        let endpoint = Endpoint::parse(Service::Blob, &self.url).unwrap();
        let request = Request::new(Method::GET, &endpoint, &["c"]).unwrap().query("sig", "hunter2");
        Http::new(quick()).unwrap().exchange(&Anonymous, &request, &Cancel::new(), read)
    }
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn quick() -> Policy {
    let (pause, idle) = (Duration::from_millis(5), Duration::from_millis(300));
    Policy {
        total: Duration::from_millis(1500),
        first_pause: pause,
        longest_pause: 10 * pause,
        idle,
        first_byte: Duration::from_secs(2),
        ..Policy::default()
    }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn token(name: &str) -> String {
    answer(
        "200 OK",
        &format!("{{\"access_token\":\"{name}\",\"expires_in\":3600,\"token_type\":\"Bearer\"}}"),
    )
}

fn ok(body: &str) -> String {
    answer("200 OK", body)
}

fn account() -> Account {
    Account {
        id: "/subscriptions/s/resourceGroups/a (b)/providers/Microsoft.Storage/storageAccounts/shop".into(),
        name: "shop".into(),
        kind: "StorageV2".into(),
        subscription: "Production".into(),
        subscription_id: "s".into(),
        blob_endpoint: None,
        file_endpoint: None,
        hierarchical: false,
        shared_key: true,
    }
}

#[test]
fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    let server = Server::start([answer("503 Busy", ""), String::new(), ok("content")]);
    let (tries, body) = server.send(&mut |answer| Ok((answer.tries(), answer.bytes()?))).unwrap();
    assert_eq!((tries, body.as_slice(), server.requests().len()), (3, b"content".as_slice(), 3));

    let body = "\u{feff}<?xml version=\"1.0\"?><Error><Code>AuthorizationFailure</Code><Message>Not you.\nRequestId:x\
        </Message></Error>";
    let server = Server::start([answer("403 Forbidden", body), ok("")]);
    let failure = server.send(&mut Ok).map(|_| ()).unwrap_err();
    assert_eq!((failure.status(), failure.code()), (Some(403), Some("AuthorizationFailure")));
    assert_eq!(server.requests().len(), 1);
    let error = Error::from(failure);
    let expected = format!("GET {}/c: refused with status 403 AuthorizationFailure: Not you.", server.url);
    assert_eq!(error.summary(), expected);
    assert!(error.hint_text().unwrap().contains("firewall"));

    let server = Server::start((0..1000).map(|_| answer("429 Slow down", "")));
    let begin = Instant::now();
    let failure = server.send(&mut Ok).map(|_| ()).unwrap_err();
    let tried = format!("refused with status 429 (tried {} times in ", server.requests().len());
    assert!(failure.to_string().contains(&tried), "{failure}");
    assert!(server.requests().len() > 10 && begin.elapsed() >= quick().total, "time ends it");
    assert_eq!(failure.scope(), Scope::Passing);
}

#[test]
fn the_service_says_when_to_come_back() {
    let busy = |seconds| {
        format!(
            "HTTP/1.1 503 Busy\r\nRetry-After: {seconds}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
    };
    let server = Server::start([busy(1), ok("content")]);
    let begin = Instant::now();
    assert_eq!(server.send(&mut |answer| answer.bytes()).unwrap(), b"content");
    assert!(begin.elapsed() >= Duration::from_secs(1), "longer than the longest pause of our own");
    let server = Server::start([busy(901), ok("content")]);
    let failure = server.send(&mut Ok).map(|_| ()).unwrap_err();
    assert!(failure.to_string().ends_with("status 503 (the service asked to wait 901 s)"), "{failure}");
    assert_eq!((server.requests().len(), failure.scope()), (1, Scope::Passing));
}

#[test]
fn nobody_there_is_said_without_what_is_secret() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server { url: format!("http://{closed}"), requests: Arc::default() };
    let error = Error::from(server.send(&mut Ok).map(|_| ()).unwrap_err());
    assert!(
        error.summary().contains("Connection refused") && error.summary().contains(" times in "),
        "{error}"
    );
    assert!(!error.to_string().contains("hunter2") && error.hint_text().is_some(), "{error}");
}

#[test]
fn redirects_are_not_followed() {
    let away =
        "HTTP/1.1 302 Found\r\nLocation: {url}/elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let server = Server::start([away.to_owned(), ok("")]);
    assert_eq!(server.send(&mut Ok).map(|_| ()).unwrap_err().status(), Some(302));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_answer_that_stands_still_or_breaks_off_is_asked_for_again() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc";
    let server = Server::start([format!("{half}{STALL}"), half.to_owned(), ok("abcdef")]);
    let begin = Instant::now();
    assert_eq!(server.send(&mut |answer| answer.bytes()).unwrap(), b"abcdef");
    assert!(begin.elapsed() >= Duration::from_millis(300), "it waited for the first");
    let server = Server::start((0..3).map(|_| half.to_owned()));
    assert!(server.send(&mut |answer| answer.bytes()).is_err(), "half is not all");
}

#[test]
fn waiting_ends_when_the_run_is_cancelled() {
    let server = Server::start([STALL.to_owned()]);
    let cancel = Cancel::new();
    let canceller = cancel.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        canceller.cancel("enough");
    });
    let begin = Instant::now();
    let error = server.azure().subscriptions(&cancel).unwrap_err();
    assert_eq!(error.to_string(), "stopped: enough");
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn subscriptions_come_in_pages_with_one_token() {
    let first = "{\"value\":[{\"subscriptionId\":\"1\",\"displayName\":\"One\",\"state\":\"Enabled\"}],\
        \"nextLink\":\"{url}/subscriptions?api-version=x&$skiptoken=a%20b\"}";
    let second = "{\"value\":[{\"subscriptionId\":\"2\"}],\"nextLink\":null}";
    // The length is counted before the address is put in.
    let first = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{first}");
    let server = Server::start([token("T1"), first, ok(second)]);
    let found = server.azure().subscriptions(&Cancel::new()).unwrap();
    let found: Vec<_> = found.iter().map(|s| (s.id.as_str(), s.name.as_str(), s.state.as_str())).collect();
    assert_eq!(found, [("1", "One", "Enabled"), ("2", "2", "")]);
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /tenant/oauth2/v2.0/token HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].ends_with(
        "client_id=client&client_secret=hunter2&grant_type=client_credentials&scope=https%3A%2F%2Fmanagement.azure.com\
         %2F.default"
    ));
    assert!(!requests[0].contains("authorization"));
    assert!(requests[1].starts_with("GET /subscriptions?api-version=2022-12-01 "));
    assert!(requests[2].starts_with("GET /subscriptions?api-version=x&$skiptoken=a%20b "));
    for request in &requests[1..] {
        assert!(request.contains("authorization: Bearer T1\r\n"), "{request}");
    }
}

#[test]
fn a_token_goes_to_no_other_host() {
    let page = "{\"value\":[],\"nextLink\":\"http://127.0.0.1:1/subscriptions\"}";
    let server = Server::start([token("T1"), ok(page)]);
    let error = server.azure().subscriptions(&Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("not sent to another host"), "{error}");
    let page = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"value\":[],\"nextLink\":\"{url}/x\"}";
    let server = Server::start([token("T1"), page.to_owned(), page.to_owned()]);
    let error = server.azure().subscriptions(&Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("its pages repeat"), "{error}");
}

#[test]
fn a_token_that_was_refused_is_replaced_once() {
    let expired =
        answer("401 No", "{\"error\":{\"code\":\"ExpiredAuthenticationToken\",\"message\":\"old\"}}");
    let server = Server::start([token("T1"), expired.clone(), token("T2"), ok("{\"value\":[]}")]);
    assert_eq!(server.azure().subscriptions(&Cancel::new()).unwrap(), []);
    assert!(server.requests()[3].contains("Bearer T2"));
    let refused = [token("T1"), expired.clone(), token("T2"), expired.clone(), token("T3"), expired];
    let server = Server::start(refused);
    let error = server.azure().subscriptions(&Cancel::new()).unwrap_err().to_string();
    assert!(error.contains("401 ExpiredAuthenticationToken: old"), "{error}");
}

#[test]
fn entra_id_says_which_value_is_wrong() {
    for (code, hint) in [
        ("AADSTS7000215", "client secret is wrong"),
        ("AADSTS7000222", "client secret has expired"),
        ("AADSTS700016", "client id is unknown"),
        ("AADSTS90002", "tenant id is wrong"),
        ("AADSTS50034", "check tenant id"),
    ] {
        let body = format!(
            "{{\"error\":\"invalid_client\",\"error_description\":\"{code}: Something about hunter2.\\r\\nTrace ID: 1\"}}"
        );
        let server = Server::start([answer("401 Unauthorized", &body)]);
        let error = server.azure().subscriptions(&Cancel::new()).unwrap_err();
        let expected = format!(
            "POST {}/tenant/oauth2/v2.0/token: refused with status 401 {code}: Something about ***.",
            server.url
        );
        assert_eq!(error.summary(), expected);
        assert!(error.hint_text().unwrap().contains(hint), "{error}");
    }
    let server = Server::start((0..1000).map(|_| answer("503 Busy", "")));
    let begin = Instant::now();
    assert!(server.azure().subscriptions(&Cancel::new()).is_err());
    assert!(begin.elapsed() < 2 * quick().total, "times do not add up: {:?}", begin.elapsed());
}

#[test]
fn accounts_and_servers_are_read_from_what_azure_lists() {
    let accounts = "{\"value\":[{\"id\":\"/s/1\",\"name\":\"shop\",\"kind\":\"StorageV2\",\"location\":\"x\",\"properties\":\
        {\"primaryEndpoints\":{\"blob\":\"https://shop.blob/\",\"dfs\":\"y\"},\"isHnsEnabled\":true,\
        \"allowSharedKeyAccess\":false}},{\"id\":\"/s/2\",\"name\":\"bare\",\"properties\":{}}]}";
    let servers = "{\"value\":[{\"id\":\"/s/3\",\"name\":\"pg\",\"properties\":{\"fullyQualifiedDomainName\":\"pg.x\",\
        \"version\":\"16\",\"state\":\"Ready\"}}]}";
    let none =
        answer("409 No", "{\"error\":{\"code\":\"MissingSubscriptionRegistration\",\"message\":\"m\"}}");
    let server = Server::start([token("T1"), ok(accounts), ok(servers), none]);
    let (azure, cancel) = (server.azure(), Cancel::new());
    let subscription = Subscription { id: "1-2".into(), name: "Production".into(), state: "Enabled".into() };
    let found = azure.storage_accounts(&subscription, &cancel).unwrap();
    assert_eq!((found[0].hierarchical, found[0].shared_key), (true, false));
    assert_eq!((found[1].hierarchical, found[1].shared_key), (false, true));
    assert_eq!(found[0].blob_endpoint.as_deref(), Some("https://shop.blob/"));
    assert_eq!((&found[0].file_endpoint, &found[1].blob_endpoint), (&None, &None));
    assert_eq!((found[0].subscription.as_str(), found[0].subscription_id.as_str()), ("Production", "1-2"));
    let found = azure.flexible_servers(Engine::Postgres, &subscription, &cancel).unwrap();
    let expected = ["/s/3", "pg", "pg.x", "16", "Ready"].map(str::to_owned);
    let [id, name, host, version, state] = expected;
    assert_eq!(found, [FlexibleServer { id, name, host, version, state }]);
    assert_eq!(azure.flexible_servers(Engine::Mysql, &subscription, &cancel).unwrap(), []);
    let requests = server.requests();
    let list = "GET /subscriptions/1-2/providers/Microsoft.Storage/storageAccounts?api-version=";
    assert!(requests[1].starts_with(list), "{}", requests[1]);
    assert!(
        requests[3].starts_with("GET /subscriptions/1-2/providers/Microsoft.DBforMySQL/flexibleServers?")
    );
}

#[test]
fn a_page_that_is_no_list_is_not_an_empty_one() {
    for body in ["<html><body>Welcome</body></html>", "", "{}"] {
        let server = Server::start((0..3).map(|_| ok(body)));
        let key = Credential::from_key(Secret::new("aHVudGVyMg==".into()));
        let blobs = server.azure().blobs(&server.url, "shop", key).unwrap();
        assert!(blobs.containers(&Cancel::new()).is_err(), "{body:?}");
    }
}

#[test]
fn settings_are_checked_and_show_no_secret() {
    let settings =
        |tenant: &str| Settings::public(tenant.into(), "client".into(), Secret::new("hunter2".into()));
    for bad in ["", "..", "a/b", "a b", "ü"] {
        let error = Azure::new(settings(bad)).unwrap_err();
        assert_eq!(error.summary(), "the tenant id is no id", "{bad:?}");
    }
    let plain = settings("contoso.onmicrosoft.com");
    assert!(!format!("{plain:?}{:?}", Azure::new(settings("t")).unwrap()).contains("hunter2"));
    let clear = Settings { authority: "http://login.example.org".into(), ..plain };
    assert!(Azure::new(clear).unwrap_err().to_string().contains("only https"));
}
