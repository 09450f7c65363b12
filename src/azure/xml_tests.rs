//! What is read of lists, and what of hostile answers is not.

use super::*;

fn read(text: &[u8], name: &str) -> Result<(Rest, Vec<Entry>), Failure> {
    let mut found = Vec::new();
    let rest = list(text, name, &mut |entry| {
        found.push(entry);
        Ok(())
    })?;
    Ok((rest, found))
}

#[test]
fn entries_come_one_by_one_and_the_rest_is_the_root() {
    let text = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults A=\"&lt;1\"><Blobs>\
        <Blob><Name> a&amp;b &#x20AC;\r\n</Name><Metadata><Blob>x</Blob><k/></Metadata></Blob>\
        <Blob><Name Encoded=\"true\">%01%2525</Name></Blob></Blobs><NextMarker>m</NextMarker>\
        </EnumerationResults>";
    let (rest, blobs) = read(text.as_bytes(), "Blobs").unwrap();
    assert_eq!((rest.root.as_str(), rest.has_list), ("EnumerationResults", true));
    assert_eq!(rest.next.as_deref(), Some("m"));
    let names: Vec<_> = blobs.iter().map(|blob| blob.name().unwrap()).collect();
    assert_eq!(names, [" a&b €\r\n", "\u{1}%25"]);
    let metadata: Metadata = blobs[0].read().unwrap();
    let pairs: Vec<_> = metadata.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("Blob", "x"), ("k", "")]);
}

/// An entry's metadata.
#[derive(serde::Deserialize)]
struct Metadata {
    #[serde(rename = "Metadata", default, deserialize_with = "super::metadata")]
    metadata: std::collections::BTreeMap<String, String>,
}

fn only(text: &str) -> Entry {
    read(format!("<R><Blobs>{text}</Blobs></R>").as_bytes(), "Blobs").unwrap().1.remove(0)
}

#[test]
fn spaces_in_names_stay() {
    for text in ["  ", "\n", " a ", "a\r\nb"] {
        assert_eq!(only(&format!("<B><Name>{text}</Name></B>")).name().unwrap(), text);
    }
}

#[test]
fn a_name_is_the_text_of_the_first_one_directly_within_the_entry() {
    let entry =
        only("<B><P><Name>no</Name></P><Name>y<!-- no --><![CDATA[<&]]><i>no</i>s</Name><Name>2</Name></B>");
    assert_eq!(entry.name().unwrap(), "y<&s");
    assert_eq!((only("<B><Name/></B>").name().unwrap().as_str(), only("<B/>").name().is_err()), ("", true));
}

#[test]
fn what_an_entry_holds_is_taken_over_as_it_is() {
    let metadata = |text: &str| {
        let entry = only(&format!("<B><Unknown a=\"1\"><x/></Unknown><Metadata>{text}</Metadata><x/></B>"));
        entry.read::<Metadata>().map(|read| read.metadata)
    };
    let pairs = metadata("\n <k> a&amp;<![CDATA[<b>]]>&#x20AC; </k><empty></empty><_1> </_1>\n").unwrap();
    let pairs: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("_1", " "), ("empty", ""), ("k", " a&<b>€ ")]);
    assert!(metadata("").unwrap().is_empty());
    let encrypted =
        only("<B><Metadata Encrypted=\"true\"><k>v</k></Metadata></B>").read::<Metadata>().unwrap();
    assert_eq!(encrypted.metadata.into_iter().collect::<Vec<_>>(), [("k".to_owned(), "v".to_owned())]);
    let error = metadata("<k><deep/></k>").unwrap_err();
    assert!(error.summary().contains("entry <B> is not what Azure documents"), "{error}");
}

#[test]
fn half_a_document_is_an_error() {
    for text in
        ["", "<a>", "<a><b></a>", "<a><Blobs><B></B></Blobs>", "text", "<a>&unknown;</a>", "<a>\u{0}</b>"]
    {
        assert!(read(text.as_bytes(), "Blobs").is_err(), "{text}");
    }
    assert!(read("<a>".repeat(100).as_bytes(), "").unwrap_err().to_string().contains("deep"));
    assert!(read(b"<a>\xff</a>", "").is_err());
    assert!(
        read(b"<R><Blobs><B><Name Encoded=\"true\">%ff</Name></B></Blobs></R>", "Blobs").unwrap().1[0]
            .name()
            .is_err()
    );
}

#[test]
fn what_breaks_off_is_asked_for_again_and_a_page_of_a_proxy_is_not() {
    for text in ["<R>", "<R><Blobs><B><Name>a", "<R><Blobs><B", "<R><Blobs><B></B></Blobs>"] {
        let error = read(text.as_bytes(), "Blobs").unwrap_err();
        assert!(error.is_transient(), "{text}: {error}");
        assert_eq!(error.to_string(), "Azure's list <Blobs>: the XML breaks off");
    }
    for text in ["", "text", "<!DOCTYPE html><html><body>", "<html><br></html>", "<R></S>"] {
        let error = read(text.as_bytes(), "Blobs").unwrap_err();
        assert!(!error.is_transient(), "{text}: {error}");
        assert_eq!(Error::from(error).hint_text(), Some(NOT_AZURE), "{text}");
    }
}

/// How many entries a document has, in which `part` stands so many times.
fn long(head: &str, part: &str, times: usize, tail: &str) -> Result<usize, Failure> {
    let (input, mut count) = (format!("{head}{}{tail}", part.repeat(times)), 0);
    list(input.as_bytes(), "Blobs", &mut |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

#[test]
fn memory_has_a_bound_whatever_is_sent() {
    let refused = |result: Result<usize, Failure>, says: &str| {
        let text = result.unwrap_err().to_string();
        assert!(text.contains(says), "{text}");
    };
    let name = "<R><Blobs><B><Name>";
    refused(long(name, "abcdefgh", 300_000, "</Name></B></Blobs></R>"), "longer than 1 MiB");
    refused(long("<R><Blobs><B a=\"", "abcdefgh", 300_000, "\"/></Blobs></R>"), "longer than 1 MiB");
    refused(long("<R><!--", "abcdefgh", 300_000, "--><Blobs/></R>"), "longer than 1 MiB");
    refused(long(name, "abc&amp;", 2_000_000, "</Name></B></Blobs></R>"), "larger than 4 MiB");
    refused(long("<R><Blobs><B>", "<a/>", 50_000, "</B></Blobs></R>"), "larger than 4 MiB");
    refused(long("<R>", "<a/>", 50_000, "<Blobs/></R>"), "larger than 4 MiB");
    // Many entries, and together more than that, are what lists are made of.
    let entry = "<B><Name>abcdefghabcdefghabcdefghabcdefgh</Name><a/><b/><c/></B>";
    assert_eq!(long("<R><Blobs>", entry, 50_000, "</Blobs></R>").unwrap(), 50_000);
    assert_eq!(long(name, "abcdefgh", 100_000, "</Name></B></Blobs></R>").unwrap(), 1);
}

#[test]
fn an_error_of_the_connection_is_told_from_bad_xml() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other(Failure::broken("GET x", "reset", true)))
        }
    }
    let error = list(std::io::BufReader::new(Broken), "", &mut |_| Ok(())).unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.to_string(), "GET x: reset");
}
