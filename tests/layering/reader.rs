//! Reads the modules of a crate: their items, and the paths that they mention.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::tokens::{tokens, Token};

/// The path of a module from the root of its crate, or a path as it is written, by its names.
pub(crate) type Names = Vec<String>;

/// A path that is written in a module.
#[derive(Debug)]
pub(crate) struct Mention {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) module: Names,
    pub(crate) path: Names,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Use,
    /// `use path::*`.
    Glob,
    /// It is not in a `use`.
    Code,
}

#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The names of items and of child modules.
    pub(crate) items: BTreeSet<String>,
    /// The names that a `use` gives to paths. A function, a type and a macro may share a name.
    pub(crate) uses: HashMap<String, Vec<Names>>,
    pub(crate) globs: Vec<Names>,
    /// The paths of each `pub use`.
    pub(crate) exports: Vec<Names>,
}

#[derive(Debug, Default)]
pub(crate) struct Crate {
    pub(crate) modules: HashMap<Names, Module>,
    pub(crate) mentions: Vec<Mention>,
    /// The files that no `mod` declares.
    pub(crate) strays: Vec<String>,
}

/// One file while it is read.
struct Reader<'a> {
    files: &'a BTreeMap<String, String>,
    all: &'a mut Crate,
    seen: &'a mut BTreeSet<String>,
    file: String,
    /// The folder in which `#[path]` starts, and that in which files of child modules lie.
    folders: (String, String),
    tokens: Vec<Token>,
    next: usize,
}

impl Crate {
    /// Reads the files that are declared from the root file on.
    pub(crate) fn read(files: &BTreeMap<String, String>, root: &str) -> Crate {
        let (mut all, mut seen) = (Crate::default(), BTreeSet::new());
        read_file(files, &mut all, &mut seen, root, &Names::new());
        all.strays = files.keys().filter(|file| !seen.contains(*file)).cloned().collect();
        all
    }
}

fn read_file(
    files: &BTreeMap<String, String>,
    all: &mut Crate,
    seen: &mut BTreeSet<String>,
    file: &str,
    module: &Names,
) {
    if !seen.insert(file.to_owned()) {
        return;
    }
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let own = matches!(name, "mod.rs" | "lib.rs" | "main.rs");
    let children = if own { folder.clone() } else { format!("{}/", file.trim_end_matches(".rs")) };
    let tokens = tokens(&files[file]);
    let file = file.to_owned();
    Reader { files, all, seen, file, folders: (folder, children), tokens, next: 0 }.items(module, false);
}

impl Reader<'_> {
    /// The token at `distance` from the next one; empty behind the last one.
    fn peek(&self, distance: usize) -> &str {
        self.tokens.get(self.next + distance).map_or("", |token| &token.text)
    }

    /// Reads items, statements and all that they contain, up to the end of the module.
    fn items(&mut self, module: &Names, inline: bool) {
        self.all.modules.entry(module.clone()).or_default();
        let (mut depth, mut paths) = (0, Vec::new());
        while self.next < self.tokens.len() {
            let (word, name) = (self.peek(0).to_owned(), self.peek(1).to_owned());
            let before = self.next.checked_sub(1).map_or("", |before| &self.tokens[before].text).to_owned();
            match &*word {
                "#" if name == "[" || name == "!" && self.peek(2) == "[" => {
                    let attribute = self.attribute();
                    if is_test(&attribute) && name == "!" {
                        // The whole file is for tests.
                        self.next = self.tokens.len();
                    } else if is_test(&attribute) {
                        self.skip_item();
                    } else if attribute.concat().strip_prefix("cfg_attr(").is_some_and(needs_test) {
                        // The path is that of a substitute in tests.
                    } else if let Some(place) = attribute.iter().position(|part| part == "path") {
                        let path = attribute.get(place + 2).map_or("", |path| path.trim_matches('"'));
                        paths.push((path.to_owned(), place == 0));
                    }
                    continue;
                }
                "mod" if is_name(&name) && matches!(self.peek(2), ";" | "{") => {
                    self.child(module, &name, std::mem::take(&mut paths));
                    continue;
                }
                "use" if is_name(&name) || matches!(&*name, "::" | "{") => {
                    self.next += 1;
                    let public = matches!(&*before, "pub" | ")");
                    self.imports(module, &Names::new(), (depth == 0).then_some(public));
                    continue;
                }
                "struct" | "enum" | "union" | "fn" | "trait" | "type" | "const" | "static"
                    if depth == 0 && is_name(&name) =>
                {
                    self.define(module, name);
                }
                "macro_rules" => {
                    let name = self.peek(2).to_owned();
                    self.define(module, name);
                }
                "{" => depth += 1,
                "}" if depth == 0 && inline => {
                    self.next += 1;
                    return;
                }
                "}" => depth -= 1,
                // A name behind a dot is that of a method, except for `..crate::defaults()`.
                _ if is_name(&word)
                    && name == "::"
                    && before != "::"
                    && (before != "." || matches!(&*word, "crate" | "super" | "self")) =>
                {
                    self.path_in_code(module);
                    continue;
                }
                _ => {}
            }
            self.next += 1;
        }
    }

    fn define(&mut self, module: &Names, name: String) {
        self.all.modules.get_mut(module).expect("it is entered first").items.insert(name);
    }

    /// Reads `#[…]` and returns what is within the brackets.
    fn attribute(&mut self) -> Vec<String> {
        while self.peek(0) != "[" {
            self.next += 1;
        }
        let (mut depth, mut parts) = (0, Vec::new());
        while self.next < self.tokens.len() {
            depth += i32::from(self.peek(0) == "[") - i32::from(self.peek(0) == "]");
            parts.push(self.peek(0).to_owned());
            self.next += 1;
            if depth == 0 {
                break;
            }
        }
        parts[1..parts.len() - 1].to_vec()
    }

    /// Skips the item, the field or the statement that follows an attribute.
    fn skip_item(&mut self) {
        while self.peek(0) == "#" {
            self.attribute();
        }
        const ITEMS: [&str; 15] = [
            "pub", "fn", "impl", "struct", "enum", "mod", "trait", "unsafe", "async", "extern", "use",
            "const", "static", "type", "let",
        ];
        let item = ITEMS.contains(&self.peek(0));
        let (mut depth, mut to_semicolon) = (0, false);
        while self.next < self.tokens.len() {
            let word = self.peek(0).to_owned();
            match &*word {
                "mod" if depth == 0 && self.peek(2) == ";" => self.mark_test_files(),
                "use" | "static" | "type" | "let" | "const" if depth == 0 && self.peek(1) != "fn" => {
                    to_semicolon = true;
                }
                "(" | "[" | "{" => depth += 1,
                "}" | ")" | "]" if depth == 0 => return,
                ")" | "]" => depth -= 1,
                "}" => {
                    depth -= 1;
                    if depth == 0 && !to_semicolon {
                        self.next += 1;
                        return;
                    }
                }
                _ => {}
            }
            self.next += 1;
            if depth == 0 && (word == ";" || word == "," && !item) {
                return;
            }
        }
    }

    /// Marks the files of a module of tests as seen. They are not read.
    fn mark_test_files(&mut self) {
        let stem = format!("{}{}", self.folders.1, self.peek(1));
        let (file, folder) = (format!("{stem}.rs"), format!("{stem}/"));
        let theirs = self.files.keys().filter(|name| **name == file || name.starts_with(&folder));
        self.seen.extend(theirs.cloned());
    }

    /// Reads a module: the braces that follow, or its files.
    fn child(&mut self, module: &Names, name: &str, paths: Vec<(String, bool)>) {
        let child = [&module[..], &[name.to_owned()]].concat();
        let inline = self.peek(2) == "{";
        self.next += 3;
        self.define(module, name.to_owned());
        if inline {
            let outer = self.folders.1.clone();
            self.folders.1 = format!("{outer}{name}/");
            self.items(&child, true);
            self.folders.1 = outer;
            return;
        }
        let mut files: Vec<String> =
            paths.iter().map(|(path, _)| format!("{}{path}", self.folders.0)).collect();
        // The path of a `cfg_attr` may not be taken: then the file has its usual name.
        if !paths.iter().any(|(_, whole)| *whole) {
            files.extend(
                ["{}.rs", "{}/mod.rs"].map(|form| self.folders.1.clone() + &form.replace("{}", name)),
            );
        }
        for file in files.iter().filter(|file| self.files.contains_key(*file)) {
            read_file(self.files, self.all, self.seen, file, &child);
        }
    }

    /// Reads the tree of a `use`. `public` is `None` within a function, because its names stay there.
    fn imports(&mut self, module: &Names, prefix: &Names, public: Option<bool>) {
        let (mut path, mut line) = (prefix.clone(), 0);
        let (mut name, mut glob, mut group) = (None, false, false);
        while self.next < self.tokens.len() {
            let word = self.peek(0).to_owned();
            match &*word {
                "," | ";" | "}" => break,
                "{" => {
                    group = true;
                    while self.next < self.tokens.len() && self.peek(0) != "}" {
                        self.next += 1;
                        self.imports(module, &path, public);
                    }
                }
                "*" => glob = true,
                "as" => {
                    self.next += 1;
                    name = Some(self.peek(0).to_owned());
                }
                "::" if !path.is_empty() => {}
                "self" if path.len() > prefix.len() || !prefix.is_empty() => {}
                _ => path.push(word),
            }
            if !matches!(self.peek(0), "}" | "::") {
                line = self.tokens[self.next].line;
            }
            self.next += 1;
        }
        if group || path.is_empty() || line == 0 {
            return;
        }
        let entry = self.all.modules.get_mut(module).expect("it is entered first");
        let name = name.unwrap_or_else(|| path[path.len() - 1].clone());
        match public {
            Some(_) if glob => entry.globs.push(path.clone()),
            Some(_) => entry.uses.entry(name).or_default().push(path.clone()),
            None => {}
        }
        if public == Some(true) {
            entry.exports.push(path.clone());
        }
        let (file, module) = (self.file.clone(), module.clone());
        let kind = if glob { Kind::Glob } else { Kind::Use };
        self.all.mentions.push(Mention { file, line, module, path, kind });
    }

    fn path_in_code(&mut self, module: &Names) {
        let line = self.tokens[self.next].line;
        let mut path = vec![self.peek(0).to_owned()];
        self.next += 1;
        while self.peek(0) == "::" && is_name(self.peek(1)) {
            path.push(self.peek(1).to_owned());
            self.next += 2;
        }
        let (file, module) = (self.file.clone(), module.clone());
        self.all.mentions.push(Mention { file, line, module, path, kind: Kind::Code });
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Returns `true` if an attribute leaves its item out of every build but that of the tests.
fn is_test(attribute: &[String]) -> bool {
    let text = attribute.concat();
    text == "test" || text.strip_prefix("cfg(").is_some_and(needs_test)
}

/// Returns `true` if the condition that `text` begins with is `test`, or an `all` with `test` in it.
fn needs_test(text: &str) -> bool {
    let mut depth = 0;
    let mut parts = text.split_inclusive([',', '(', ')']).map(|part| {
        let (name, mark) = part.split_at(part.len() - 1);
        let found = name == "test" && (depth == 0 || depth == 1);
        depth += i32::from(mark == "(") - i32::from(mark == ")");
        (name.to_owned(), found)
    });
    let Some((first, found)) = parts.next() else { return false };
    found || first == "all" && parts.any(|(_, found)| found)
}
