//! Modules at the top of the crate use only what lies below them: the layers are those of the table in docs/design.md.
//! `cargo test --lib layers -- --nocapture` prints what was counted; `TIK_BACKUP_LAYERS_OF` names another `src` directory.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A path in a file that begins at the root of the crate.
struct Used {
    line: usize,
    path: Vec<String>,
}

/// A file of the crate that is not compiled for tests alone.
struct Source {
    file: PathBuf,
    module: Vec<String>,
    used: Vec<Used>,
    /// Names that it imports, with what they stand for.
    imports: BTreeMap<String, Vec<String>>,
}

#[test]
fn modules_use_only_layers_below_them() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let given = std::env::var_os("TIK_BACKUP_LAYERS_OF");
    let src = given.map_or_else(|| root.join("src"), PathBuf::from);
    let layers = layers(&fs::read_to_string(root.join("docs/design.md")).unwrap());
    let sources = read(&src);
    let modules: BTreeSet<&str> =
        sources.iter().filter_map(|source| Some(source.module.first()?.as_str())).collect();
    let mut wrong: Vec<String> = modules
        .iter()
        .filter(|module| !layers.contains_key(**module))
        .map(|module| format!("{module} has no layer"))
        .collect();
    wrong.extend(
        layers
            .keys()
            .filter(|layer| !modules.contains(layer.as_str()))
            .map(|layer| format!("{layer} has a layer, and src/ has no such module")),
    );
    let (mut arrows, mut upward) = (BTreeSet::new(), BTreeSet::new());
    for source in &sources {
        let Some(module) = source.module.first() else { continue };
        for used in &source.used {
            let Some(other) = used.path.first() else { continue };
            if other == module || !modules.contains(other.as_str()) {
                continue;
            }
            arrows.insert((module.as_str(), other.as_str()));
            if layers.get(module).zip(layers.get(other)).is_some_and(|(own, other)| other > own) {
                upward.insert((module.as_str(), other.as_str()));
                let file = source.file.strip_prefix(&src).unwrap().display();
                wrong.push(format!("src/{file}:{}: {module} uses {}", used.line, used.path.join("::")));
            }
        }
    }
    let between = circles(&arrows);
    wrong.extend(between.iter().map(|circle| format!("circle of modules: {}", circle.join(", "))));
    let inside = circles(&files(&sources));
    println!(
        "{} modules, {} arrows between them, {} upward, {} circles of modules, {} circles of files inside modules",
        modules.len(),
        arrows.len(),
        upward.len(),
        between.len(),
        inside.len()
    );
    for circle in &inside {
        println!("circle of {} files: {}", circle.len(), circle.join(", "));
    }
    assert!(
        wrong.is_empty(),
        "a module uses only layers below its own (docs/design.md):\n{}",
        wrong.join("\n")
    );
    assert!(arrows.len() > modules.len(), "hardly any path was found: {arrows:?}");
}

/// The layer of each module, from rows such as "| 2 | `output/`, `workers` | … |".
fn layers(text: &str) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, number, names, ..] = cells[..] else { continue };
        let Ok(number) = number.parse() else { continue };
        for name in names.split('`').skip(1).step_by(2) {
            found.insert(name.trim_end_matches('/').to_owned(), number);
        }
    }
    found
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let text = "use crate::{\n    a::B,\n    c::{self, D as E},\n};\n// crate::no\n#[cfg(test)]\nmod tests {\n    use crate::no;\n}\n\
                fn f() {\n    crate::g::h();\n    super::k();\n}\npub(in crate::l) fn m() {}\n";
    let module = ["x".to_owned(), "y".to_owned()];
    let (used, imports) = paths(text, &module);
    let found: Vec<String> =
        used.iter().map(|used| format!("{} {}", used.line, used.path.join("::"))).collect();
    assert_eq!(found, ["2 a::B", "3 c", "3 c::D", "11 g::h", "12 x::k"]);
    assert_eq!(imports["E"], ["c", "D"]);
    assert_eq!(imports["c"], ["c"]);
}

#[test]
fn circles_are_found() {
    let arrows = BTreeSet::from([("a", "b"), ("b", "c"), ("c", "a"), ("c", "d"), ("d", "e")]);
    assert_eq!(circles(&arrows), [["a", "b", "c"]]);
}

/// The files below a folder that are not for tests alone.
fn read(src: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    follow(src.join("lib.rs"), src, Vec::new(), &mut found);
    found
}

/// Reads a module and those that it declares.
fn follow(file: PathBuf, folder: &Path, module: Vec<String>, found: &mut Vec<Source>) {
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let text = without_tests(&text);
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(at) = words.iter().position(|word| *word == "mod").filter(|at| *at < 3) else { continue };
        let Some(name) = words.get(at + 1).and_then(|name| name.strip_suffix(';')) else { continue };
        let below = folder.join(name);
        let beside = folder.join(format!("{name}.rs"));
        let next = if beside.exists() { beside } else { below.join("mod.rs") };
        follow(next, &below, [&module[..], &[name.to_owned()]].concat(), found);
    }
    let (used, imports) = paths(&text, &module);
    found.push(Source { file, module, used, imports });
}

/// The text with what is compiled for tests alone, and comments, as empty lines.
fn without_tests(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut until: Option<usize> = None;
    for line in text.lines() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if let Some(outer) = until {
            // rustfmt closes an item at the depth where it begins.
            if indent == outer && !code.starts_with('#') && code.ends_with(['}', ';', ',']) {
                until = None;
            }
        } else if code.starts_with("#[cfg(test)]") {
            until = Some(indent);
        } else if !code.starts_with("//") {
            kept.push_str(line);
        }
        kept.push('\n');
    }
    kept
}

/// The paths of a text that begin in this crate, and the names that it imports.
fn paths(text: &str, module: &[String]) -> (Vec<Used>, BTreeMap<String, Vec<String>>) {
    let text = without_tests(text);
    let (mut used, mut imports) = (Vec::new(), BTreeMap::new());
    let mut rest = 0;
    while rest < text.len() {
        let end = text[rest..].find('\n').map_or(text.len(), |length| rest + length + 1);
        let line = text[rest..end].trim_start();
        if let Some(tree) = without_visibility(line).strip_prefix("use ") {
            let begin = end - tree.len();
            let close = text[begin..].find(';').map_or(text.len(), |length| begin + length);
            expand(&text, (begin, close), &[], &mut |at, path, alias| {
                let line = 1 + text[..at].matches('\n').count();
                let Some(path) = absolute(path, module) else { return };
                if let Some(name) = alias.map(str::to_owned).or_else(|| path.last().cloned()) {
                    imports.insert(name, path.clone());
                }
                used.push(Used { line, path });
            });
            rest = close + 1;
            continue;
        }
        let number = 1 + text[..rest].matches('\n').count();
        for path in inline(&text[rest..end]) {
            used.extend(absolute(&path, module).map(|path| Used { line: number, path }));
        }
        rest = end;
    }
    (used, imports)
}

/// Is given where a path ends, its parts, and the name that it is given.
type Show<'a> = dyn FnMut(usize, &[String], Option<&str>) + 'a;

/// Shows the paths of the tree of a `use`, with where each ends and the name that it is given.
fn expand(text: &str, (begin, end): (usize, usize), before: &[String], show: &mut Show<'_>) {
    let (mut depth, mut from) = (0, begin);
    for at in begin..=end {
        let byte = if at == end { b',' } else { text.as_bytes()[at] };
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                part(text, (from, at), before, show);
                from = at + 1;
            }
            _ => {}
        }
    }
}

fn part(text: &str, (begin, end): (usize, usize), before: &[String], show: &mut Show<'_>) {
    let part = &text[begin..end];
    let start = begin + part.len() - part.trim_start().len();
    let open = part.find('{').map(|open| begin + open);
    let head = &text[start..open.unwrap_or(end)];
    let mut path = before.to_vec();
    let (names, alias) =
        head.trim().split_once(" as ").map_or((head.trim(), None), |(names, alias)| (names, Some(alias)));
    path.extend(names.split("::").filter(|name| !name.is_empty()).map(|name| name.trim().to_owned()));
    match open {
        Some(open) => {
            let close = begin + part.rfind('}').unwrap();
            expand(text, (open + 1, close), &path, show);
        }
        None if names.is_empty() => {}
        None => {
            if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
                path.pop();
            }
            show(start, &path, alias);
        }
    }
}

/// A line without `pub`, and without the module in `pub(in crate::a)`, which is named there and not used.
fn without_visibility(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("pub") else { return line };
    let rest = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')).map_or(rest, |(_, rest)| rest);
    rest.strip_prefix(' ').unwrap_or(line)
}

/// Paths in a line that is no `use`.
fn inline(line: &str) -> Vec<Vec<String>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let line = without_visibility(line.trim_start());
    for word in line.split(|c: char| !is_name(c) && c != ':') {
        let names: Vec<String> = word.split("::").map(str::to_owned).collect();
        if names.len() > 1 && ["crate", "super", "self"].contains(&names[0].as_str()) {
            found.push(names.into_iter().filter(|name| !name.is_empty()).collect());
        }
    }
    found
}

/// A path from the root of the crate, if it begins in the crate.
fn absolute(path: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut base = match path.first()?.as_str() {
        "crate" => return Some(path[1..].to_vec()),
        "self" | "super" => module.to_vec(),
        _ => return None,
    };
    let names = path.iter().skip_while(|name| {
        if *name == "super" {
            base.pop();
        }
        ["self", "super"].contains(&name.as_str())
    });
    let names: Vec<String> = names.cloned().collect();
    base.extend(names);
    Some(base)
}

/// Which file of a module uses which other one of it.
fn files(sources: &[Source]) -> BTreeSet<(String, String)> {
    let known: BTreeMap<&[String], &Source> =
        sources.iter().map(|source| (&source.module[..], source)).collect();
    let mut arrows = BTreeSet::new();
    for source in sources {
        for used in &source.used {
            let Some(other) = owner(&used.path, &known, 0) else { continue };
            if other.module.first() == source.module.first() && other.module != source.module {
                arrows.insert((source.module.join("::"), other.module.join("::")));
            }
        }
    }
    arrows
}

/// The file in which a path is declared: what a module only hands on is looked for where it has it from.
fn owner<'a>(path: &[String], known: &BTreeMap<&[String], &'a Source>, depth: usize) -> Option<&'a Source> {
    let length = (0..=path.len()).rev().find(|length| known.contains_key(&path[..*length]))?;
    let source = known[&path[..length]];
    let Some(import) = path.get(length).and_then(|name| source.imports.get(name)) else {
        return Some(source);
    };
    if depth > 8 {
        return Some(source);
    }
    owner(&[&import[..], &path[length + 1..]].concat(), known, depth + 1)
}

/// What reaches itself: groups of more than one in which each leads to each other.
fn circles<T: Ord + Clone>(arrows: &BTreeSet<(T, T)>) -> Vec<Vec<T>> {
    let mut next: BTreeMap<&T, Vec<&T>> = BTreeMap::new();
    for (from, to) in arrows {
        next.entry(from).or_default().push(to);
    }
    let mut reached: BTreeMap<&T, BTreeSet<&T>> = BTreeMap::new();
    for begin in next.keys() {
        let (mut todo, mut seen) = (vec![*begin], BTreeSet::new());
        while let Some(at) = todo.pop() {
            for to in next.get(at).into_iter().flatten().filter(|to| seen.insert(**to)) {
                todo.push(to);
            }
        }
        reached.insert(begin, seen);
    }
    let mut groups = BTreeSet::new();
    for (one, from) in &reached {
        let group: Vec<T> = from
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(one)))
            .map(|other| (*other).clone())
            .collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}
