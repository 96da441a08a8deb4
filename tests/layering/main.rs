//! Imports go down only: no circle of imports joins two parts of the crate.
//!
//! The test reads the source files. A folder directly in `src` is one part, and a file directly in `src`
//! is another. Files of one folder may import each other. A path that names a re-export counts as an
//! import of the module that defines the name. The root file (`lib.rs` or `main.rs`) is exempt, because
//! it declares and re-exports. Code that only tests contain is ignored.
//!
//! - `tokens` splits the source text.
//! - `reader` finds the modules, their items, and the paths that they mention.
//! - `circles` finds the modules that those paths lead to, and the circles.
//! - `fakes` tests all three with small crates.

mod circles;
mod fakes;
mod reader;
mod tokens;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reader::Crate;

#[test]
fn no_circle_of_imports_joins_two_parts_of_the_crate() {
    assert_layered("src", "lib.rs");
}

#[test]
fn no_circle_of_imports_joins_two_parts_of_the_benchmark() {
    assert_layered("benches/servers", "main.rs");
}

#[track_caller]
fn assert_layered(folder: &str, root: &str) {
    let mut files = BTreeMap::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), "", &mut files);
    let faults = Crate::read(&files, root).faults();
    assert!(faults.is_empty(), "in {folder}:\n\n{}\n", faults.join("\n\n"));
}

/// Reads each `.rs` file below `folder`. The keys are their paths within it.
fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            files.insert(name, fs::read_to_string(entry.path()).unwrap());
        }
    }
}
