//! The definitions that programs may call: jaq's library without what reaches
//! the host, woven once.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jaq_core::load::parse::Def;

use super::weave;

/// Definitions that would reach the host.
const HOST: [&str; 4] = ["debug", "stderr", "halt", "halt_error"];

/// What jq has and jaq has not.
const OURS: &str = r#"
def ascii: [.] | implode;
def toarray: if isarray then . else [.] end;
def trimstr($s): ltrimstr($s) | rtrimstr($s);
def leaf_paths: paths(scalars);
def delpaths($paths): reduce ($paths | sort | reverse[]) as $path (.; getpath($path) |= empty);
def del(f): delpaths([path(f)]);
def IN(s): . as $x | any(s; . == $x);
def IN(src; s): any(src | IN(s); .);
def INDEX(s; f): reduce s as $row ({}; .[$row | f | tostring] = $row);
def INDEX(f): INDEX(.[]; f);
def join($s): reduce .[] as $x (null;
  (if . == null then "" else . + $s end)
  + ($x | if . == null then "" elif . < [] then tostring
          else error("only strings, numbers and booleans can be joined") end)
) // "";
def from_entries: reduce .[] as $x ({}; . + {
  ($x | if .key == null then .k // .name // .Name // .K // .Key else .key end
      | if isstring then . else tojson end):
  ($x | if has("value") then .value elif has("v") then .v else .Value end)
});
def with_entries(f): to_entries | map(f) | from_entries;
def @csv: [.[] | if isstring then "\"" + (split("\"") | join("\"\"")) + "\"" else [.] | join("") end] | join(",");
def @tsv: [.[] | if isstring then
    gsub("\\\\"; "\\\\") | gsub("\t"; "\\t") | gsub("\n"; "\\n") | gsub("\r"; "\\r")
  else [.] | join("") end] | join("\t");
"#;

/// A definition and the names it mentions.
pub(super) struct Known {
    def: Def<&'static str>,
    mentions: BTreeSet<&'static str>,
}

static KNOWN: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let ours = jaq_core::load::parse(OURS, |p| p.defs()).unwrap_or_default();
    let all = jaq_core::defs()
        .chain(jaq_std::defs())
        .chain(jaq_json::defs())
        .chain(ours);
    let harmless = all.filter(|def| !HOST.contains(&def.name));
    harmless
        .map(|def| {
            let mentions = weave::mentions(&def.body);
            Known {
                def: weave::library(def),
                mentions,
            }
        })
        .collect()
});

/// The definitions needed by a program that mentions these names, in order.
///
/// A compiled program holds all definitions it is compiled with, and compiling
/// takes time for each: so only what can be reached.
pub(super) fn reachable(names: &BTreeSet<&str>) -> (Vec<Def<&'static str>>, BTreeSet<String>) {
    let mut wanted: BTreeSet<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut needed = vec![false; KNOWN.len()];
    // Definitions only mention what comes before them, so one pass backwards
    // finds all of them.
    for (i, known) in KNOWN.iter().enumerate().rev() {
        if wanted.contains(known.def.name) {
            needed[i] = true;
            wanted.extend(known.mentions.iter().map(|&name| name.to_owned()));
        }
    }
    let defs = KNOWN.iter().zip(needed).filter(|(_, needed)| *needed);
    (defs.map(|(known, _)| known.def.clone()).collect(), wanted)
}
