//! Finds the modules that paths lead to, and the circles of imports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::reader::{Crate, Kind, Mention, Names};

/// The places of the imports, by the importing part of the crate and the imported one.
type Edges = BTreeMap<(String, String), BTreeSet<Place>>;
/// A file, a line, and the path that is written there.
type Place = (String, usize, String);
/// The names that were followed already: a module, and the path that a `use` in it gives a name to.
type Followed = BTreeSet<(Names, Names)>;

impl Crate {
    /// Describes each circle of imports, and each file that belongs to no module.
    pub(crate) fn faults(&self) -> Vec<String> {
        let edges = self.edges();
        let strays = self.strays.iter().map(|file| format!("no module declares {file}"));
        strays.chain(circles(&edges).iter().map(|circle| describe(circle, &edges))).collect()
    }

    fn edges(&self) -> Edges {
        let mut edges = Edges::new();
        for mention in &self.mentions {
            let Some(from) = part(&mention.module) else { continue };
            let modules = self.destinations(mention);
            for to in modules.iter().filter_map(part).filter(|to| *to != from) {
                let place = (mention.file.clone(), mention.line, mention.path.join("::"));
                edges.entry((from.clone(), to)).or_default().insert(place);
            }
        }
        edges
    }

    /// The modules that define the name at the end of the path.
    fn destinations(&self, mention: &Mention) -> BTreeSet<Names> {
        let Mention { module, path, kind, .. } = mention;
        let resolve = |path: &[String]| self.resolve(module, path, &mut Followed::new());
        let mut found = BTreeSet::new();
        // A name that is found nowhere comes from a macro. The module that should have it counts.
        for length in (1..=path.len()).rev().take_while(|_| is_ours(path) || *kind != Kind::Code) {
            found = resolve(&path[..length]);
            if !found.is_empty() {
                break;
            }
        }
        match kind {
            Kind::Use => {}
            // It brings in all that is exported there, except to the module's own children.
            Kind::Glob => {
                for at in found.clone().iter().filter(|at| !module.starts_with(at)) {
                    for export in &self.modules[at].exports {
                        found.extend(self.resolve(at, export, &mut Followed::new()));
                    }
                }
            }
            // The import that gives the path its first name is counted where it is written.
            Kind::Code if !is_ours(path) => {
                found = resolve(path);
                let import = resolve(&path[..1]);
                found.retain(|to| !import.iter().any(|known| part(known) == part(to)));
            }
            Kind::Code => {}
        }
        found
    }

    /// The modules that define `path`, which is written in `module`. There are none for other crates.
    fn resolve(&self, module: &Names, path: &[String], followed: &mut Followed) -> BTreeSet<Names> {
        let (mut at, mut rest) = (module.clone(), path);
        while let Some((first, behind)) = rest.split_first() {
            match &**first {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                "self" => {}
                _ => break,
            }
            rest = behind;
        }
        self.walk(&at, rest, followed)
    }

    fn walk(&self, at: &Names, rest: &[String], followed: &mut Followed) -> BTreeSet<Names> {
        let Some(module) = self.modules.get(at) else { return BTreeSet::new() };
        let Some((name, behind)) = rest.split_first() else { return BTreeSet::from([at.clone()]) };
        let child = [&at[..], std::slice::from_ref(name)].concat();
        let mut found = BTreeSet::new();
        if self.modules.contains_key(&child) {
            found.extend(self.walk(&child, behind, followed));
        } else if module.items.contains(name) {
            found.insert(at.clone());
        }
        for target in module.uses.get(name).into_iter().flatten() {
            if followed.insert((at.clone(), target.clone())) {
                found.extend(self.resolve(at, &[target, behind].concat(), followed));
            }
        }
        if found.is_empty() {
            for glob in &module.globs {
                if followed.insert((at.clone(), [glob.clone(), vec!["*".to_owned()]].concat())) {
                    found.extend(self.resolve(at, &[glob, rest].concat(), followed));
                }
            }
        }
        found
    }
}

/// Returns `true` if a path says by its first name that it leads into this crate.
fn is_ours(path: &[String]) -> bool {
    matches!(&*path[0], "crate" | "super" | "self")
}

/// The part of the crate that a module belongs to: a folder, or a file. The root belongs to none.
fn part(module: &Names) -> Option<String> {
    module.first().cloned()
}

/// The shortest circle through each import that is in one. Each circle begins with its first name.
fn circles(edges: &Edges) -> BTreeSet<(usize, Vec<String>)> {
    let mut circles = BTreeSet::new();
    for (from, to) in edges.keys() {
        let Some(mut circle) = way(edges, to, from) else { continue };
        let least = circle.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(place, _)| place);
        circle.rotate_left(least);
        circles.insert((circle.len(), circle));
    }
    circles
}

/// The shortest way from one part of the crate to another, both included.
fn way(edges: &Edges, from: &String, to: &String) -> Option<Vec<String>> {
    let (mut came_from, mut queue) = (BTreeMap::from([(from, from)]), VecDeque::from([from]));
    while let Some(at) = queue.pop_front() {
        if at == to {
            let mut way = vec![at.clone()];
            while way[way.len() - 1] != *from {
                way.push(came_from[&way[way.len() - 1]].clone());
            }
            way.reverse();
            return Some(way);
        }
        for (_, next) in edges.keys().filter(|(start, _)| start == at) {
            if !came_from.contains_key(next) {
                came_from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    None
}

fn describe((_, circle): &(usize, Vec<String>), edges: &Edges) -> String {
    let mut text = format!("a circle of imports: {} → {}", circle.join(" → "), circle[0]);
    for (from, to) in circle.iter().zip(circle.iter().cycle().skip(1)) {
        text += &format!("\n  {from} imports from {to}:");
        for (file, line, path) in &edges[&(from.clone(), to.clone())] {
            text += &format!("\n    {file}:{line}: {path}");
        }
    }
    text
}
