//! From source to a program that runs within limits.

use jaq_core::load::lex::Lexer;
use jaq_core::load::parse::{Def, Parser, Term};
use jaq_core::load::{Arena, File, Loader, span};
use jaq_core::{Compiler, Filter, compile};

use super::native::{self, Data};
use super::weave::{self, Refused};
use super::{CompileError, Variables, prelude};

/// How long a source may be, in bytes.
const MAX_SOURCE: usize = 16 << 10;
/// Stack the recursive parser and compiler may need for a byte of source.
/// Measured in a debug build on `((((…`, with a factor of two to spare.
const STACK_PER_BYTE: usize = 16 << 10;

/// The name under which a program is compiled.
const MAIN: &str = "__millrace_expression";

/// A program, and what it needs to know when it runs.
pub(super) struct Program {
    pub(super) filter: Filter<Data>,
    /// Names of the variables it is given, without `$`, in order.
    pub(super) variables: Vec<String>,
}

/// Compiles a program that may use the global variables and `locals`.
pub(super) fn compile(source: &str, locals: &[&str]) -> Result<Program, CompileError> {
    if source.len() > MAX_SOURCE {
        let message = format!("the expression is longer than {MAX_SOURCE} bytes");
        return Err(CompileError::new(message));
    }
    let stack = (256 << 10) + source.len() * STACK_PER_BYTE;
    stacker::maybe_grow(stack, stack + (64 << 10), || compile_here(source, locals))
}

fn compile_here(source: &str, locals: &[&str]) -> Result<Program, CompileError> {
    let term = parse(source)?;
    let mentions = weave::mentions(&term);
    let known = Variables::GLOBAL.iter().chain(locals);
    let mut variables: Vec<String> = known
        .filter(|name| mentions.iter().any(|m| m.strip_prefix('$') == Some(**name)))
        .map(|&name| name.to_owned())
        .collect();
    variables.sort_unstable();
    variables.dedup();

    let term = weave::program(term).map_err(|refused| match refused {
        Refused::Deep => CompileError::new("the expression is nested too deeply"),
        Refused::RecursiveFilterArgument => CompileError::new(
            "a definition may not call itself with filters as arguments: \
             name them with $, or call an inner definition without arguments",
        ),
    })?;
    let (library, reached) = prelude::reachable(&mentions);
    let main = Def {
        name: MAIN,
        args: Vec::new(),
        body: term,
    };
    let arena = Arena::default();
    let file = File {
        code: MAIN,
        path: (),
    };
    let modules = Loader::new(library.into_iter().chain([main])).load(&arena, file);
    let modules = modules.map_err(|_| CompileError::new("the expression cannot be loaded"))?;

    let names: Vec<String> = variables.iter().map(|name| format!("${name}")).collect();
    let funs = native::all().into_iter();
    let funs = funs.filter(|(name, ..)| name.starts_with('!') || reached.contains(*name));
    let filter = Compiler::default()
        .with_funs(funs)
        .with_global_vars(names.iter().map(String::as_str))
        .compile(modules)
        .map_err(|errors| undefined(source, errors))?;
    Ok(Program { filter, variables })
}

fn parse(source: &str) -> Result<Term<&str>, CompileError> {
    let tokens = Lexer::new(source)
        .lex()
        .map_err(|errors| match errors.first() {
            Some((expected, found)) => {
                let message = format!("expected {}", expected.as_str());
                CompileError::at(span(source, found).start, message)
            }
            None => CompileError::new("not an expression"),
        })?;
    Parser::new(&tokens)
        .parse(Parser::term)
        .map_err(|errors| match errors.first() {
            Some((expected, found)) => {
                let found = found.map_or(&source[source.len()..], |token| token.as_str());
                let at = span(source, found).start;
                let found = if found.is_empty() { "the end" } else { found };
                let found: String = found.chars().take(40).collect();
                CompileError::at(at, format!("expected {}, found {found}", expected.as_str()))
            }
            None => CompileError::new("not an expression"),
        })
}

fn undefined(source: &str, errors: compile::Errors<&str, ()>) -> CompileError {
    let Some((name, kind)) = errors.into_iter().flat_map(|(_, errors)| errors).next() else {
        return CompileError::new("the expression cannot be compiled");
    };
    let message = match kind {
        compile::Undefined::Filter(arity) => format!("there is no filter {name}/{arity}"),
        other => format!("there is no {} {name}", other.as_str()),
    };
    // The name is a piece of the source, unless the error is in our library.
    let within = source.as_bytes().as_ptr_range().contains(&name.as_ptr());
    let offset = within.then(|| span(source, name).start);
    CompileError { message, offset }
}
