//! The service principal against the fake: what it sees of a tenant, which credential it uses, and what refusals say.

use std::io::Read;

use testkit::azure::{
    CLIENT, FakeAzure, Fault, ListKeys, MANAGEMENT_SCOPE, SECRET, STORAGE_SCOPE, Server, TENANT,
};
use tik_backup::{
    azure::{Account, Azure, Credential, Engine, Settings, Subscription, files::FileService},
    error::Result,
    settings::Secret,
    stream::cancel::Cancel,
};

use super::files_support::{quick, snapshot};

fn settings(azure: &FakeAzure) -> Settings {
    Settings {
        tenant: TENANT.to_owned(),
        client_id: CLIENT.to_owned(),
        client_secret: Secret::new(SECRET.to_owned()),
        authority: azure.url(),
        management: azure.url(),
        management_scope: MANAGEMENT_SCOPE.to_owned(),
        storage_scope: STORAGE_SCOPE.to_owned(),
    }
}

fn principal(azure: &FakeAzure) -> Azure {
    Azure::with_policy(settings(azure), quick()).unwrap()
}

fn only_account(principal: &Azure) -> Result<Account> {
    let cancel = Cancel::new();
    let subscription: Subscription = principal.subscriptions(&cancel)?.remove(0);
    Ok(principal.storage_accounts(&subscription, &cancel)?.remove(0))
}

#[test]
fn all_pages_of_a_tenant_are_seen_each_time() {
    let azure = FakeAzure::start();
    let ids: Vec<_> = (0..5).map(|at| azure.add_subscription(&format!("Subscription {at}"))).collect();
    for name in ["one", "two", "three"] {
        azure.add_account(azure.new_account(name, &ids[1]));
    }
    for (provider, name) in [("Microsoft.DBforPostgreSQL", "pg"), ("Microsoft.DBforMySQL", "my")] {
        azure.add_server(Server {
            provider: provider.to_owned(),
            subscription: ids[2].clone(),
            name: name.to_owned(),
            host: format!("{name}.example.net"),
            version: "16".to_owned(),
            state: "Ready".to_owned(),
        });
    }
    let (principal, cancel) = (principal(&azure), Cancel::new());
    let subscriptions = principal.subscriptions(&cancel).unwrap();
    assert_eq!(subscriptions.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), ids);
    let names = || -> Vec<String> {
        let accounts = principal.storage_accounts(&subscriptions[1], &cancel).unwrap();
        accounts.into_iter().map(|account| account.name).collect()
    };
    assert_eq!(names(), ["one", "two", "three"]);
    azure.remove_account("two");
    azure.add_account(azure.new_account("new", &ids[1]));
    assert_eq!(names(), ["one", "three", "new"]);
    for (engine, host) in [(Engine::Postgres, "pg.example.net"), (Engine::Mysql, "my.example.net")] {
        let servers = principal.flexible_servers(engine, &subscriptions[2], &cancel).unwrap();
        assert_eq!(servers.iter().map(|server| server.host.as_str()).collect::<Vec<_>>(), [host]);
    }
    assert_eq!(azure.count("Token"), 1, "one token serves all");
}

#[test]
fn a_key_is_used_where_it_may_be_and_else_a_token() {
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("Production");
    azure.add_account(azure.new_account("acct", &subscription));
    azure.add_share("acct", "docs");
    let (principal, cancel) = (principal(&azure), Cancel::new());
    let shares = |credential: Credential| {
        let account = only_account(&principal).unwrap();
        let endpoint = account.file_endpoint.unwrap();
        let files = FileService::new(principal.http(), &endpoint, &account.name, credential).unwrap();
        files.shares(&cancel).unwrap().len()
    };
    let credential = || principal.credential(&only_account(&principal).unwrap(), &cancel).unwrap();
    let key = credential();
    assert!(matches!(key, Credential::Key { .. }) && key.note().is_none());
    assert_eq!(shares(key.clone()), 1);
    for refuse in [ListKeys::Forbidden, ListKeys::Locked] {
        azure.change_account("acct", |account| account.list_keys = refuse);
        let token = credential();
        assert!(matches!(token, Credential::Bearer { .. }), "{refuse:?}");
        assert!(token.note().is_some(), "{refuse:?}: it must be said why");
        assert_eq!(shares(token), 1);
    }
    azure.change_account("acct", |account| account.shared_key = Some(false));
    assert!(matches!(credential(), Credential::Bearer { .. }));
    assert_eq!(shares(key), 1, "a key that is forbidden meanwhile gives way to a token");
}

#[test]
fn refused_tokens_say_which_setting_is_wrong() {
    let azure = FakeAzure::start();
    azure.add_subscription("Production");
    type Change<'a> = &'a dyn Fn(&mut Settings);
    let changes: [(Change<'_>, &str, &str); 3] = [
        (&|set| set.client_secret = Secret::new("hunter2".to_owned()), "AADSTS7000215", "secret is wrong"),
        (&|set| set.client_id = TENANT.to_owned(), "AADSTS700016", "client id"),
        (&|set| set.tenant = CLIENT.to_owned(), "AADSTS90002", "tenant id"),
    ];
    let refusal = |settings: Settings| {
        let azure = Azure::with_policy(settings, quick()).unwrap();
        azure.subscriptions(&Cancel::new()).unwrap_err()
    };
    for (change, code, hint) in changes {
        let mut settings = settings(&azure);
        change(&mut settings);
        let error = refusal(settings);
        assert!(error.summary().contains(code), "{error}");
        assert!(error.hint_text().unwrap().contains(hint), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    azure.set_secret_expired(true);
    let error = refusal(settings(&azure));
    assert!(error.hint_text().unwrap().contains("expired"), "{error}");
    assert!(!error.to_string().contains(SECRET), "{error}");
}

#[test]
fn a_link_to_another_server_gets_no_token() {
    let azure = FakeAzure::start();
    for name in ["a", "b", "c"] {
        azure.add_subscription(name);
    }
    let other = FakeAzure::start();
    azure.set_next_link_base(&other.url());
    let error = principal(&azure).subscriptions(&Cancel::new()).unwrap_err();
    assert!(error.summary().contains("another host"), "{error}");
    assert_eq!(other.requests().len(), 0);
}

#[test]
fn a_busy_service_is_asked_again_and_a_refusal_is_not() {
    let azure = FakeAzure::start();
    azure.add_subscription("Production");
    azure.fault(Fault::answer("GET", "/subscriptions", 429, "TooManyRequests").header("Retry-After", "0"));
    azure.fault(Fault::hangup("GET", "/subscriptions"));
    azure.fault(Fault::answer("POST", "/token", 503, "ServiceUnavailable"));
    let principal = principal(&azure);
    assert_eq!(principal.subscriptions(&Cancel::new()).unwrap().len(), 1);
    assert_eq!(azure.requests().len(), 5, "two for the token, three for the list");
    azure.fault(Fault::answer("GET", "/subscriptions", 403, "AuthorizationFailed"));
    let error = principal.subscriptions(&Cancel::new()).unwrap_err();
    assert!(error.hint_text().unwrap().contains("Reader"), "{error}");
    assert_eq!(azure.requests().len(), 6);
}

#[test]
fn keys_that_are_rotated_in_the_middle_are_asked_for_again() {
    let azure = FakeAzure::start();
    let subscription = azure.add_subscription("Production");
    azure.add_account(azure.new_account("acct", &subscription));
    azure.add_share("acct", "docs");
    azure.put_file("acct", "docs", "big", vec![7; 3_000_000]);
    let (principal, cancel) = (principal(&azure), Cancel::new());
    let client = || {
        let account = only_account(&principal).unwrap();
        let credential = principal.credential(&account, &cancel).unwrap();
        let endpoint = account.file_endpoint.unwrap();
        FileService::new(principal.http(), &endpoint, &account.name, credential).unwrap()
    };
    let files = client();
    let taken = snapshot(&files);
    azure.fault(Fault::cut("GET", "/docs/big", 1_000_000));
    let (_, mut content) = files.download(&taken, "big", 3_000_000, &cancel).unwrap();
    azure.rotate_key("acct", false);
    let asked = azure.count("ListKeys");
    assert_eq!(content.read_to_end(&mut Vec::new()).unwrap(), 3_000_000, "it goes on with the new key");
    assert_eq!(azure.count("ListKeys"), asked + 1);

    // All that run at the same time go on, and one of them asks.
    let files = client();
    azure.rotate_key("acct", false);
    let asked = azure.count("ListKeys");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(files.clone().shares(&cancel).unwrap().len(), 1));
        }
    });
    assert_eq!(azure.count("ListKeys"), asked + 1);
    azure.rotate_key("acct", true);
    assert_eq!(files.shares(&cancel).unwrap().len(), 1, "the key that is not used does not matter");
    assert_eq!(azure.count("ListKeys"), asked + 1);

    // Where keys may not be listed any more, the second one is still known.
    let files = client();
    azure.change_account("acct", |account| account.list_keys = ListKeys::Forbidden);
    azure.rotate_key("acct", false);
    assert_eq!(files.shares(&cancel).unwrap().len(), 1);
    azure.rotate_key("acct", true);
    let error = files.shares(&cancel).unwrap_err();
    assert!(error.summary().contains("AuthenticationFailed"), "{error}");
    assert!(error.hint_text().unwrap().contains("key"), "{error}");
}
