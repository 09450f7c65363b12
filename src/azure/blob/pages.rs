//! The parts of a page blob with data. Parts that were never written or were cleared are zeros, and are not requested.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader},
    ops::Range,
};

use reqwest::Method;
use serde::Deserialize;

use super::BlobService;
use crate::{
    azure::{
        failure::Failure,
        markers::Markers,
        xml::{self, Entry},
    },
    stream::cancel::Cancel,
};

/// The most ranges that the service gives in one page of the list.
const MOST: &str = "10000";
/// Zeros between two ranges are read with them up to this length, which is cheaper than a separate request.
const GAP: u64 = 256 * 1024;

/// The ranges of a page blob with data; one page of the list is held at a time.
#[derive(Default)]
pub(super) struct Ranges {
    markers: Markers,
    held: VecDeque<Range<u64>>,
}

/// Asks for one page: the ranges and the marker of the next page. It is given the marker of the page.
pub(super) type Ask<'a> = dyn FnMut(&str) -> Result<(Vec<Range<u64>>, Option<String>), Failure> + 'a;

impl Ranges {
    /// The range that contains `offset`, else the first one after it. `None` if no data follows.
    pub(super) fn at_or_after(
        &mut self,
        offset: u64,
        list: &str,
        ask: &mut Ask<'_>,
    ) -> Result<Option<Range<u64>>, Failure> {
        loop {
            while self.held.pop_front_if(|range| range.end <= offset).is_some() {}
            if let Some(range) = self.held.front() {
                return Ok(Some(range.clone()));
            }
            let Some(marker) = self.markers.next() else { return Ok(None) };
            let (ranges, next) = ask(marker)?;
            self.markers.turn(list, ranges.len(), next)?;
            for range in ranges {
                match self.held.back_mut() {
                    Some(last) if range.start - last.end <= GAP => last.end = range.end,
                    _ => self.held.push_back(range),
                }
            }
        }
    }
}

impl BlobService {
    /// One page of the list of a page blob's ranges, in order and without overlaps, of the version with this ETag.
    pub(super) fn ranges(
        &self,
        names: &[String; 2],
        etag: &str,
        bytes: u64,
        marker: &str,
        cancel: &Cancel,
    ) -> Result<(Vec<Range<u64>>, Option<String>), Failure> {
        let [container, name] = names;
        let request = self
            .request(Method::GET, &[container, name])?
            .query("comp", "pagelist")
            .query("maxresults", MOST)
            .query("marker", marker)
            .header("if-match", etag);
        self.http.exchange(&self.access, &request, cancel, &mut |answer| {
            read(BufReader::new(answer.into_body()), &request.describe(), bytes)
        })
    }
}

/// Reads one page of the list of a blob of so many bytes.
fn read(body: impl BufRead, list: &str, bytes: u64) -> Result<(Vec<Range<u64>>, Option<String>), Failure> {
    let odd = |what: String| Failure::unexpected(list, what).of_object();
    let (mut ranges, mut next) = (Vec::<Range<u64>>::new(), None);
    let rest = xml::list(body, "PageList", &mut |entry| {
        match entry.kind() {
            "PageRange" => {
                let before = ranges.last().map_or(0, |range| range.end);
                ranges.push(range(&entry, before, bytes).map_err(odd)?);
            }
            "NextMarker" => next = Some(entry.read::<String>()?).filter(|marker| !marker.is_empty()),
            _ => {}
        }
        Ok(())
    })?;
    if rest.root == "PageList" {
        Ok((ranges, next))
    } else {
        Err(odd("it is not a list of pages".to_owned()))
    }
}

/// A range as listed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PageRange {
    start: Option<String>,
    end: Option<String>,
}

/// A range that begins at or after `before` and ends within the blob.
fn range(entry: &Entry, before: u64, bytes: u64) -> Result<Range<u64>, String> {
    let PageRange { start, end } = entry.read().map_err(|error| error.summary())?;
    let number = |text: Option<String>| text.and_then(|text| text.trim().parse::<u64>().ok());
    let (Some(first), Some(last)) = (number(start), number(end)) else {
        return Err("a range of pages has no begin or no end".to_owned());
    };
    if first < before || last < first || last >= bytes {
        return Err(format!("the range of pages from {first} to {last} does not fit"));
    }
    Ok(first..last + 1)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::azure::Scope;

    fn list(body: &str) -> Result<(Vec<Range<u64>>, Option<String>), Failure> {
        let text = format!("\u{feff}<?xml version=\"1.0\"?>{body}");
        read(text.as_bytes(), "GET x", 4096)
    }

    #[test]
    fn lists_of_pages_are_read_and_odd_ones_refused() {
        let range = |start, end| format!("<PageRange><Start>{start}</Start><End>{end}</End></PageRange>");
        let (one, two) = (range(0, 511), range(1024, 4095));
        let whole = format!(
            "<PageList>{one}<ClearRange><Start>512</Start><End>1023</End></ClearRange>{two}</PageList>"
        );
        assert_eq!(list(&whole).unwrap(), (vec![0..512, 1024..4096], None));
        let more = format!("<PageList>{one}<NextMarker>m</NextMarker></PageList>");
        assert_eq!(list(&more).unwrap().1.as_deref(), Some("m"));
        assert_eq!(list("<PageList/>").unwrap(), (Vec::new(), None));
        for odd in [
            "<EnumerationResults/>".to_owned(),
            format!("<PageList>{two}{one}</PageList>"),
            format!("<PageList>{}</PageList>", range(0, 4096)),
            format!("<PageList>{}</PageList>", range(512, 0)),
            "<PageList><PageRange><Start>0</Start></PageRange></PageList>".to_owned(),
        ] {
            let failure = list(&odd).unwrap_err();
            assert_eq!(failure.scope(), Scope::Object, "{odd}: {failure}");
        }
    }

    #[test]
    fn a_page_of_the_list_is_asked_for_when_the_one_before_it_is_used_up() {
        let far = 10 * GAP;
        let (mut asked, mut ranges) = (Vec::new(), Ranges::default());
        let mut at = |offset| {
            let found = ranges.at_or_after(offset, "list", &mut |marker| {
                asked.push(marker.to_owned());
                Ok(match marker {
                    "" => (vec![0..512, 1024..2048], Some("empty".to_owned())),
                    "empty" => (Vec::new(), Some("last".to_owned())),
                    _ => (std::iter::once(far..far + 512).collect(), None),
                })
            });
            (found.unwrap(), asked.len())
        };
        assert_eq!(at(0), (Some(0..2048), 1), "small gaps are read");
        assert_eq!(at(2047), (Some(0..2048), 1));
        assert_eq!(at(2048), (Some(far..far + 512), 3), "an empty page is not the end");
        assert_eq!(at(far + 512), (None, 3));
    }
}
