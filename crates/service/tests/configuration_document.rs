//! docs/configuration.md is made from the code: its settings, their defaults,
//! and what the fields of the configuration say of themselves.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use millrace_service::config::Sources;

const FIELDS: &str = include_str!("../src/config/mod.rs");
const SETTINGS: &str = include_str!("../src/config/settings.rs");

#[test]
fn the_document_of_the_configuration_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let wanted = document();
    if std::env::var_os("MILLRACE_WRITE_DOCS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/configuration.md does not fit the code: run `make docs`"
    );
}

fn document() -> String {
    let mut text = HEAD.to_owned();
    let documentation = documentation();
    let variables = variables();
    for (section, keys) in sections() {
        let _ = write!(
            text,
            "\n## {section}\n\n| setting | variable | default | meaning |\n|---|---|---|---|\n"
        );
        for (name, default) in keys {
            let key = format!("{section}.{name}");
            let meaning = documentation
                .get(&key)
                .unwrap_or_else(|| panic!("the field of `{key}` has no documentation"));
            let default = default.map_or_else(String::new, |value| format!("`{value}`"));
            let own = key.to_ascii_uppercase().replace('.', "__");
            let mut variable = format!("`MILLRACE_{own}`");
            if let Some(alias) = variables.get(&key) {
                variable = format!("`{alias}` or {variable}");
            }
            let _ = writeln!(
                text,
                "| `{key}` | {variable} | {default} | {} |",
                meaning.replace('|', "\\|")
            );
        }
    }
    text
}

const HEAD: &str = "# Configuration

<!-- Made from crates/service/src/config by `make docs`; `make test` fails when it is stale. -->

Layers, the later ones winning: defaults, a file (`--config FILE`, or `millrace.toml` in
the working directory), variables of the environment, flags (`millrace ROLE --help`).
In the file, `gateway.listen` is `listen` in the table `[gateway]`. A setting that does
not exist is refused, with the one that may have been meant.

`millrace ROLE --print-config` shows what holds, and where each value comes from;
secrets are masked.

Durations are `10s`, `1m 30s` or `PT10S`, sizes are bytes or `512KiB`, lists are arrays
in the file and have commas in variables and flags.
";

type Keys = Vec<(String, Option<String>)>;

/// The settings in the order in which they are printed, with their defaults.
fn sections() -> Vec<(String, Keys)> {
    let nowhere = tempfile::tempdir().unwrap();
    let sources = Sources {
        directory: nowhere.path().to_owned(),
        ..Sources::default()
    };
    let mut sections: Vec<(String, Keys)> = Vec::new();
    for line in sources.load().unwrap().to_toml().lines() {
        if let Some(section) = line.strip_prefix('[') {
            sections.push((section.trim_end_matches(']').to_owned(), Vec::new()));
        } else if let Some(name) = line.strip_suffix(" is not set") {
            let name = name.trim_start_matches("# ").to_owned();
            sections.last_mut().unwrap().1.push((name, None));
        } else if let Some((name, value)) = line.split_once(" = ") {
            let value = value.trim_end_matches("  # default").to_owned();
            sections
                .last_mut()
                .unwrap()
                .1
                .push((name.to_owned(), Some(value)));
        }
    }
    sections
}

/// For each setting, what the documentation of its field says.
fn documentation() -> BTreeMap<String, String> {
    let structs = structs();
    let mut found = BTreeMap::new();
    collect(&structs, "Config", "", &mut found);
    found
}

/// `(field, type, documentation)` of each struct.
type Structs = BTreeMap<String, Vec<(String, String, String)>>;

fn collect(structs: &Structs, name: &str, prefix: &str, found: &mut BTreeMap<String, String>) {
    for (field, kind, meaning) in &structs[name] {
        let key = match prefix {
            "" => field.clone(),
            prefix => format!("{prefix}.{field}"),
        };
        if structs.contains_key(kind) {
            collect(structs, kind, &key, found);
        } else if !meaning.is_empty() {
            found.insert(key, meaning.clone());
        }
    }
}

fn structs() -> Structs {
    let mut structs = Structs::new();
    let mut open: Option<String> = None;
    let mut meaning = String::new();
    for line in FIELDS.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub struct ") {
            let name = rest.split(' ').next().unwrap().to_owned();
            structs.insert(name.clone(), Vec::new());
            open = Some(name);
        } else if line == "}" {
            open = None;
        } else if let Some(text) = line.strip_prefix("///") {
            if !meaning.is_empty() {
                meaning.push(' ');
            }
            meaning.push_str(text.trim());
            continue;
        } else if let (Some(name), Some(field)) = (&open, line.strip_prefix("pub ")) {
            let (field, kind) = field.split_once(": ").expect("a field");
            let kind = kind.trim_end_matches(',').to_owned();
            let meaning = std::mem::take(&mut meaning);
            structs
                .get_mut(name)
                .unwrap()
                .push((field.to_owned(), kind, meaning));
        }
        meaning.clear();
    }
    structs
}

/// Variables with names of their own, by setting.
fn variables() -> BTreeMap<String, String> {
    let aliases = SETTINGS.split("const ALIASES").nth(1).unwrap();
    let aliases = aliases.split("];").next().unwrap();
    let pairs = aliases.lines().filter_map(|line| {
        let inner = line.trim().strip_prefix("(\"")?.strip_suffix("\"),")?;
        let (variable, key) = inner.split_once("\", \"")?;
        Some((key.to_owned(), variable.to_owned()))
    });
    pairs.collect()
}
