//! Words for a POSIX shell.

/// A text as one word.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Sets a variable unless it is set already.
pub(crate) fn unless_set(variable: &str, default: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%:,= ".contains(c);
    if default.chars().all(plain) {
        return format!("export {variable}=\"${{{variable}:-{default}}}\"");
    }
    format!("[ -n \"${{{variable}:-}}\" ] || export {variable}={}", word(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_word() {
        for text in ["plain", "two words", "it's", "$(rm -rf /)", "`x`", "a\\b", "\"", "ä", ""] {
            let output =
                std::process::Command::new("sh").args(["-c", &format!("printf %s {}", word(text))]).output();
            assert_eq!(output.map(|output| output.stdout).unwrap_or_default(), text.as_bytes());
            let script = format!("{}; printf %s \"$V\"", unless_set("V", text));
            let output = std::process::Command::new("sh").args(["-c", &script]).env_remove("V").output();
            assert_eq!(output.map(|output| output.stdout).unwrap_or_default(), text.as_bytes());
        }
    }
}
