//! No files of the program import each other in a circle.
//!
//! A module and those within it may name each other: they are one subject. A name that a module
//! only passes on (`pub use`) counts as an import of where it is defined.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::sources;

type Module = Vec<String>;

/// A module's production code, without comments.
struct Code {
    text: String,
    /// What it passes on, with the paths of where that is defined.
    passed_on: BTreeMap<String, Vec<String>>,
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let modules = modules();
    assert!(modules.len() > 200, "only {} modules were found", modules.len());
    let imports: BTreeMap<&Module, BTreeSet<Module>> =
        modules.iter().map(|(module, code)| (module, imports(&modules, module, code))).collect();
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 1_000, "imports are not found");
    let (mut done, mut circles) = (BTreeSet::new(), Vec::new());
    for module in modules.keys() {
        look_for_circles(&imports, module, &mut Vec::new(), &mut done, &mut circles);
    }
    assert!(circles.is_empty(), "these import each other:\n{}", circles.join("\n"));
}

#[test]
fn imports_are_read_with_their_groups() {
    let text =
        "use super::{a::B, c::{self, D as E}};\npub use crate::f::*;\nfn g() { crate::h::i() }";
    let found = paths_of(text);
    for path in ["super::a::B", "super::c::self", "super::c::D", "crate::f::*", "crate::h::i"] {
        assert!(found.iter().any(|found| found == path), "{path} is not among {found:?}");
    }
}

fn look_for_circles(
    imports: &BTreeMap<&Module, BTreeSet<Module>>,
    module: &Module,
    way: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
    circles: &mut Vec<String>,
) {
    if let Some(at) = way.iter().position(|before| before == module) {
        let circle: Vec<String> = way[at..].iter().map(|module| module.join("::")).collect();
        circles.push(circle.join(" -> "));
        return;
    }
    if done.contains(module) {
        return;
    }
    way.push(module.clone());
    for imported in &imports[module] {
        look_for_circles(imports, imported, way, done, circles);
    }
    way.pop();
    done.insert(module.clone());
}

/// Every module that is no test's.
fn modules() -> BTreeMap<Module, Code> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::new();
    let mut of_tests: Vec<Module> = Vec::new();
    for (path, text) in sources("src") {
        let within = path.strip_prefix(&root).unwrap().with_extension("");
        let mut module: Module =
            within.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        module.pop_if(|last| ["mod", "lib", "main"].contains(&last.as_str()));
        for part in text.split("#[cfg(test)]").skip(1) {
            let name =
                part.trim_start().strip_prefix("mod ").and_then(|rest| rest.split(';').next());
            of_tests.extend(name.map(|name| [module.clone(), vec![name.to_owned()]].concat()));
        }
        let production: Vec<&str> = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let text = production.join("\n");
        let passed_on = passed_on(&text);
        if !path.ends_with("main.rs") {
            modules.insert(module, Code { text, passed_on });
        }
    }
    modules.retain(|module, _| !of_tests.iter().any(|tests| module.starts_with(tests)));
    modules
}

fn imports(modules: &BTreeMap<Module, Code>, module: &Module, code: &Code) -> BTreeSet<Module> {
    let imported = paths_of(&code.text).into_iter().map(|path| resolve(modules, module, &path));
    imported.filter(|to| !to.starts_with(module) && !module.starts_with(to)).collect()
}

/// The module in which a path's name is defined, as seen from `module`.
fn resolve(modules: &BTreeMap<Module, Code>, module: &Module, path: &str) -> Module {
    let mut at = module.clone();
    for part in path.split("::") {
        match part {
            "crate" => at.clear(),
            "self" => {}
            "super" => drop(at.pop()),
            name => {
                let inner = [at.clone(), vec![name.to_owned()]].concat();
                if modules.contains_key(&inner) {
                    at = inner;
                } else {
                    let passed_on = modules.get(&at).and_then(|code| code.passed_on.get(name));
                    let Some(path) = passed_on else { return at };
                    return resolve(modules, &at, &path.join("::"));
                }
            }
        }
    }
    at
}

fn passed_on(text: &str) -> BTreeMap<String, Vec<String>> {
    let statements = statements(text).into_iter().filter(|statement| statement.starts_with("pub"));
    let paths = statements.flat_map(|statement| expanded(statement.split_once("use ").unwrap().1));
    let parts = paths.map(|path| path.split("::").map(str::to_owned).collect::<Vec<_>>());
    parts
        .filter(|parts| parts.len() > 1)
        .map(|parts| (parts[parts.len() - 1].clone(), parts))
        .collect()
}

/// Every path of this crate that a text names.
fn paths_of(text: &str) -> Vec<String> {
    let imported = statements(text).into_iter().flat_map(|statement| {
        let (_, tree) = statement.split_once("use ").unwrap();
        expanded(tree)
    });
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let inline = text.split(|c| !is_part(c)).map(str::to_owned);
    let is_ours =
        |path: &String| ["crate::", "super::", "self::"].iter().any(|root| path.starts_with(root));
    imported.chain(inline).filter(is_ours).collect()
}

/// The `use` statements of a text, each with what makes it public.
fn statements(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
        let before = text[line_start..at].trim();
        if before.is_empty() || before == "pub" || before.starts_with("pub(") {
            let end = text[at..].find(';').map_or(text.len(), |end| at + end);
            found.push(format!("{before} {}", &text[at..end]).trim().to_owned());
        }
    }
    found
}

/// The paths of a tree such as `a::{b, c::{d, e as f}}`.
fn expanded(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((root, group)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let group = group.trim_end().strip_suffix('}').unwrap_or(group);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&group[start..]);
    let inner = parts.into_iter().filter(|part| !part.trim().is_empty()).flat_map(expanded);
    inner.map(|path| format!("{}{path}", root.trim())).collect()
}
