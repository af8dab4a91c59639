//! Glob patterns over relative paths: `*` and `?` within a name, `**` for any
//! number of folders.

/// Whether `path` (with `/` between names) is what `pattern` describes. A
/// pattern that names a folder describes all that is in it.
pub fn matches(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern
        .trim_start_matches("./")
        .trim_end_matches('/')
        .split('/')
        .collect();
    let path: Vec<&str> = path.split('/').collect();
    names(&pattern, &path)
}

fn names(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern, path) {
        // What is left of the path lies within what was named.
        ([], _) => true,
        (["**"], rest) => !rest.is_empty(),
        (["**", after @ ..], rest) => (0..=rest.len()).any(|skip| names(after, &rest[skip..])),
        ([first, after @ ..], [name, rest @ ..]) => {
            let first: Vec<char> = first.chars().collect();
            let name: Vec<char> = name.chars().collect();
            within(&first, &name) && names(after, rest)
        }
        (_, []) => false,
    }
}

fn within(pattern: &[char], name: &[char]) -> bool {
    // Where to go on when what follows the last `*` does not fit.
    let (mut p, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p + 1, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match back {
                Some((after, from)) => {
                    back = Some((after, from + 1));
                    p = after;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_describe_paths() {
        for (pattern, path) in [
            ("src", "src/a/b.ts"),
            ("src/", "src/a"),
            ("./src/*.ts", "src/a.ts"),
            ("**/*.ts", "a.ts"),
            ("**/*.ts", "src/a/b.ts"),
            ("src/**", "src/a/b"),
            ("src/**/b", "src/b"),
            ("a?c", "abc"),
            ("*a*b", "xxaxxaxb"),
        ] {
            assert!(matches(pattern, path), "{pattern} {path}");
        }
        for (pattern, path) in [
            ("src", "srcs/a"),
            ("*.ts", "src/a.ts"),
            ("src/**", "src"),
            ("a?c", "ac"),
            ("src/*.ts", "src/a.js"),
            ("*a*b", "xxaxx"),
        ] {
            assert!(!matches(pattern, path), "{pattern} {path}");
        }
    }
}
