//! The programs that are drawn: three plans for each level, with numbers, words and names at random.

use rand_core::Rng;

use super::super::super::draw::below;
use super::super::words::{ANIMALS, OBJECTS, between, one, several};
use super::python::Expr::{self, Call, Index, Len, List, Name, Number, Pop, Reversed, Text};
use super::python::Operator::{
    self, Add, Divide, Equal, Greater, In, Less, Modulo, Multiply, Subtract,
};
use super::python::Statement::{
    self, Append, Assign, Def, For, If, Print, Put, Return, Update, While,
};

pub(super) fn draw(rng: &mut impl Rng, level: u8) -> Vec<Statement> {
    let plan = below(rng, 3);
    match (level, plan) {
        (1, 0) => branch(rng),
        (1, 1) => sum(rng),
        (1, _) => turned_word(rng),
        (2, 0) => two_sums(rng),
        (2, 1) => new_list(rng),
        (2, _) => letters(rng),
        (3, 0) => nested(rng),
        (3, 1) => growth(rng),
        (3, _) => words(rng),
        (4, 0) => function(rng),
        (4, 1) => bubble(rng),
        (4, _) => mixed_word(rng),
        (_, 0) => recursion(rng),
        (_, 1) => counting_out(rng),
        _ => digits(rng),
    }
}

fn binary(left: Expr, operator: Operator, right: Expr) -> Expr {
    Expr::Binary(Box::new(left), operator, Box::new(right))
}

fn index(of: Expr, at: Expr) -> Expr {
    Index(Box::new(of), Box::new(at))
}

fn len(of: Expr) -> Expr {
    Len(Box::new(of))
}

fn range(from: i64, to: Expr) -> Expr {
    Expr::Range(Box::new(Number(from)), Box::new(to))
}

fn number(rng: &mut impl Rng, least: i64, most: i64) -> Expr {
    Number(between(rng, least, most))
}

fn numbers(rng: &mut impl Rng, count: usize, least: i64, most: i64) -> Expr {
    List((0..count).map(|_| number(rng, least, most)).collect())
}

/// `a % 3 == 1` or `a > 7`, for numbers up to about `most`.
fn condition(rng: &mut impl Rng, of: Expr, most: i64) -> Expr {
    if below(rng, 2) == 0 {
        let by = between(rng, 2, 4);
        let rest = between(rng, 0, by - 1);
        binary(binary(of, Modulo, Number(by)), Equal, Number(rest))
    } else {
        let operator = one(rng, &[Less, Greater]);
        binary(of, operator, number(rng, most / 3, most * 2 / 3))
    }
}

/// Different names for variables.
fn names<const COUNT: usize>(rng: &mut impl Rng) -> [&'static str; COUNT] {
    const NAMES: [&str; 12] = ["a", "b", "c", "d", "m", "n", "p", "q", "u", "v", "x", "y"];
    let chosen = several(rng, &NAMES, COUNT);
    std::array::from_fn(|place| chosen[place])
}

/// A word of at least `least` letters.
fn word(rng: &mut impl Rng, least: usize) -> &'static str {
    loop {
        let word = if below(rng, 2) == 0 {
            one(rng, &ANIMALS)
        } else {
            one(rng, &OBJECTS)
        };
        if word.len() >= least {
            return word;
        }
    }
}

// Level one: a few statements, or a loop of a few turns.

fn branch(rng: &mut impl Rng) -> Vec<Statement> {
    let [a, b, c] = names(rng);
    let (operator, other) = if below(rng, 2) == 0 {
        (Add, Subtract)
    } else {
        (Subtract, Add)
    };
    vec![
        Assign(a, number(rng, 3, 40)),
        Assign(b, number(rng, 3, 40)),
        Assign(
            c,
            binary(
                binary(Name(a), Multiply, number(rng, 2, 5)),
                operator,
                Name(b),
            ),
        ),
        If(
            condition(rng, Name(c), 80),
            vec![Update(a, Add, Name(c))],
            vec![Update(b, other, Name(c))],
        ),
        Print(vec![Name(a), Name(b), Name(c)]),
    ]
}

fn sum(rng: &mut impl Rng) -> Vec<Statement> {
    let [a, b] = names(rng);
    let turns = between(rng, 3, 5);
    let first = between(rng, 0, 3);
    vec![
        Assign(a, number(rng, 1, 30)),
        Assign(b, number(rng, 1, 30)),
        For(
            "i",
            range(first, Number(first + turns)),
            vec![Update(
                a,
                Add,
                binary(Name("i"), Multiply, number(rng, 2, 9)),
            )],
        ),
        Assign(b, binary(Name(a), Subtract, Name(b))),
        Print(vec![Name(a), Name(b)]),
    ]
}

fn turned_word(rng: &mut impl Rng) -> Vec<Statement> {
    let word = word(rng, 4);
    let factor = number(rng, 2, 9);
    let add = index(Name("word"), number(rng, 0, 3));
    let built = if below(rng, 2) == 0 {
        binary(Name("text"), Add, add)
    } else {
        binary(add, Add, Name("text"))
    };
    vec![
        Assign("word", Text(word)),
        Assign("text", Reversed(Box::new(Name("word")))),
        Assign("text", built),
        Print(vec![
            Name("text"),
            binary(len(Name("text")), Multiply, factor),
        ]),
    ]
}

// Level two: a loop with a choice in it.

fn two_sums(rng: &mut impl Rng) -> Vec<Statement> {
    let [a, b] = names(rng);
    let first = between(rng, 1, 4);
    let last = first + between(rng, 5, 7);
    vec![
        Assign(a, number(rng, 0, 20)),
        Assign(b, number(rng, 0, 20)),
        For(
            "i",
            range(first, Number(last)),
            vec![If(
                condition(rng, Name("i"), last),
                vec![Update(
                    a,
                    Add,
                    binary(Name("i"), Multiply, number(rng, 2, 6)),
                )],
                vec![Update(b, Add, binary(Name(a), Subtract, Name("i")))],
            )],
        ),
        Print(vec![Name(a), Name(b)]),
    ]
}

fn new_list(rng: &mut impl Rng) -> Vec<Statement> {
    let count = between(rng, 5, 6) as usize;
    let operator = one(rng, &[Add, Subtract]);
    vec![
        Assign("values", numbers(rng, count, 2, 30)),
        Assign("result", List(Vec::new())),
        For(
            "value",
            Name("values"),
            vec![If(
                condition(rng, Name("value"), 30),
                vec![Append(
                    "result",
                    binary(Name("value"), operator, number(rng, 2, 9)),
                )],
                vec![Append(
                    "result",
                    binary(Name("value"), Multiply, number(rng, 2, 4)),
                )],
            )],
        ),
        Print(vec![Name("result")]),
    ]
}

fn letters(rng: &mut impl Rng) -> Vec<Statement> {
    let word = word(rng, 6);
    let add = one(rng, &["x", "z", "w", "q", "k"]);
    vec![
        Assign("text", Text("")),
        Assign("count", number(rng, 0, 9)),
        For(
            "letter",
            Text(word),
            vec![If(
                binary(Name("letter"), In, Text("aeiou")),
                vec![
                    Assign("text", binary(Name("letter"), Add, Name("text"))),
                    Update("count", Add, number(rng, 1, 9)),
                ],
                vec![Update("text", Add, binary(Name("letter"), Add, Text(add)))],
            )],
        ),
        Print(vec![Name("text"), Name("count")]),
    ]
}

// Level three: loops in loops, loops without a known end.

fn nested(rng: &mut impl Rng) -> Vec<Statement> {
    let [a, b] = names(rng);
    let by = between(rng, 2, 3);
    let rest = between(rng, 0, by - 1);
    vec![
        Assign(a, number(rng, 0, 20)),
        Assign(b, number(rng, 0, 20)),
        For(
            "i",
            range(1, number(rng, 4, 5)),
            vec![For(
                "j",
                Expr::Range(Box::new(Name("i")), Box::new(number(rng, 5, 6))),
                vec![If(
                    binary(
                        binary(binary(Name("i"), Add, Name("j")), Modulo, Number(by)),
                        Equal,
                        Number(rest),
                    ),
                    vec![Update(a, Add, binary(Name("i"), Multiply, Name("j")))],
                    vec![Update(b, Add, number(rng, 2, 9))],
                )],
            )],
        ),
        Print(vec![Name(a), Name(b)]),
    ]
}

fn growth(rng: &mut impl Rng) -> Vec<Statement> {
    let [a, b] = names(rng);
    let by = between(rng, 2, 3);
    // An odd number is made even, so that it soon grows by more than a sum.
    let odd = 2 * between(rng, 3, 20) + 1;
    vec![
        Assign(a, number(rng, 2, 9)),
        Assign(b, number(rng, 1, 30)),
        Assign("values", List(Vec::new())),
        While(
            binary(Name(a), Less, number(rng, 300, 900)),
            vec![
                If(
                    binary(binary(Name(a), Modulo, Number(2)), Equal, Number(0)),
                    vec![Assign(
                        a,
                        binary(
                            binary(Name(a), Multiply, Number(by)),
                            Add,
                            number(rng, 1, 9),
                        ),
                    )],
                    vec![Update(a, Add, Number(odd)), Update(b, Add, Number(by))],
                ),
                Append("values", binary(Name(a), Modulo, number(rng, 7, 19))),
            ],
        ),
        Print(vec![Name("values"), Name(a), Name(b)]),
    ]
}

fn words(rng: &mut impl Rng) -> Vec<Statement> {
    let words: Vec<Expr> = several(rng, &ANIMALS, 5).into_iter().map(Text).collect();
    let first = between(rng, 0, 1);
    vec![
        Assign("text", Text("")),
        Assign("total", number(rng, 0, 9)),
        For(
            "word",
            List(words),
            vec![If(
                binary(len(Name("word")), Greater, number(rng, 4, 5)),
                vec![
                    Update(
                        "text",
                        Add,
                        binary(
                            index(Name("word"), Number(first)),
                            Add,
                            index(Name("word"), Number(-1)),
                        ),
                    ),
                    Update("total", Add, len(Name("word"))),
                ],
                vec![
                    Assign(
                        "text",
                        binary(index(Name("word"), Number(2)), Add, Name("text")),
                    ),
                    Update("total", Multiply, Number(2)),
                ],
            )],
        ),
        Print(vec![Name("text"), Name("total")]),
    ]
}

// Level four: functions, and lists that change under the loop.

fn function(rng: &mut impl Rng) -> Vec<Statement> {
    let [a, b, x, y] = names(rng);
    let modulus = number(rng, 31, 97);
    vec![
        Def(
            "step",
            vec![x, y],
            vec![
                If(
                    binary(Name(x), Greater, Name(y)),
                    vec![Return(binary(
                        binary(Name(x), Subtract, Name(y)),
                        Add,
                        number(rng, 2, 9),
                    ))],
                    Vec::new(),
                ),
                Return(binary(
                    binary(binary(Name(x), Multiply, number(rng, 2, 5)), Add, Name(y)),
                    Modulo,
                    modulus,
                )),
            ],
        ),
        Assign(a, number(rng, 3, 40)),
        Assign(b, number(rng, 3, 40)),
        For(
            "i",
            range(1, number(rng, 5, 7)),
            vec![
                Assign(a, Call("step", vec![Name(a), Name(b)])),
                Assign(
                    b,
                    Call("step", vec![Name(b), binary(Name(a), Add, Name("i"))]),
                ),
            ],
        ),
        Print(vec![Name(a), Name(b)]),
    ]
}

fn bubble(rng: &mut impl Rng) -> Vec<Statement> {
    let following = || binary(Name("i"), Add, Number(1));
    let operator = one(rng, &[Less, Greater]);
    vec![
        Assign("values", numbers(rng, 7, 2, 40)),
        Assign("moves", number(rng, 0, 9)),
        For(
            "round",
            range(0, Number(2)),
            vec![For(
                "i",
                range(0, binary(len(Name("values")), Subtract, Number(1))),
                vec![If(
                    binary(
                        index(Name("values"), Name("i")),
                        operator,
                        index(Name("values"), following()),
                    ),
                    vec![
                        Assign("kept", index(Name("values"), Name("i"))),
                        Put(
                            "values",
                            Name("i"),
                            binary(index(Name("values"), following()), Add, number(rng, 1, 5)),
                        ),
                        Put("values", following(), Name("kept")),
                        Update("moves", Add, Number(1)),
                    ],
                    Vec::new(),
                )],
            )],
        ),
        Print(vec![Name("values"), Name("moves")]),
    ]
}

fn mixed_word(rng: &mut impl Rng) -> Vec<Statement> {
    let shift = number(rng, 1, 4);
    let call = |rng: &mut _, word: Expr| Call("mix", vec![word, number(rng, 2, 5)]);
    let first = Text(word(rng, 5));
    let second = Text(word(rng, 5));
    let place = binary(
        binary(binary(Name("i"), Multiply, Name("step")), Add, shift),
        Modulo,
        len(Name("word")),
    );
    vec![
        Def(
            "mix",
            vec!["word", "step"],
            vec![
                Assign("text", Text("")),
                For(
                    "i",
                    range(0, len(Name("word"))),
                    vec![
                        Assign("letter", index(Name("word"), place)),
                        If(
                            binary(Name("letter"), In, Name("text")),
                            vec![Update("text", Add, Text(one(rng, &["0", "1", "5", "7"])))],
                            vec![Assign("text", binary(Name("letter"), Add, Name("text")))],
                        ),
                    ],
                ),
                Return(Name("text")),
            ],
        ),
        Assign("one", call(rng, first)),
        Assign(
            "two",
            call(rng, binary(second, Add, index(Name("one"), Number(0)))),
        ),
        Print(vec![Name("one"), Name("two")]),
    ]
}

// Level five: recursion, lists that shrink, functions with loops in loops.

fn recursion(rng: &mut impl Rng) -> Vec<Statement> {
    let least = between(rng, 4, 7);
    let calls: Vec<Expr> = (0..3)
        .map(|depth| Call("f", vec![number(rng, 40, 130), Number(depth)]))
        .collect();
    vec![
        Def(
            "f",
            vec!["n", "k"],
            vec![
                If(
                    binary(Name("n"), Less, Number(least)),
                    vec![Return(binary(Name("n"), Add, Name("k")))],
                    Vec::new(),
                ),
                If(
                    binary(binary(Name("n"), Modulo, Number(2)), Equal, Number(0)),
                    vec![Return(binary(
                        Call(
                            "f",
                            vec![
                                binary(Name("n"), Divide, Number(2)),
                                binary(Name("k"), Add, number(rng, 1, 3)),
                            ],
                        ),
                        Add,
                        Name("k"),
                    ))],
                    Vec::new(),
                ),
                Return(binary(
                    binary(
                        Call("f", vec![binary(Name("n"), Subtract, Number(3)), Name("k")]),
                        Multiply,
                        number(rng, 2, 3),
                    ),
                    Modulo,
                    number(rng, 61, 199),
                )),
            ],
        ),
        Print(vec![List(calls)]),
    ]
}

fn counting_out(rng: &mut impl Rng) -> Vec<Statement> {
    let count = between(rng, 7, 9) as usize;
    let values = several(rng, &(10..60).collect::<Vec<i64>>(), count);
    vec![
        Assign("values", List(values.into_iter().map(Number).collect())),
        Assign("gone", List(Vec::new())),
        Assign("place", number(rng, 0, 3)),
        While(
            binary(len(Name("values")), Greater, number(rng, 1, 2)),
            vec![
                Assign(
                    "place",
                    binary(
                        binary(Name("place"), Add, number(rng, 3, 7)),
                        Modulo,
                        len(Name("values")),
                    ),
                ),
                Assign("value", Pop("values", Box::new(Name("place")))),
                If(
                    condition(rng, Name("value"), 60),
                    vec![
                        Append("gone", Name("value")),
                        Update("place", Add, number(rng, 1, 3)),
                    ],
                    vec![Append(
                        "gone",
                        binary(Name("value"), Subtract, Name("place")),
                    )],
                ),
            ],
        ),
        Print(vec![Name("gone"), Name("values"), Name("place")]),
    ]
}

fn digits(rng: &mut impl Rng) -> Vec<Statement> {
    let modulus = between(rng, 200, 999);
    let groups = between(rng, 3, 4);
    vec![
        Def(
            "digits",
            vec!["n"],
            vec![
                Assign("total", Number(0)),
                While(
                    binary(Name("n"), Greater, Number(0)),
                    vec![
                        Update("total", Add, binary(Name("n"), Modulo, Number(10))),
                        Assign("n", binary(Name("n"), Divide, Number(10))),
                    ],
                ),
                Return(Name("total")),
            ],
        ),
        Assign("x", number(rng, 11, 99)),
        Assign("sums", List((0..groups).map(|_| Number(0)).collect())),
        For(
            "i",
            range(1, number(rng, 7, 9)),
            vec![
                Assign(
                    "x",
                    binary(
                        binary(
                            binary(Name("x"), Multiply, number(rng, 3, 9)),
                            Add,
                            Name("i"),
                        ),
                        Modulo,
                        Number(modulus),
                    ),
                ),
                Assign(
                    "group",
                    binary(Call("digits", vec![Name("x")]), Modulo, Number(groups)),
                ),
                Put(
                    "sums",
                    Name("group"),
                    binary(
                        index(Name("sums"), Name("group")),
                        Add,
                        Call("digits", vec![Name("x")]),
                    ),
                ),
            ],
        ),
        Print(vec![Name("x"), Name("sums")]),
    ]
}
