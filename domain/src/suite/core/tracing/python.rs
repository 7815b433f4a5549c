//! A small part of Python as a tree: how it is written, and what it does.

use std::collections::BTreeMap;
use std::fmt;

/// An expression.
#[derive(Debug, Clone)]
pub(super) enum Expr {
    Number(i64),
    Text(&'static str),
    Name(&'static str),
    List(Vec<Expr>),
    Binary(Box<Expr>, Operator, Box<Expr>),
    /// `a[b]`, from the end if `b` is negative.
    Index(Box<Expr>, Box<Expr>),
    /// `a[::-1]`
    Reversed(Box<Expr>),
    /// `len(a)`
    Len(Box<Expr>),
    /// `a.pop(b)`, where `a` is a variable.
    Pop(&'static str, Box<Expr>),
    Call(&'static str, Vec<Expr>),
    /// `range(a, b)`
    Range(Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Equal,
    Less,
    Greater,
    In,
}

/// A statement.
#[derive(Debug, Clone)]
pub(super) enum Statement {
    Assign(&'static str, Expr),
    /// `a += b` and the like.
    Update(&'static str, Operator, Expr),
    /// `a[b] = c`
    Put(&'static str, Expr, Expr),
    /// `a.append(b)`
    Append(&'static str, Expr),
    For(&'static str, Expr, Vec<Statement>),
    While(Expr, Vec<Statement>),
    If(Expr, Vec<Statement>, Vec<Statement>),
    Def(&'static str, Vec<&'static str>, Vec<Statement>),
    Return(Expr),
    Print(Vec<Expr>),
}

/// The program as Python.
pub(super) fn write(program: &[Statement]) -> String {
    let mut text = String::new();
    for statement in program {
        write_statement(&mut text, statement, 0);
    }
    text
}

fn write_statement(text: &mut String, statement: &Statement, depth: usize) {
    let mut line = |words: &str| {
        text.push_str(&"    ".repeat(depth));
        text.push_str(words);
        text.push('\n');
    };
    let inner: &[Statement] = match statement {
        Statement::Assign(name, value) => {
            line(&format!("{name} = {value}"));
            &[]
        }
        Statement::Update(name, operator, value) => {
            line(&format!("{name} {operator}= {value}"));
            &[]
        }
        Statement::Put(name, index, value) => {
            line(&format!("{name}[{index}] = {value}"));
            &[]
        }
        Statement::Append(name, value) => {
            line(&format!("{name}.append({value})"));
            &[]
        }
        Statement::Return(value) => {
            line(&format!("return {value}"));
            &[]
        }
        Statement::Print(values) => {
            line(&format!("print({})", separated(values)));
            &[]
        }
        Statement::For(name, over, body) => {
            line(&format!("for {name} in {over}:"));
            body
        }
        Statement::While(condition, body) => {
            line(&format!("while {condition}:"));
            body
        }
        Statement::Def(name, parameters, body) => {
            line(&format!("def {name}({}):", parameters.join(", ")));
            body
        }
        Statement::If(condition, then, _) => {
            line(&format!("if {condition}:"));
            then
        }
    };
    for statement in inner {
        write_statement(text, statement, depth + 1);
    }
    match statement {
        Statement::If(_, _, otherwise) if !otherwise.is_empty() => {
            text.push_str(&"    ".repeat(depth));
            text.push_str("else:\n");
            for statement in otherwise {
                write_statement(text, statement, depth + 1);
            }
        }
        Statement::Def(..) => text.push('\n'),
        _ => {}
    }
}

fn separated(values: &[Expr]) -> String {
    let texts: Vec<String> = values.iter().map(Expr::to_string).collect();
    texts.join(", ")
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "//",
            Self::Modulo => "%",
            Self::Equal => "==",
            Self::Less => "<",
            Self::Greater => ">",
            Self::In => "in",
        })
    }
}

impl Operator {
    const fn compares(self) -> bool {
        matches!(self, Self::Equal | Self::Less | Self::Greater | Self::In)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Name(name) => f.write_str(name),
            Self::List(values) => write!(f, "[{}]", separated(values)),
            Self::Binary(left, operator, right) => {
                // A comparison binds loosest, so it alone needs no brackets around its sides.
                let side = |f: &mut fmt::Formatter<'_>, side: &Self| match side {
                    Self::Binary(..) if !operator.compares() => write!(f, "({side})"),
                    _ => write!(f, "{side}"),
                };
                side(f, left)?;
                write!(f, " {operator} ")?;
                side(f, right)
            }
            Self::Index(of, index) => write!(f, "{of}[{index}]"),
            Self::Reversed(of) => write!(f, "{of}[::-1]"),
            Self::Len(of) => write!(f, "len({of})"),
            Self::Pop(name, index) => write!(f, "{name}.pop({index})"),
            Self::Call(name, arguments) => write!(f, "{name}({})", separated(arguments)),
            Self::Range(from, to) => match **from {
                Self::Number(0) => write!(f, "range({to})"),
                _ => write!(f, "range({from}, {to})"),
            },
        }
    }
}

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Number(i64),
    Truth(bool),
    Text(String),
    List(Vec<Value>),
}

impl Value {
    /// The number; the programs use numbers where numbers belong.
    fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            other => unreachable!("{other:?} is no number"),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(values) => values.len(),
            other => unreachable!("{other:?} has no length"),
        }
    }

    /// Its elements: letters or entries.
    fn elements(self) -> Vec<Self> {
        match self {
            Self::Text(text) => text
                .chars()
                .map(|letter| Self::Text(letter.to_string()))
                .collect(),
            Self::List(values) => values,
            other => unreachable!("{other:?} has no elements"),
        }
    }

    /// As it stands in a printed list: text in quotes.
    fn quoted(&self) -> String {
        match self {
            Self::Text(text) => format!("'{text}'"),
            other => other.printed(),
        }
    }

    fn printed(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Truth(truth) => if *truth { "True" } else { "False" }.to_owned(),
            Self::Text(text) => text.clone(),
            Self::List(values) => {
                let values: Vec<String> = values.iter().map(Self::quoted).collect();
                format!("[{}]", values.join(", "))
            }
        }
    }
}

/// What the program prints: one line, without its end.
pub(super) fn run(program: &[Statement]) -> String {
    let mut machine = Machine {
        functions: BTreeMap::new(),
        printed: Vec::new(),
        turns: 0,
    };
    machine.block(program, &mut Variables::new());
    machine.printed.join("\n")
}

/// Most turns of loops and calls that a program may take: far more than any drawn one does.
const MOST_TURNS: u32 = 10_000;

type Variables = BTreeMap<&'static str, Value>;

struct Machine<'a> {
    functions: BTreeMap<&'static str, (&'a [&'static str], &'a [Statement])>,
    printed: Vec<String>,
    turns: u32,
}

impl<'a> Machine<'a> {
    fn turn(&mut self) {
        self.turns += 1;
        assert!(self.turns <= MOST_TURNS, "every drawn program ends");
    }

    /// Runs statements in order; what a `return` among them gives.
    fn block(&mut self, statements: &'a [Statement], variables: &mut Variables) -> Option<Value> {
        statements
            .iter()
            .find_map(|statement| self.statement(statement, variables))
    }

    fn statement(&mut self, statement: &'a Statement, variables: &mut Variables) -> Option<Value> {
        match statement {
            Statement::Assign(name, value) => {
                let value = self.value(value, variables);
                variables.insert(name, value);
            }
            Statement::Update(name, operator, value) => {
                let value = self.value(value, variables);
                let value = operate(&variables[name], *operator, &value);
                variables.insert(name, value);
            }
            Statement::Put(name, index, value) => {
                let value = self.value(value, variables);
                let index = self.value(index, variables).number();
                let list = list(variables, name);
                let place = place(index, list.len());
                list[place] = value;
            }
            Statement::Append(name, value) => {
                let value = self.value(value, variables);
                list(variables, name).push(value);
            }
            Statement::For(name, over, body) => {
                for value in self.value(over, variables).elements() {
                    self.turn();
                    variables.insert(name, value);
                    let returned = self.block(body, variables);
                    if returned.is_some() {
                        return returned;
                    }
                }
            }
            Statement::While(condition, body) => {
                while self.value(condition, variables) == Value::Truth(true) {
                    self.turn();
                    let returned = self.block(body, variables);
                    if returned.is_some() {
                        return returned;
                    }
                }
            }
            Statement::If(condition, then, otherwise) => {
                let holds = self.value(condition, variables) == Value::Truth(true);
                return self.block(if holds { then } else { otherwise }, variables);
            }
            Statement::Def(name, parameters, body) => {
                self.functions.insert(name, (parameters, body));
            }
            Statement::Return(value) => return Some(self.value(value, variables)),
            Statement::Print(values) => {
                let values: Vec<String> = values
                    .iter()
                    .map(|value| self.value(value, variables).printed())
                    .collect();
                self.printed.push(values.join(" "));
            }
        }
        None
    }

    fn value(&mut self, expr: &'a Expr, variables: &mut Variables) -> Value {
        match expr {
            Expr::Number(number) => Value::Number(*number),
            Expr::Text(text) => Value::Text((*text).to_owned()),
            Expr::Name(name) => variables[name].clone(),
            Expr::List(values) => Value::List(
                values
                    .iter()
                    .map(|value| self.value(value, variables))
                    .collect(),
            ),
            Expr::Binary(left, operator, right) => {
                let left = self.value(left, variables);
                let right = self.value(right, variables);
                operate(&left, *operator, &right)
            }
            Expr::Index(of, index) => {
                let of = self.value(of, variables);
                let index = self.value(index, variables).number();
                let place = place(index, of.len());
                of.elements().swap_remove(place)
            }
            Expr::Reversed(of) => match self.value(of, variables) {
                Value::Text(text) => Value::Text(text.chars().rev().collect()),
                other => Value::List(other.elements().into_iter().rev().collect()),
            },
            Expr::Len(of) => {
                let length = self.value(of, variables).len();
                Value::Number(i64::try_from(length).expect("texts and lists are short"))
            }
            Expr::Pop(name, index) => {
                let index = self.value(index, variables).number();
                let list = list(variables, name);
                let place = place(index, list.len());
                list.remove(place)
            }
            Expr::Call(name, arguments) => {
                self.turn();
                let (parameters, body) = self.functions[name];
                let mut inner: Variables = parameters
                    .iter()
                    .zip(arguments)
                    .map(|(name, argument)| (*name, self.value(argument, variables)))
                    .collect();
                self.block(body, &mut inner)
                    .expect("every drawn function returns")
            }
            Expr::Range(from, to) => {
                let from = self.value(from, variables).number();
                let to = self.value(to, variables).number();
                Value::List((from..to).map(Value::Number).collect())
            }
        }
    }
}

fn list<'a>(variables: &'a mut Variables, name: &str) -> &'a mut Vec<Value> {
    match variables.get_mut(name) {
        Some(Value::List(values)) => values,
        other => unreachable!("{name} is {other:?}, no list"),
    }
}

/// The place that an index means, from the end if negative.
fn place(index: i64, length: usize) -> usize {
    let place = if index < 0 {
        usize::try_from(-index)
            .ok()
            .and_then(|back| length.checked_sub(back))
    } else {
        usize::try_from(index).ok()
    };
    place.expect("every drawn index is within its list")
}

fn operate(left: &Value, operator: Operator, right: &Value) -> Value {
    match (left, operator, right) {
        (_, Operator::Equal, _) => Value::Truth(left == right),
        (Value::Text(letter), Operator::In, Value::Text(text)) => {
            Value::Truth(text.contains(letter.as_str()))
        }
        (Value::Text(left), Operator::Add, Value::Text(right)) => {
            Value::Text([left.as_str(), right].concat())
        }
        (Value::Text(text), Operator::Multiply, Value::Number(times)) => {
            Value::Text(text.repeat(usize::try_from(*times).unwrap_or(0)))
        }
        _ => {
            let (left, right) = (left.number(), right.number());
            match operator {
                Operator::Add => Value::Number(left + right),
                Operator::Subtract => Value::Number(left - right),
                Operator::Multiply => Value::Number(left * right),
                // Python rounds down; with the positive divisors drawn, Euclid does the same.
                Operator::Divide => Value::Number(left.div_euclid(right)),
                Operator::Modulo => Value::Number(left.rem_euclid(right)),
                Operator::Less => Value::Truth(left < right),
                Operator::Greater => Value::Truth(left > right),
                Operator::Equal | Operator::In => unreachable!("compared above"),
            }
        }
    }
}
