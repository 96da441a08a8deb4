//! Small crates whose circles are known.

use crate::reader::Crate;

/// The faults of a crate with these files.
fn faults(files: &[(&str, &str)]) -> Vec<String> {
    let files = files.iter().map(|(name, source)| ((*name).to_owned(), (*source).to_owned())).collect();
    Crate::read(&files, "lib.rs").faults()
}

/// The circles, without the places.
fn circles(files: &[(&str, &str)]) -> Vec<String> {
    faults(files).iter().map(|fault| fault.lines().next().unwrap_or_default().to_owned()).collect()
}

/// The circles of a crate with a given source of `low`, and with `high`, which imports from `low`.
fn low_below_high(low: &str) -> Vec<String> {
    circles(&[
        ("lib.rs", "mod high; mod low; pub use crate::high::High;"),
        (
            "high.rs",
            "use crate::low::Low; pub struct High; pub fn make() {} pub mod inner { pub struct In; }",
        ),
        ("low.rs", &format!("pub struct Low;\n{low}")),
    ])
}

const CIRCLE: &str = "a circle of imports: high → low → high";

#[test]
fn imports_that_go_down_are_fine() {
    assert!(low_below_high("use std::io; use log::Level; fn f() { std::mem::drop(io::empty()) }").is_empty());
    assert!(
        low_below_high("use self::high::X; mod high { pub struct X; } use self::high as other;").is_empty()
    );
}

#[test]
fn an_upward_import_is_told_with_its_files_and_lines() {
    let found = faults(&[
        ("lib.rs", "mod high;\nmod low;"),
        ("high/mod.rs", "mod inner;\npub(crate) struct High;"),
        ("high/inner.rs", "use std::io;\nuse crate::low::Low;"),
        ("low.rs", "pub(crate) struct Low;\n\nuse crate::{\n    high::High,\n};"),
    ]);
    assert_eq!(
        found,
        ["a circle of imports: high → low → high\n  \
          high imports from low:\n    high/inner.rs:2: crate::low::Low\n  \
          low imports from high:\n    low.rs:4: crate::high::High"]
    );
}

#[test]
fn every_form_of_an_import_counts() {
    for low in [
        "use crate::high::High;",
        "use crate::high;",
        "use crate::high::*;",
        "use super::high::High as Other;",
        "pub(crate) use crate::{low::Low as Same, high::{self, inner::{In,}}};",
        "use crate::{\n    // high is above us\n    high as above,\n};",
        "fn f() { use crate::high::High; }",
        "fn f() -> crate::high::High { todo!() }",
        "fn f() { let all = [..crate::high::make()]; }",
        "macro_rules! low { () => { $crate::high::make() } }",
        "mod inner { use super::super::high::High; }",
        "#[cfg(not(test))] use crate::high::High;",
        "#[cfg(any(test, unix))] use crate::high::High;",
        "#[cfg(unix)] mod unix { #[cfg(all(unix, not(test)))] use crate::high::High; }",
        "const QUOTE: char = '\"'; use crate::high::High; const OTHER: &str = \"\\\"\";",
        "fn f<'a>(x: &'a str) { let y = r#\"a \" quote\"#; crate::high::make() }",
    ] {
        assert_eq!(low_below_high(low), [CIRCLE], "{low}");
    }
}

#[test]
fn a_re_export_does_not_hide_a_circle() {
    // By the root of the crate.
    assert_eq!(low_below_high("use crate::High;"), [CIRCLE]);
    assert_eq!(low_below_high("use super::High as Other;"), [CIRCLE]);
    assert_eq!(low_below_high("fn f() -> crate::High { todo!() }"), [CIRCLE]);

    // By a third part of the crate: under another name, by a glob, and as a module.
    for (third, low) in [
        ("pub(crate) use crate::high::High;", "use crate::third::High;"),
        ("pub(crate) use crate::high::High;", "use crate::third::*;"),
        ("pub(crate) use crate::high::High;", "use crate::third; fn f() -> third::High { todo!() }"),
        ("pub(crate) use crate::high::High as Other;", "use crate::third::{Other, self};"),
        ("pub(crate) use crate::high::*;", "use crate::third::High;"),
        ("pub(crate) use crate::high;", "use crate::third::high::High;"),
        (
            "mod inner { pub(crate) use crate::high::High; } pub(crate) use inner::High;",
            "use crate::third::High;",
        ),
    ] {
        let found = circles(&[
            ("lib.rs", "mod high; mod low; mod third;"),
            ("high.rs", "use crate::low::Low; pub struct High;"),
            ("third/mod.rs", third),
            ("low.rs", &format!("pub struct Low; {low}")),
        ]);
        assert!(found.contains(&CIRCLE.to_owned()), "{third} {low}: {found:?}");
    }
}

#[test]
fn a_re_export_is_no_import_of_the_part_that_re_exports() {
    let found = circles(&[
        ("lib.rs", "mod base; mod middle; mod top;"),
        ("base.rs", "pub struct Base;"),
        ("middle.rs", "pub(crate) use crate::base::Base; use crate::top::Top;"),
        ("top.rs", "use crate::middle::Base; pub struct Top;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_circle_may_be_longer() {
    let found = circles(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B;"),
        ("b/mod.rs", "pub mod deep; pub use deep::B;"),
        ("b/deep.rs", "pub struct B; use crate::c::C;"),
        ("c.rs", "pub struct C; fn f() { crate::a::g() }"),
    ]);
    assert_eq!(found, ["a circle of imports: a → b → c → a"]);
}

#[test]
fn files_of_one_folder_may_import_each_other() {
    let found = circles(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod x; mod y; use x::X;"),
        ("a/x.rs", "use super::y::Y; pub struct X;"),
        ("a/y.rs", "use crate::a::x::X; pub struct Y; use super::*;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn tests_comments_and_texts_are_ignored() {
    for low in [
        "#[cfg(test)] mod tests { use crate::high::High; fn f() { if true {} } }",
        "#[cfg(all(test, shuttle))] use crate::high::{High};",
        "#[cfg(test)] #[derive(Debug)] struct Two<A, B>(A, B, crate::high::High);",
        "#[test] fn f() { crate::high::make() }",
        "struct S { #[cfg(test)] high: crate::high::High, low: Low }",
        "//! [`crate::high::High`]\n/// crate::high::High\n// use crate::high::High;",
        "/* use crate::high::High; /* nested */ use crate::high::High; */",
        "const TEXT: &str = \"crate::high::High \\\" crate::high::High\";",
        "const TEXT: &str = r##\"\"# crate::high::High\"##;",
        "const CHARS: [char; 2] = ['\"', '\\''];",
    ] {
        assert!(low_below_high(low).is_empty(), "{low}");
    }
    let found = circles(&[
        ("lib.rs", "mod checks; mod low;"),
        ("checks.rs", "#![cfg(test)]\nuse crate::low::Low; pub struct Check;"),
        ("low.rs", "pub struct Low; use crate::checks::Check;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
    let found = circles(&[
        ("lib.rs", "#[cfg(all(test, shuttle))] mod model; mod low;"),
        ("model/mod.rs", "use crate::low::Low; pub struct Model;"),
        ("model/other.rs", "not even Rust"),
        ("low.rs", "pub struct Low; use crate::model::Model;"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_module_may_have_a_file_of_another_name() {
    for attribute in ["path = \"low_unix.rs\"", "cfg_attr(unix, path = \"low_unix.rs\")"] {
        let found = circles(&[
            ("lib.rs", &format!("mod high; #[{attribute}] mod low;")),
            ("high.rs", "use crate::low::Low; pub struct High;"),
            ("low_unix.rs", "pub struct Low; use crate::high::High;"),
        ]);
        assert_eq!(found, [CIRCLE], "{attribute}");
    }
}

#[test]
fn a_file_that_no_module_declares_is_told() {
    assert_eq!(faults(&[("lib.rs", ""), ("lost.rs", "")]), ["no module declares lost.rs"]);
}
