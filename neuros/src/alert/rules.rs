//! The rules of a policy, in its order. How they are written, the policy says.

use super::rule::Rule;

/// The rules of alerts that a policy gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// These, in this order.
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// Those of a policy that names none.
    pub(crate) fn built_in() -> Self {
        Self(Rule::built_in())
    }

    /// In the policy's order.
    pub fn iter(&self) -> std::slice::Iter<'_, Rule> {
        self.0.iter()
    }

    /// The rule of that name.
    pub fn of(&self, id: &str) -> Option<&Rule> {
        self.0.iter().find(|rule| *rule.id == *id)
    }
}
