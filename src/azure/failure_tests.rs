//! What messages say, and what failures are about.

use super::*;
use crate::azure::{
    refusal,
    request::{Endpoint, Request},
};
use reqwest::Method;

fn refused(service: Service, code: Option<&str>, body: &[u8]) -> Failure {
    let endpoint = Endpoint::parse(service, "https://host").unwrap();
    let request = Request::new(Method::GET, &endpoint, &["c"]).unwrap();
    refusal::failure(&request, 403, code, None, body)
}

#[test]
fn code_and_message_are_found_in_every_form() {
    for (body, code, message) in [
        ("<Error><Code>A</Code><Message>m &amp; n\nRequestId:1</Message></Error>", Some("A"), "A: m & n"),
        ("{\"error\":{\"code\":\"A\",\"message\":\"m\"}}", Some("A"), "A: m"),
        ("{\"code\":\"A\",\"message\":\"m\"}", Some("A"), "A: m"),
        ("{\"error\":\"A\",\"error_description\":\"m\"}", Some("A"), "A: m"),
        ("{\"error\":\"x\",\"error_description\":\"AADSTS1: m\\r\\nn\"}", Some("AADSTS1"), "AADSTS1: m"),
        ("<html><body>proxy</html>", None, ""),
        ("{", None, ""),
        ("proxy", None, ""),
        ("", None, ""),
    ] {
        let failure = refused(Service::Blob, None, body.as_bytes());
        assert_eq!(failure.code(), code, "{body}");
        let expected = format!("GET https://host/c: refused with status 403 {message}");
        assert_eq!(failure.to_string(), expected.trim_end(), "{body}");
    }
    let failure = refused(Service::Blob, Some("B"), b"<Error><Code>A</Code></Error>");
    assert!(failure.is("b") && !failure.is("A"), "the header goes before the body");
    let long = format!("<Error><Code>A</Code><Message>{}\u{1b}[0m</Message></Error>", "ü".repeat(999));
    assert!(refused(Service::Blob, None, long.as_bytes()).to_string().chars().count() < 500);
}

#[test]
fn known_codes_are_told_in_one_sentence_with_what_to_do() {
    let of = |status, code: &str| {
        let endpoint = Endpoint::parse(Service::Blob, "https://host").unwrap();
        let request = Request::new(Method::GET, &endpoint, &["c", "b"]).unwrap();
        refusal::failure(&request, status, Some(code), None, b"<Error><Message>raw</Message></Error>")
    };
    let failure = of(409, "BlobUsesCustomerSpecifiedEncryption");
    let sentence = "it is encrypted with a key that its writer keeps (customer-provided key)";
    assert_eq!((failure.reason().as_str(), failure.scope()), (sentence, Scope::Object));
    let error = Error::from(failure);
    let whole = format!("GET https://host/c/b: {sentence} (status 409 BlobUsesCustomerSpecifiedEncryption)");
    assert_eq!(error.summary(), whole);
    assert!(error.hint_text().unwrap().contains("exclude it"), "{error}");
    let unknown = of(409, "Odd").about("cannot read it");
    assert_eq!(unknown.reason(), "refused with status 409 Odd: raw");
    assert!(Error::from(unknown).summary().starts_with("cannot read it: GET https://host/c/b: refused"));
    for (status, code, scope) in [
        (404, "BlobNotFound", Scope::Object),
        (404, "", Scope::Object),
        (404, "ContainerNotFound", Scope::Service),
        (412, "LeaseIdMissing", Scope::Object),
        (409, "BlobImmutableDueToPolicy", Scope::Object),
        (403, "AuthorizationPermissionMismatch", Scope::Object),
        (403, "AuthorizationFailure", Scope::Service),
        (403, "AuthenticationFailed", Scope::Service),
        (401, "", Scope::Service),
        (302, "", Scope::Service),
        (400, "OutOfRangeInput", Scope::Object),
        (500, "InternalError", Scope::Passing),
        (503, "ServerBusy", Scope::Passing),
    ] {
        let failure = of(status, code);
        assert_eq!(failure.scope(), scope, "{status} {code}");
        assert_eq!(failure.is_gone(), status == 404 && scope == Scope::Object, "{status} {code}");
        assert_eq!(failure.settle().scope(), scope, "the end of the tries changes nothing");
    }
    assert_eq!(Failure::local("x").scope(), Scope::Service);
    assert_eq!(Failure::local("x").of_object().scope(), Scope::Object);
    assert_eq!(Failure::broken("x", "reset", true).scope(), Scope::Passing);
    assert_eq!(Failure::broken("x", "bad certificate", false).scope(), Scope::Service);
    let changed = Failure::changed("GET x", "it is shorter");
    assert!(changed.is_changed() && !changed.is_transient() && changed.scope() == Scope::Object);
    assert_eq!(Error::from(changed).summary(), "GET x: it is shorter");
    let forbidden = of(403, "InsufficientAccountPermissions");
    assert!(forbidden.reason().starts_with("the credential does not permit this"), "{forbidden}");
    assert!(Error::from(forbidden).hint_text().unwrap().contains("Storage Blob Data Reader"));
    let gone = Error::from(of(404, "ContainerNotFound"));
    assert!(gone.hint_text().unwrap().contains("may have been deleted or renamed"), "{gone}");
    let management = refused(Service::Management, Some("ResourceNotFound"), b"");
    assert_eq!(management.scope(), Scope::Service);
    assert!(management.to_string().ends_with("refused with status 403 ResourceNotFound"), "{management}");
}

#[test]
fn hints_name_what_is_missing() {
    for (service, code, hint) in [
        (Service::Blob, "AuthorizationFailure", "firewall"),
        (Service::Blob, "AuthorizationPermissionMismatch", "\"Storage Blob Data Reader\""),
        (Service::File, "AuthorizationPermissionMismatch", "\"Storage File Data Privileged Reader\""),
        (Service::Management, "AuthorizationFailed", "Key Operator"),
        (Service::Blob, "AuthenticationFailed", "clock"),
        (Service::File, "KeyBasedAuthenticationNotPermitted", "File Data"),
    ] {
        let error = Error::from(refused(service, Some(code), b""));
        assert!(error.hint_text().unwrap().contains(hint), "{error}");
        let error = Error::from(refused(service, Some(code), b"").hint("nearer"));
        assert_eq!(error.hint_text(), Some("nearer"));
    }
    assert_eq!(Error::from(refused(Service::Blob, Some("Unknown"), b"")).hint_text(), None);
    let ours = Error::usage("ours").hint("mine");
    assert_eq!(Error::from(Failure::from(ours.clone())).to_string(), ours.to_string());
}
