//! The tokens of one complete SQL statement, and a cursor over the significant ones.

use std::ops::Range;

/// The kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// White space.
    Space,
    /// A comment that no server reads.
    Comment,
    /// The opening of a comment that servers of some version read as code, such as `/*!50001` or `/*M!100301`.
    Open,
    /// The `*/` that closes [`Kind::Open`].
    Close,
    /// A bare word or number.
    Word,
    /// Something between quotes of this kind, the quotes included.
    Quoted(u8),
    /// Any other byte.
    Mark(u8),
}

/// A token and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
}

/// Splits a statement into tokens without gaps between them. What is not closed reaches to the end.
#[derive(Debug, Clone)]
pub(super) struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    backslash: bool,
    conditional: usize,
}

impl<'a> Tokens<'a> {
    /// The tokens of `text`; `backslash` says whether a backslash in a string takes the next byte's meaning away.
    pub(super) fn new(text: &'a [u8], backslash: bool) -> Self {
        Self { text, at: 0, backslash, conditional: 0 }
    }

    fn length(&mut self, rest: &[u8]) -> Option<(Kind, usize)> {
        let first = *rest.first()?;
        let run = |wanted: fn(u8) -> bool| rest.iter().take_while(|b| wanted(**b)).count();
        Some(match first {
            b if is_space(b) => (Kind::Space, run(is_space)),
            b if is_word(b) => (Kind::Word, run(is_word)),
            b'\'' | b'"' | b'`' => (Kind::Quoted(first), quoted(rest, first, self.backslash)),
            b'#' => (Kind::Comment, to_line_end(rest)),
            b'-' if rest.get(1) == Some(&b'-') && rest.get(2).is_none_or(|b| is_space(*b)) => {
                (Kind::Comment, to_line_end(rest))
            }
            b'*' if self.conditional > 0 && rest.get(1) == Some(&b'/') => {
                self.conditional -= 1;
                (Kind::Close, 2)
            }
            b'/' if rest.get(1) == Some(&b'*') => match opening(rest) {
                Some(length) => {
                    self.conditional += 1;
                    (Kind::Open, length)
                }
                None => {
                    (Kind::Comment, rest.get(2..).and_then(|r| find(r, b"*/")).map_or(rest.len(), |p| p + 4))
                }
            },
            _ => (Kind::Mark(first), 1),
        })
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let text = self.text;
        let (kind, length) = self.length(text.get(self.at..)?)?;
        let range = self.at..self.at + length;
        self.at = range.end;
        Some(Token { kind, range })
    }
}

/// Whether SQL takes the byte as white space.
pub(super) fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// A cursor over the significant tokens.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    tokens: Tokens<'a>,
}

impl<'a> Cursor<'a> {
    /// A cursor at the beginning of `text`.
    pub(super) fn new(text: &'a [u8], backslash: bool) -> Self {
        Self { text, tokens: Tokens::new(text, backslash) }
    }

    /// The next significant token.
    pub(super) fn next(&mut self) -> Option<Token> {
        self.tokens
            .find(|token| !matches!(token.kind, Kind::Space | Kind::Comment | Kind::Open | Kind::Close))
    }

    /// Where the token after this one may begin.
    pub(super) fn position(&self) -> usize {
        self.tokens.at
    }

    /// Moves on if the next token is `word`, whatever its case.
    pub(super) fn skip(&mut self, word: &str) -> bool {
        let mut ahead = self.clone();
        let found = ahead.word().is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()));
        if found {
            *self = ahead;
        }
        found
    }

    /// Moves on if the next tokens are all of `words`.
    pub(super) fn skip_all(&mut self, words: &[&str]) -> bool {
        let mut ahead = self.clone();
        let found = words.iter().all(|word| ahead.skip(word));
        if found {
            *self = ahead;
        }
        found
    }

    /// Moves on if the next token is the byte `mark`.
    pub(super) fn skip_mark(&mut self, mark: u8) -> bool {
        let mut ahead = self.clone();
        let found = ahead.next().is_some_and(|token| token.kind == Kind::Mark(mark));
        if found {
            *self = ahead;
        }
        found
    }

    /// The next token if it is a bare word.
    pub(super) fn word(&mut self) -> Option<&'a [u8]> {
        let token = self.next()?;
        if token.kind == Kind::Word { self.text.get(token.range) } else { None }
    }

    /// The next token if it can be a name: a bare word or something quoted; without its quotes.
    pub(super) fn name(&mut self) -> Option<String> {
        let token = self.next()?;
        name_of(self.text, &token)
    }

    /// The next name, of which a database may stand in front: the name alone.
    pub(super) fn qualified_name(&mut self) -> Option<String> {
        let mut name = self.name()?;
        while self.skip_mark(b'.') {
            name = self.name()?;
        }
        Some(name)
    }
}

/// The name that a token stands for, if it can be one.
pub(super) fn name_of(text: &[u8], token: &Token) -> Option<String> {
    let bytes = text.get(token.range.clone())?;
    match token.kind {
        Kind::Word => Some(String::from_utf8_lossy(bytes).into_owned()),
        Kind::Quoted(quote) => {
            let inner = bytes.get(1..bytes.len().checked_sub(1)?)?;
            let quote = char::from(quote);
            Some(String::from_utf8_lossy(inner).replace(&format!("{quote}{quote}"), &quote.to_string()))
        }
        _ => None,
    }
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || b >= 0x80
}

/// Length of the opening of a comment that is code.
fn opening(rest: &[u8]) -> Option<usize> {
    let head = [&b"/*!"[..], b"/*M!"].into_iter().find(|head| rest.starts_with(head))?;
    Some(head.len() + rest[head.len()..].iter().take_while(|b| b.is_ascii_digit()).count())
}

fn to_line_end(rest: &[u8]) -> usize {
    memchr::memchr(b'\n', rest).map_or(rest.len(), |p| p + 1)
}

fn find(rest: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(rest, what)
}

/// Length of what is quoted at the beginning of `rest`. A doubled quote goes on, a backslash escapes in strings only.
fn quoted(rest: &[u8], quote: u8, backslash: bool) -> usize {
    let escapes = backslash && quote != b'`';
    let mut at = 1;
    while let Some(&b) = rest.get(at) {
        at += 1;
        if b == b'\\' && escapes {
            at += 1;
        } else if b == quote {
            if rest.get(at) != Some(&quote) {
                return at;
            }
            at += 1;
        }
    }
    rest.len()
}
