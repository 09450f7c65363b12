//! Tests of credentials: keys, keys that are rotated, and tokens where there are none.

use super::*;

#[test]
fn without_a_key_the_principals_own_tokens_are_used() {
    let cancel = Cancel::new();
    let keys = "{\"keys\":[{\"keyName\":\"a\",\"value\":\"cmVhZA==\",\"permissions\":\"Read\"},{\"keyName\":\"b\",\
        \"value\":\"aHVudGVyMg==\",\"permissions\":\"FULL\"}]}";
    let server = Server::start([token("T1"), ok(keys)]);
    let credential = server.azure().credential(&account(), &cancel).unwrap();
    let Credential::Key { keys, otherwise } = &credential else { panic!("{credential:?}") };
    let key = keys.current();
    assert_eq!((key.expose(), otherwise.is_some(), credential.note()), ("aHVudGVyMg==", true, None));
    let request = &server.requests()[1];
    assert!(request.starts_with("POST /subscriptions/s/resourceGroups/a%20%28b%29/providers/"), "{request}");
    assert!(
        request.contains("/shop/listKeys?api-version=") && request.contains("content-length: 0"),
        "{request}"
    );

    for (status, code, why) in
        [("403 No", "AuthorizationFailed", "Key Operator"), ("409 Locked", "ScopeLocked", "ReadOnly lock")]
    {
        let body = format!("{{\"error\":{{\"code\":\"{code}\",\"message\":\"m\"}}}}");
        let server = Server::start([token("T1"), answer(status, &body)]);
        let credential = server.azure().credential(&account(), &cancel).unwrap();
        assert!(matches!(&credential, Credential::Bearer { .. }));
        assert!(credential.note().unwrap().contains(why), "{credential:?}");
    }
    let server = Server::start([]);
    let credential = server.azure().credential(&Account { shared_key: false, ..account() }, &cancel).unwrap();
    assert_eq!(credential.note(), Some("the account forbids keys"));
    let server =
        Server::start([token("T1"), answer("404 No", "{\"error\":{\"code\":\"ResourceNotFound\"}}")]);
    assert!(server.azure().credential(&account(), &cancel).is_err(), "a token would not help");
}

/// The answer of Resource Manager with these keys, each full.
fn keys_of(keys: [&str; 2]) -> String {
    let key = |key: &str| format!("{{\"value\":\"{key}\",\"permissions\":\"FULL\"}}");
    ok(&format!("{{\"keys\":[{},{}]}}", key(keys[0]), key(keys[1])))
}

/// What comes of a list of containers when the service answers so, and what was asked for: `K` for the keys, and the
/// signature of each list. The account has first the keys `first` and `second`.
fn with_keys(answers: impl IntoIterator<Item = String>) -> (Result<()>, Vec<String>) {
    let begin = [token("T1"), keys_of(["Zmlyc3Q=", "c2Vjb25k"])];
    let (server, cancel) = (Server::start(begin.into_iter().chain(answers)), Cancel::new());
    let azure = server.azure();
    let credential = azure.credential(&account(), &cancel).unwrap();
    let blobs = azure.blobs(&server.url, "shop", credential).unwrap();
    let listed = blobs.containers(&cancel).map(drop);
    let asked = server.requests().into_iter().skip(2).map(|request| {
        let signature = request.lines().find_map(|line| line.strip_prefix("authorization: SharedKey shop:"));
        signature.map_or("K".to_owned(), str::to_owned)
    });
    (listed, asked.collect())
}

#[test]
fn a_key_that_was_rotated_is_asked_for_again_and_the_second_one_is_tried_too() {
    let refused = || answer("403 No", "<Error><Code>AuthenticationFailed</Code><Message>m</Message></Error>");
    let list = || ok("<EnumerationResults><Containers/></EnumerationResults>");
    let same = || keys_of(["Zmlyc3Q=", "c2Vjb25k"]);

    // The first key is new: it signs.
    let (listed, asked) = with_keys([refused(), keys_of(["bmV3", "c2Vjb25k"]), list()]);
    listed.unwrap();
    assert!(asked.len() == 3 && asked[1] == "K" && asked[0] != asked[2], "{asked:?}");
    // Azure names the same ones: the second one signs. So it does if Azure does not name them any more.
    for keys in [same(), answer("403 No", "{\"error\":{\"code\":\"AuthorizationFailed\",\"message\":\"m\"}}")]
    {
        let (listed, asked) = with_keys([refused(), keys, list()]);
        listed.unwrap();
        assert!(asked.len() == 3 && asked[1] == "K" && asked[0] != asked[2], "{asked:?}");
    }
    // A new key may take a moment until all servers know it.
    let (listed, _) = with_keys([refused(), same(), refused(), list()]);
    listed.unwrap();
    // All stay refused: it may be the clock, and Azure is not asked without end.
    let (listed, asked) = with_keys(
        [(); 12]
            .map(|()| refused())
            .into_iter()
            .enumerate()
            .map(|(at, answer)| if at == 1 { same() } else { answer })
            .collect::<Vec<_>>(),
    );
    let error = listed.unwrap_err();
    assert!(error.summary().contains("403 AuthenticationFailed"), "{error}");
    assert!(error.hint_text().unwrap().contains("clock"), "{error}");
    assert!(asked.iter().filter(|key| *key == "K").count() == 1 && asked.len() < 10, "{asked:?}");

    // A key that was given is the only one.
    let server = Server::start([refused(), list()]);
    let key = Credential::from_key(Secret::new("Zmlyc3Q=".into()));
    let blobs = server.azure().blobs(&server.url, "shop", key).unwrap();
    assert!(blobs.containers(&Cancel::new()).is_err());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_account_that_begins_to_forbid_keys_is_read_with_tokens() {
    let keys = ok("{\"keys\":[{\"value\":\"aHVudGVyMg==\",\"permissions\":\"Full\"}]}");
    let no = "<Error><Code>KeyBasedAuthenticationNotPermitted</Code><Message>m</Message></Error>";
    let list = "<EnumerationResults><Containers/></EnumerationResults>";
    let answers = [token("T1"), keys, answer("403 No", no), token("T2"), ok(list), ok(list)];
    let (server, cancel) = (Server::start(answers), Cancel::new());
    let azure = server.azure();
    let credential = azure.credential(&account(), &cancel).unwrap();
    let blobs = azure.blobs(&server.url, "shop", credential).unwrap();
    assert_eq!(blobs.containers(&cancel).unwrap(), []);
    assert_eq!(blobs.clone().containers(&cancel).unwrap(), []);
    let requests = server.requests();
    assert!(requests[2].contains("authorization: SharedKey shop:"), "{}", requests[2]);
    assert!(requests[3].ends_with("scope=https%3A%2F%2Fstorage.azure.com%2F.default"), "{}", requests[3]);
    assert!(
        requests[4].contains("authorization: Bearer T2") && requests[5].contains("authorization: Bearer T2")
    );
}

#[test]
fn after_keys_that_were_replaced_a_token_that_is_too_old_is_replaced_too() {
    let no = |status: &str, code: &str| {
        answer(status, &format!("<Error><Code>{code}</Code><Message>m</Message></Error>"))
    };
    let (listed, asked) = with_keys([
        no("403 No", "AuthenticationFailed"),
        keys_of(["bmV3", "c2Vjb25k"]),
        no("403 No", "AuthenticationFailed"),
        no("403 No", "KeyBasedAuthenticationNotPermitted"),
        token("T2"),
        no("401 No", "InvalidAuthenticationInfo"),
        token("T3"),
        ok("<EnumerationResults><Containers/></EnumerationResults>"),
    ]);
    listed.unwrap();
    assert_eq!(asked.len(), 8, "{asked:?}");
}
