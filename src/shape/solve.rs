//! Solving one unknown of a dimension expression exactly.

use super::Dim;

/// What became of `expression = target`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Solution {
    /// No unknown is left and both sides are equal.
    Holds,
    /// No unknown is left and the sides differ.
    Differs,
    /// The unknown's value.
    Solved(Dim),
    /// The unknown would not be a whole number: `a * unknown + b = target` leaves a remainder.
    Remainder,
    /// More than one unknown, or one that is not linear.
    Unsolvable,
}

/// Solves `expression = target`, where the names in `unknowns` are unknown.
pub fn solve(expression: &Dim, target: &Dim, unknowns: &dyn Fn(&str) -> bool) -> Solution {
    let names: Vec<_> = expression.names().into_iter().filter(|n| unknowns(n)).collect();
    match names.as_slice() {
        [] if expression == target => Solution::Holds,
        [] => Solution::Differs,
        [unknown] => match expression.linear_in(unknown) {
            Some((a, b)) => match (target.clone() - b).exact_div(&a) {
                Some(value) => Solution::Solved(value),
                None => Solution::Remainder,
            },
            None => Solution::Unsolvable,
        },
        _ => Solution::Unsolvable,
    }
}
