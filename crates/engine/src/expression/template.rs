//! JSON values with expressions in them.

use std::sync::Arc;

use super::{CompileError, EvalError, Expression, Limits, Variables, meter, strict};
use crate::value::{Value, from_serde, object};

/// A JSON value in which whole strings `${ … }` are expressions. Clones share.
#[derive(Debug, Clone)]
pub struct Template(Arc<Node>);

#[derive(Debug)]
enum Node {
    /// Nothing in it is an expression.
    Literal(Value),
    Expression(Expression),
    Array(Vec<Node>),
    Object(Vec<(String, Node)>),
}

impl Template {
    /// Compiles every expression in the value. `locals` as in
    /// [`Expression::compile`]. Fails with all errors, each with the JSON
    /// pointer of its string within the value. Keys are never expressions.
    pub fn compile(
        value: &serde_json::Value,
        locals: &[&str],
    ) -> Result<Self, Vec<(String, CompileError)>> {
        let mut errors = Vec::new();
        let node = build(value, locals, &mut String::new(), &mut errors);
        if errors.is_empty() {
            Ok(Self(Arc::new(node)))
        } else {
            Err(errors)
        }
    }

    /// A template of one bare expression.
    pub fn from_expression(expression: Expression) -> Self {
        Self(Arc::new(Node::Expression(expression)))
    }

    /// The value itself, if no expression is in it.
    pub fn literal(&self) -> Option<&Value> {
        match &*self.0 {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Whether any expression in it mentions a variable, named without `$`.
    pub fn uses(&self, variable: &str) -> bool {
        self.0.uses(variable)
    }

    /// The value with every expression replaced by its first output, or null.
    /// All of them see the same input, and share one budget.
    pub fn eval(&self, input: &Value, vars: &Variables) -> Result<Value, EvalError> {
        if let Node::Literal(value) = &*self.0 {
            return Ok(value.clone());
        }
        let running = meter::start(Limits::DEFAULT);
        let value = self.0.eval(input, vars)?;
        let value = meter::made(value).map_err(|_| meter::limit_hit())?;
        drop(running);
        Ok(value)
    }
}

impl Node {
    fn uses(&self, variable: &str) -> bool {
        match self {
            Self::Literal(_) => false,
            Self::Expression(e) => e.uses(variable),
            Self::Array(items) => items.iter().any(|n| n.uses(variable)),
            Self::Object(members) => members.iter().any(|(_, n)| n.uses(variable)),
        }
    }

    fn eval(&self, input: &Value, vars: &Variables) -> Result<Value, EvalError> {
        Ok(match self {
            Self::Literal(value) => value.clone(),
            Self::Expression(expression) => expression.eval(input, vars)?,
            Self::Array(items) => {
                let items = items.iter().map(|n| n.eval(input, vars));
                items.collect::<Result<Vec<Value>, _>>()?.into()
            }
            Self::Object(members) => {
                let members = members.iter();
                let members = members.map(|(k, n)| Ok((k.as_str(), n.eval(input, vars)?)));
                object(members.collect::<Result<Vec<_>, EvalError>>()?)
            }
        })
    }
}

fn build(
    value: &serde_json::Value,
    locals: &[&str],
    pointer: &mut String,
    errors: &mut Vec<(String, CompileError)>,
) -> Node {
    let mut child = |step: &str, value, errors: &mut _| {
        let parent = pointer.len();
        pointer.push('/');
        pointer.push_str(&step.replace('~', "~0").replace('/', "~1"));
        let node = build(value, locals, pointer, errors);
        pointer.truncate(parent);
        node
    };
    match value {
        serde_json::Value::String(s) => match strict(s) {
            Some(source) => match Expression::compile(source, locals) {
                Ok(expression) => Node::Expression(expression),
                Err(error) => {
                    errors.push((pointer.clone(), error));
                    Node::Literal(Value::Null)
                }
            },
            None => Node::Literal(s.as_str().into()),
        },
        serde_json::Value::Array(items) => {
            let indexed = items.iter().enumerate();
            let nodes: Vec<_> = indexed
                .map(|(i, v)| child(&i.to_string(), v, errors))
                .collect();
            if nodes.iter().all(Node::is_literal) {
                Node::Literal(from_serde(value))
            } else {
                Node::Array(nodes)
            }
        }
        serde_json::Value::Object(members) => {
            let nodes: Vec<_> = members
                .iter()
                .map(|(k, v)| (k.clone(), child(k, v, errors)))
                .collect();
            if nodes.iter().all(|(_, n)| n.is_literal()) {
                Node::Literal(from_serde(value))
            } else {
                Node::Object(nodes)
            }
        }
        scalar => Node::Literal(from_serde(scalar)),
    }
}

impl Node {
    fn is_literal(&self) -> bool {
        matches!(self, Self::Literal(_))
    }
}
