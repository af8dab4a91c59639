//! Programs written to hurt. Each must end in the named error, soon, with
//! little memory, on a thread of 2 MiB as tokio's workers are, and leave
//! nothing running.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use super::*;
use crate::value::Value;

/// As much as a hostile program may take in a debug build on a busy machine.
const LONGEST: Duration = Duration::from_mins(1);

fn on_a_small_stack<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        thread
            .spawn_scoped(scope, f)
            .expect("spawns")
            .join()
            .expect("does not panic")
    })
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

fn run(source: &str) -> Result<Value, EvalError> {
    on_a_small_stack(|| {
        let expression =
            Expression::compile(source, &[]).unwrap_or_else(|e| panic!("{source}: {e}"));
        let start = Instant::now();
        let value = expression.eval(&Value::Null, &Variables::default());
        let took = start.elapsed();
        println!("{took:>10.2?}  {source:.90}  ->  {value:.90?}");
        assert!(took < LONGEST, "{source} took {took:?}");
        value
    })
}

#[track_caller]
fn stops(source: &str, limit: Limit) {
    assert_eq!(run(source), Err(EvalError::Limit(limit)), "{source}");
}

#[track_caller]
fn stops_somehow(source: &str) {
    let value = run(source);
    assert!(
        matches!(value, Err(EvalError::Limit(_))),
        "{source}: {value:?}"
    );
}

#[track_caller]
fn refused(source: &str) {
    let compiled = on_a_small_stack(|| Expression::compile(source, &[]).is_ok());
    assert!(!compiled, "it compiles: {source:.100}");
}

#[test]
fn what_reaches_the_host_does_not_compile() {
    for source in [
        "halt",
        "halt(1)",
        "halt_error",
        "halt_error(1)",
        "env",
        "$ENV",
        "env.PATH",
        "input",
        "inputs",
        "debug",
        "debug(1)",
        "stderr",
        "input_filename",
        "$__prog_args",
        "$__loc__",
        "localtime",
        "strflocaltime(\"%H\")",
        "import \"a\" as a; 1",
        "include \"a\"; 1",
        "get_search_list",
        "input_line_number",
        "modulemeta",
        "debug_empty",
        "stderr_empty",
        "getenv(\"PATH\")",
        "load(\"a\")",
        "__loc__",
        "system(\"ls\")",
    ] {
        refused(source);
    }
}

#[test]
fn endless_loops_run_out_of_fuel() {
    for source in [
        "def f: f; f",
        "def f: def g: f; g; f",
        "last(range(1000000000))",
        "last(range(0; 1; 0))",
        "first(range(1000000000) | empty)",
        "reduce range(1000000000) as $i (0; .)",
        "last(foreach range(1000000000) as $i (0; .; empty))",
        "last(repeat(1))",
        "first(repeat(empty))",
        "last(recurse(.))",
        "last(null | while(true; .))",
        "until(false; .)",
        "0 | until(. < 0; . + 1)",
        "[skip(1000000000; repeat(1))]",
        "isempty(repeat(empty))",
        "all(repeat(true); .)",
        "last(limit(1000000000; repeat(1)))",
        "label $out | repeat(empty)",
        "first(def f: empty, f; f)",
        "[range(100000)] as $a | $a | last(.[] as $x | $a[] as $y | $a[])",
        "last(range(1e9))",
        "\"a\" | until(false; ascii_downcase)",
        "1 | [range(1000)] as $r | last($r[] | $r[] | $r[] | $r[])",
    ] {
        stops_somehow(source);
    }
}

#[test]
fn doubling_without_values_runs_out_of_fuel() {
    let doubling = vec!["(.,.)"; 60].join("|");
    stops(&format!("last({doubling})"), Limit::Fuel);
    let mut calls = String::from("def f0: .,.; ");
    for i in 1..60 {
        write!(calls, "def f{i}: f{} | f{}; ", i - 1, i - 1).expect("writes");
    }
    stops(&format!("{calls} last(f59)"), Limit::Fuel);
    let mut closures = String::from("def f0(g): g | g; ");
    for i in 1..40 {
        write!(closures, "def f{i}(g): f{0}(f{0}(g)); ", i - 1).expect("writes");
    }
    stops_somehow(&format!("{closures} last(f39(.))"));
}

#[test]
fn running_out_cannot_be_caught() {
    for source in [
        "def f: try f catch f; f",
        "def f: try error(1) catch f; f",
        "try (def f: f; f) catch 1",
        "(def f: f; f)?",
        "(def f: f; f) // 1",
        "first((def f: f; f)?, 1)",
        "try last(range(1000000000)) catch \"caught\"",
        "[.[]?, (try last(range(1000000000)) catch 1)]",
        "label $out | try (def f: f; f) catch break $out",
        "isempty(def f: f; f)",
        "def f: (f | error)? // f; f",
        "def f: 1 + f; try f catch 1",
        "try (\"a\" * 1000000000) catch 1",
        "try [range(1000000000)] catch 1",
        "reduce range(1000) as $i (0; try last(range(1000000000)) catch 0)",
        "[limit(3; repeat(try last(range(1000000000)) catch 1))]",
    ] {
        stops_somehow(source);
    }
}

#[test]
fn recursion_is_bounded() {
    for source in [
        "def f: 1 + f; f",
        "def f: [f]; f",
        "def f: {a: f}; f",
        "def f: f | .; f",
        "def f: first(f); f",
        "def f: (f as $x | $x); f",
        "def f: if f then 1 else 2 end; f",
        "def f: def g: 1 + f; g; f",
        "def f: -f; f",
        "def f: \"\\(f)\"; f",
        "def f: .[f]; f",
        "def f: label $l | f; f",
        "def f: reduce f as $x (0; .); f",
        "def f: reduce 1 as $x (0; f); f",
        "def f: [1] | sort_by(f); f",
        "def f: try (1 + f) catch 1; f",
        "def f: (1 + f) // 1; f",
        "def f($n): 1 + f($n + 1); f(0)",
        "[limit(100000; def f: 1, (f | .); f)] | length",
        "def f: .a | f; f |= 1",
        "def f: .a | (f, .b); f = 1",
        "path(def f: .a | f; f)",
        "(reduce range(100000) as $i (.; .a)) |= 1",
        "[recurse(.a)] | length",
        "last(path(recurse(.a)))",
    ] {
        stops_somehow(source);
    }
    // Enough for what is written in earnest.
    let value = run("def sum: if . == 0 then 0 else . + (. - 1 | sum) end; 25 | sum");
    assert_eq!(value, Ok(325.into()));
    let value = run("def go: if . >= 10000 then . else . + 1 | go end; 0 | go");
    assert_eq!(value, Ok(10_000.into()));
}

#[test]
fn chains_of_filter_arguments_are_refused() {
    refused("def f($n; g): if $n == 0 then 0 else f($n - 1; g | .) end; f(1000000; .)");
    refused("def f(g): f(g); f(.)");
    refused("def f(g): def h: f(g); h; f(.)");
    assert!(run("def f(g): def h: if . > 5 then . else g | h end; h; 0 | f(. + 1)").is_ok());
    assert!(run("def f(g): g; def h(f): f; h(f(1))").is_ok());
}

#[test]
fn sizes_are_capped() {
    for source in [
        "\"a\" * 1000000000",
        "\"a\" * 1e18",
        "1000000000 * \"a\"",
        "[range(1000000000)]",
        "[limit(1000000000; repeat(1))]",
        ".[1000000000] = 1",
        "[.[1000000000, 1000000001]] | .[999999999] |= 1",
        "reduce range(100) as $i (\"a\"; . + .)",
        "reduce range(100) as $i ([1]; . + .)",
        "reduce range(100) as $i (1; [., .])",
        "reduce range(60) as $i (1; {a: ., b: .}) | tojson",
        "reduce range(40) as $i (1; [., .]) | . == (. | tojson | fromjson)",
        "[range(300000)] | combinations(3)",
        "[limit(100000000; \"a\" | repeat(. + .))]",
        "\"a\" * 1000000 | [limit(1000; repeat(.))] | join(\",\")",
        "[range(100000) | tostring * 1000] | add",
        "\"x\" * 10000000 | @json | @base64 | @base64 | @uri",
        "[range(2000000) | 65] | implode",
        "\"<\" * 10000000 | @html",
        "\"a,\" * 5000000 | split(\",\")",
        "\"a\" * 10000000 | explode",
        "\"[\" + \"0,\" * 5000000 + \"0]\" | fromjson",
        "[range(1000) as $i | \"\\($i)\" * 100000]",
        "[repeat(\"a\" * 10000)]",
        "reduce range(1000000000) as $i ({}; .[\"\\($i)\"] = $i)",
        "[range(200000)] | [.[] as $x | .[]]",
        "\"a\" * 100000 | gsub(\"\"; \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" * 1000)",
        "last(range(100) as $i | [range(100000)])",
        "sort_by(repeat(1))?, ([1] | sort_by(repeat(1)))",
        "[1] | group_by(repeat(1))",
        "[1] | min_by(repeat(1))",
        "reduce range(1000000) as $x (0; 0, 0)",
        "path(range(10) | repeat(1))? // [limit(10000000; path(repeat(.)))]",
        "limit(1; [paths] | repeat(. + .) | select(length > 1000000000))",
        "[\"a\" * 1000] | until(false; . + .)",
        "{} | until(false; .[keys | length | tostring] = .)",
    ] {
        stops_somehow(source);
    }
}

#[test]
fn depth_is_bounded() {
    for source in [
        "reduce range(1000000) as $i (null; [.])",
        "reduce range(1000000) as $i (null; {a: .})",
        "last(null | limit(1000000; recurse([.])))",
        "reduce range(1000000) as $i ([]; .[0] = .)",
        "reduce range(1000000) as $i ({}; {} * {a: .})",
        "setpath([range(1000) | \"a\"]; 1)",
        "[range(1000) | \"a\"] as $p | null | getpath($p) |= 1",
        "reduce range(1000) as $i ([]; [[], .] | .[1:])",
    ] {
        stops_somehow(source);
    }
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let read = run(&format!("\"{deep}\" | fromjson"));
    assert!(matches!(read, Err(EvalError::Failed { .. })), "{read:?}");
    let deep = "[".repeat(100_000);
    refused(&deep);
}

#[test]
fn costly_comparisons_and_searches_are_paid_for() {
    for source in [
        "[range(1000)] as $a | [range(1000)] as $b | last(range(100000000) | $a == $b)",
        "[range(3000)] as $a | [range(3000)] as $b | last(range(1000000) | $a < $b)",
        "(\"a\" * 1000000) as $a | (\"a\" * 1000000) as $b | last(range(1000000) | $a == $b)",
        "[range(100000)] | contains([range(100000)])",
        "[range(10000)] | map([range(10000)] | index(-1))",
        "(\"a\" * 1000000) as $s | last(range(1000000) | $s | indices(\"aa\"))",
        "[range(100000) | -.] | [limit(1000; repeat(sort))] | length",
        "[range(10000)] | last(range(100000) as $i | bsearch($i)) | repeat(1) | empty",
        "reduce range(1000) as $i (3; . * .) | until(false; . + 1)",
        "[range(200000)] - [range(200000)] | last(range(1e9))",
    ] {
        stops_somehow(source);
    }
    let big = run("reduce range(40) as $i (3; . * .) | . > 1e300");
    assert_eq!(big, Ok(true.into()));
}

#[test]
fn regular_expressions_are_bounded() {
    // Every match looks at all of the rest. A tenth of the fuel will do: in a
    // debug build searching is a hundred times slower than in a release.
    let quadratic = "\"a\" * 100000 | [match(\".*[^a]|a\"; \"g\")] | length";
    let quadratic = Expression::compile(quadratic, &[]).expect("compiles");
    let less = Limits {
        fuel: Limits::DEFAULT.fuel / 10,
        ..Limits::DEFAULT
    };
    let value = quadratic.eval_within(&Value::Null, &Variables::default(), less);
    assert_eq!(value, Err(EvalError::Limit(Limit::Fuel)));
    for source in [
        "last(range(1000000) | \"a\" * 1000 | test(\"(a|a)*b\"))",
        "last(range(1000000) | test(\"(\\\\w{50}){2}\")?)",
        "\"a\" * 100000 | [match(\"(a?){50}a{50}\"; \"g\")] | last(range(1e9))",
        "\"\" * 1 | \"a\" | last(range(1000000) as $i | test(\"a\\($i)\"))",
    ] {
        stops_somehow(source);
    }
    for source in [
        "\"a\" | test(\"((((a{100}){100}){100}){100})\")",
        "\"a\" | test(\"(\" * 1000 + \")\" * 1000)",
        "\"a\" | test(\"\\\\w{1000}\")",
        "\"a\" | test(\"(\")",
        "\"a\" | test(\"a\"; \"q\")",
        "\"a\" * 1000000 | test(\"b\")",
        "\"a\" | test(\"a\" * 100000)",
    ] {
        let value = run(source);
        assert!(
            matches!(value, Err(EvalError::Failed { .. })),
            "{source}: {value:?}"
        );
    }
}

#[test]
fn wrong_use_of_natives_is_an_error_not_a_panic() {
    for source in [
        "[1114112] | implode",
        "[-1] | implode",
        "[55296] | implode",
        "[1e99] | implode",
        "[-9223372036854775808] | implode",
        "\"a\" | implode",
        "[\"a\"] | implode",
        "1e1000 | todate",
        "\"x\" | fromdate",
        "[1e99, 1, 1, 1, 1, 1] | mktime",
        "1e99 | strftime(\"%Y\")",
        "\"a\" | strptime(\"%\")",
        "0 | strftime(\"%999999999d%Q\")",
        "{} | sort",
        "[] | tojson | fromjson | .a",
        "\"\\u0000\" | tonumber",
        "[1, 2] | splits(1)",
        "null | ltrimstr(1)",
        "{} | .[[]]",
        "[] | .[{}] = 1",
        "\"a\" | @base64d | @base64d | error(.)",
        "{(1): 2}",
        "{} | .[1] = 1",
        "[[]] | from_entries",
        "9223372036854775807 | -. - 2 | length | error(.)",
        "ldexp(1; 99999999999) | error(.)",
        "[1] | .[\"a\"]",
        "pow(10; 400) | tojson | error(.)",
        "jn(1e9; 1) | error(.)",
        "\"abc\" | .[1e99:] | error(.)",
        "[1,2,3] | .[-1e99:1e99] | error(.)",
        "[] | first(.[1e99]) | error(.)",
        "nan | floor | error(.)",
        "[nan] | sort | error(.)",
        "[nan, 1, nan] | unique | error(.)",
        "1e1000 | floor | tostring | error(.)",
        "[range(0; 1; 0.1)] | .[nan] | error(.)",
        "\"a\" | ascii(1)?, error(1)",
        "scalb(1; 5000) | error(.)",
        "-9223372036854775808 | abs | error(.)",
        "-9223372036854775808 % -1 | error(.)",
        "9223372036854775807 * 9223372036854775807 / 0 | error(.)",
        "gamma | error(.)",
        "\"é\" | .[0:1] | error(.)",
        "@sh | error(.)",
        "[[1]] | @sh | error(.)",
        "getpath([\"a\", 0, {}])| error(.)",
        "tojson | ltrimstr(\"n\") | error(.)",
        "input_line_number? // error(1)",
        "splits(\"a\")",
        "\"aé\" | [match(\"\"; \"g\").offset] | error(.)",
        "\"é\" | test(\"(?-u:\\\\xC3)\")",
        "\"aXbX\" | ascii_downcase | sub(\"(?<a>x)\"; \"\\(.a)\\(.b)\") | error(.)",
    ] {
        on_a_small_stack(|| {
            let Ok(expression) = Expression::compile(source, &[]) else {
                return;
            };
            let value = expression.eval(&Value::Null, &Variables::default());
            assert!(
                matches!(value, Err(EvalError::Failed { .. })),
                "{source}: {value:?}"
            );
        });
    }
}

#[test]
fn sources_are_bounded() {
    for source in [
        "(".repeat(16_000),
        "[".repeat(8_000) + &"]".repeat(8_000),
        "-".repeat(16_000) + "1",
        "1".to_owned() + &"+1".repeat(8_000),
        "1".to_owned() + &"|1".repeat(8_000),
        "1".to_owned() + &",1".repeat(8_000),
        ".".to_owned() + &" as $x|.".repeat(1_900),
        "try ".repeat(4_000) + "1",
        "def f:".repeat(2_700) + "1",
        "if 1 then ".repeat(1_500) + "1",
        ".a".repeat(8_000),
        "..".to_owned() + &"?".repeat(3).repeat(5000) + &"[]".repeat(400),
        "\"\\(".repeat(5_000),
        "reduce ".repeat(2_000),
        "label $x | ".repeat(1_400) + "1",
        ". as ".to_owned() + &"[".repeat(15_000),
        "a".repeat(20_000),
        "{a:".repeat(5_000),
    ] {
        refused(&source);
    }
    // Brackets alone leave nothing to compile.
    let value = run(&("(".repeat(8_000) + "1" + &")".repeat(8_000)));
    assert_eq!(value, Ok(1.into()));
}

/// Kept apart from the others by its own process, in which nothing else runs.
#[test]
fn nothing_keeps_running_and_memory_is_given_back() {
    const ALONE: &str = "MILLRACE_TEST_HAZARDS_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let this = std::env::current_exe().expect("has a path");
        let test = "expression::hazards::nothing_keeps_running_and_memory_is_given_back";
        let mut command = std::process::Command::new(this);
        command
            .args(["--exact", test, "--nocapture"])
            .env(ALONE, "1");
        let out = command.output().expect("runs");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        return;
    }
    let before = (threads(), resident());
    for source in [
        "def f: f; f",
        "def f: 1 + f; f",
        "[limit(1000000000; repeat(1))]",
        "\"a\" * 1000000000",
        "last(range(1000000000))",
        "reduce range(1000000000) as $x (0; 0, 0)",
        "last(foreach range(1000000000) as $x (0; ., .))",
        "[repeat(\"a\" * 10000)]",
        "reduce range(1000000) as $i (null; [.])",
        "[1] | sort_by(repeat(1))",
        "def f: ., (., . | f); last(f)",
        "[recurse(., .)]",
        "first(recurse(., .) | select(false))",
        "[range(100000) | {a: ., b: [.]}] | map(.b) | repeat(. + .) | empty",
    ] {
        stops_somehow(source);
        println!(
            "resident {} MiB, at most {} MiB",
            resident() >> 20,
            most_resident() >> 20
        );
    }
    assert_eq!(threads(), before.0, "threads are left over");
    let most = most_resident() - before.1;
    assert!(most < 256 << 20, "memory grew by {} MiB", most >> 20);
    let idle = cpu_time();
    std::thread::park_timeout(Duration::from_millis(300));
    let used = cpu_time() - idle;
    assert!(used <= 3, "{used} ticks of CPU time were used while idle");
}

fn status(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .unwrap_or_default();
    let kib = line
        .trim_matches(|c: char| !c.is_ascii_digit())
        .parse::<u64>();
    kib.unwrap_or_default() << 10
}

fn resident() -> u64 {
    status("VmRSS:")
}

fn most_resident() -> u64 {
    status("VmHWM:")
}

/// User and system time of the process, in clock ticks of 10 ms.
fn cpu_time() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum()
}
