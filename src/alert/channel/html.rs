//! Plain text of a response that may be an HTML page.

/// Inline tags, which may split a word. They are removed without a space, so that a secret within is found.
const INLINE: [&str; 14] =
    ["a", "b", "code", "em", "font", "i", "kbd", "mark", "small", "span", "strong", "tt", "u", "wbr"];

/// The text of a response body in one line. For an HTML page: title and text, without tags, scripts and styles.
pub(super) fn one_line(body: &str) -> String {
    let start = body.trim_start();
    let text = if start.starts_with('<') { without_tags(start) } else { start.to_owned() };
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn without_tags(page: &str) -> String {
    let lower = page.to_ascii_lowercase();
    let mut text = String::new();
    let mut at = 0;
    while let Some(open) = page[at..].find('<').map(|open| at + open) {
        text.push_str(&page[at..open]);
        let tag = lower[open..].trim_start_matches(['<', '/']);
        let tag: &str = tag.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if !INLINE.contains(&tag) {
            text.push(' ');
        }
        // Scripts, styles and comments end at their closing tag; if it is missing, the rest of the page is dropped.
        let hidden = ["<script", "<style", "<!--"].into_iter().zip(["</script", "</style", "-->"]);
        let from = hidden
            .filter(|(begin, _)| lower[open..].starts_with(begin))
            .map(|(_, end)| lower[open..].find(end).map_or(page.len(), |end| open + end))
            .next()
            .unwrap_or(open);
        at = page[from..].find('>').map_or(page.len(), |close| from + close + 1);
    }
    text.push_str(&page[at..]);
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")]
        .into_iter()
        .fold(text, |text, (entity, sign)| text.replace(entity, sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_told_by_its_text() {
        let page = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title><style>h1 {color: red}</style>\
                    <script>if (a < b) { c() }</script></head>\n<body><h1>Bad &amp; broken</h1><!-- <p>no</p> -->\n<p>nginx</body>";
        assert_eq!(one_line(page), "502 Bad Gateway Bad & broken nginx");
    }

    #[test]
    fn what_is_no_page_stays() {
        assert_eq!(one_line("{\"error\": \"a < b\"}\n"), "{\"error\": \"a < b\"}");
        assert_eq!(one_line("no_service\r\n\r\nsee the manual"), "no_service see the manual");
    }

    #[test]
    fn a_page_that_is_cut_anywhere_is_no_trouble() {
        let page = "<html><Script>ü</script><p title='é'>text&lt;</p><!-- x";
        for (end, _) in page.char_indices() {
            one_line(&page[..end]);
        }
    }
}
