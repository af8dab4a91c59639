//! Documents that are refused: what is said, and where.

use super::faults::{Fault, KEYS, REFERENCES, TASKS, UNSUPPORTED, VALUES};
use super::{errors, listed, with_head};

fn each_is_refused(faults: &[Fault]) {
    for (rest, pointer, line, fragment) in faults {
        let found = errors(&with_head(rest));
        let [error] = found.as_slice() else {
            panic!("not one error:\n{}\n---\n{rest}", listed(&found));
        };
        assert_eq!(
            (error.pointer.as_str(), error.line),
            (*pointer, *line),
            "{error}\n{rest}"
        );
        assert!(error.column > 0, "{error}");
        assert!(
            error.message.contains(fragment),
            "`{fragment}` is not in: {error}"
        );
    }
}

#[test]
fn unknown_and_missing_keys_are_refused() {
    each_is_refused(KEYS);
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    each_is_refused(UNSUPPORTED);
}

#[test]
fn tasks_that_are_none_or_several_are_refused() {
    each_is_refused(TASKS);
}

#[test]
fn references_that_lead_nowhere_are_refused() {
    each_is_refused(REFERENCES);
}

#[test]
fn wrong_values_are_refused() {
    each_is_refused(VALUES);
}

#[test]
fn secrets_are_refused_wherever_they_would_be_stored() {
    let rest = "use:\n  secrets: [key]\ndo:\n";
    for (task, pointer) in [
        ("set: {x: '${ $secrets.key }'}", "/do/0/a/set/x"),
        (
            "set: {x: {y: ['${ \"a\\($secrets.key)\" }']}}",
            "/do/0/a/set/x/y/0",
        ),
        ("set: '${ $secrets }'", "/do/0/a/set"),
        (
            "wait: PT0S\n      output: {as: $secrets.key}",
            "/do/0/a/output/as",
        ),
        (
            "wait: PT0S\n      export: {as: {x: '${ $secrets.key }'}}",
            "/do/0/a/export/as/x",
        ),
        (
            "wait: PT0S\n      input: {from: $secrets}",
            "/do/0/a/input/from",
        ),
    ] {
        let found = errors(&with_head(&format!("{rest}  - a:\n      {task}\n")));
        assert_eq!(found.len(), 1, "{task}: {}", listed(&found));
        assert_eq!(found[0].pointer, pointer, "{task}");
        assert!(
            found[0]
                .message
                .contains("`$secrets` may only be read inside `with`"),
            "{}",
            found[0]
        );
    }
    each_is_refused(&[
        (
            "use:\n  secrets: [key]\ndo:\n  - a:\n      call: http\n      with: {method: GET, endpoint: 'http://a', headers: {x: '${ $secrets.kye }'}}\n",
            "/do/0/a/with/headers/x",
            11,
            "`kye` is not listed in `use.secrets`; did you mean `key`?",
        ),
        (
            "do:\n  - a:\n      call: http\n      with: {method: GET, endpoint: {uri: 'http://a', authentication: {basic: {use: login}}}}\n",
            "/do/0/a/with/endpoint/authentication/basic/use",
            9,
            "`login` is not listed",
        ),
    ]);
}

#[test]
fn the_head_of_a_document_is_checked() {
    let good = [
        "dsl: 1.0.3",
        "namespace: shop",
        "name: intake",
        "version: 0.1.0",
    ];
    for (index, bad, fragment) in [
        (0, "dsl: 0.9.0", "`0.9.0` of the language is not supported"),
        (0, "dsl: 1.1.0", "not supported"),
        (0, "dsl: 1.0.0-alpha5", "not supported"),
        (0, "dsl: 1.0", "is a number; put it in quotes"),
        (1, "namespace: my shop", "letters, digits and hyphens"),
        (1, "namespace: ''", "1 to 63"),
        (2, "name: -intake", "no hyphen at either end"),
        (2, "name: 7", "put it in quotes"),
        (3, "version: '1.0'", "not a semantic version"),
        (3, "version: v1.0.0", "not a semantic version"),
    ] {
        let mut lines = good;
        lines[index] = bad;
        let text = format!("document:\n  {}\ndo: []\n", lines.join("\n  "));
        let found = errors(&text);
        let key = bad.split(':').next().expect("a key");
        assert_eq!(found.len(), 1, "{bad}: {}", listed(&found));
        assert_eq!(found[0].pointer, format!("/document/{key}"), "{bad}");
        assert_eq!(found[0].line as usize, index + 2, "{bad}");
        assert!(found[0].message.contains(fragment), "{bad}: {}", found[0]);
    }
    let found = errors("document: {}\ndo: []\n");
    assert_eq!(found.len(), 4, "{}", listed(&found));
    let found = errors("- a\n");
    assert_eq!(found.len(), 1, "{}", listed(&found));
    assert!(
        found[0].message.contains("must be an object"),
        "{}",
        found[0]
    );
}

#[test]
fn every_finding_is_reported_at_once_in_the_order_of_the_text() {
    let found = errors(&with_head(
        "use:\n  retries:\n    r: {dealy: PT1S}\ndo:\n  - a:\n      set: {x: 1}\n      thne: end\n  \
         - b:\n      fork: {}\n  - c:\n      wait: soon\n      then: d\n  - e:\n      try:\n        - f:\n            \
         run: {}\n      catch: {retry: r}\n  - g:\n      try: []\n      catch: {retry: r}\n",
    ));
    let places: Vec<_> = found.iter().map(|f| (f.line, f.pointer.as_str())).collect();
    assert_eq!(
        places,
        [
            (8, "/use/retries/r/dealy"),
            (12, "/do/0/a/thne"),
            (14, "/do/1/b/fork"),
            (16, "/do/2/c/wait"),
            (17, "/do/2/c/then"),
            (21, "/do/3/e/try/0/f/run"),
        ]
    );
}

#[test]
fn json_documents_are_refused_with_their_places_too() {
    let found = errors(
        "{\"document\": {\"dsl\": \"1.0.3\", \"namespace\": \"a\", \"name\": \"b\",\n  \"version\": \"1.0.0\"},\n \
         \"do\": [\n  {\"a\": {\"set\": {\"x\": 1}, \"thne\": \"end\"}}]}",
    );
    assert_eq!(found.len(), 1, "{}", listed(&found));
    assert_eq!((found[0].line, found[0].column), (4, 27));
    assert_eq!(found[0].pointer, "/do/0/a/thne");
}

#[test]
fn expressions_that_do_not_compile_are_findings_at_their_pointers() {
    let found = errors(&with_head(
        "input: {from: '.a |'}\nuse:\n  retries:\n    r: {when: $error.status > 500}\ndo:\n  - a:\n      \
         if: ${ .x and }\n      set:\n        x: ['${ .y', '${ nothing(1) }']\n        \
         y: '${ $item }'\n  - b:\n      for: {in: .x}\n      while: $item < 3 and $position\n      do:\n        \
         - c: {set: {x: '${ $item + $index }'}}\n  - d:\n      try: []\n      catch: {as: trouble, retry: r}\n",
    ));
    let places: Vec<_> = found.iter().map(|f| (f.line, f.pointer.as_str())).collect();
    assert_eq!(
        places,
        [
            (6, "/input/from"),
            // Read where it is used, where the error has another name.
            (9, "/use/retries/r/when"),
            (12, "/do/0/a/if"),
            (14, "/do/0/a/set/x/0"),
            (14, "/do/0/a/set/x/1"),
            (15, "/do/0/a/set/y"),
            (18, "/do/1/b/while"),
        ],
        "{}",
        listed(&found)
    );
    let unclosed = &found[3].message;
    assert!(unclosed.contains("not closed"), "{unclosed}");
    for finding in found[..3].iter().chain(&found[4..]) {
        let expected = "this expression does not compile: ";
        assert!(finding.message.starts_with(expected), "{finding}");
    }
}
