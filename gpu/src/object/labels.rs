//! Selectors of labels, as the API server evaluates them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// `matchLabels` and `matchExpressions`, all of which must hold. Empty, it matches everything; an absent selector is
/// an `Option` around it, and what that means is up to whoever has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct LabelSelector {
    pub match_labels: Labels,
    pub match_expressions: Vec<Expression>,
}

/// One of `matchExpressions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct Expression {
    pub key: String,
    pub operator: String,
    pub values: Vec<String>,
}

impl LabelSelector {
    /// Whether it has no condition.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether all conditions hold. An operator that is not known matches nothing: better to say that something is
    /// not selected than to promise that it is.
    pub fn matches(&self, labels: Option<&Labels>) -> bool {
        let value = |key: &str| labels.and_then(|labels| labels.get(key));
        let all = self
            .match_labels
            .iter()
            .all(|(key, wanted)| value(key) == Some(wanted));
        all && self.match_expressions.iter().all(|expression| {
            let found = value(&expression.key);
            let listed = found.is_some_and(|found| expression.values.contains(found));
            match expression.operator.as_str() {
                "In" => listed,
                // As in Kubernetes: an object without the label passes.
                "NotIn" => !listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
    }

    /// Labels that would make an object match, where simple ones do: those of `matchLabels`, and the first value of
    /// each `In`.
    pub fn satisfying(&self) -> Labels {
        let mut labels = self.match_labels.clone();
        for expression in &self.match_expressions {
            if let ("In", Some(value)) = (expression.operator.as_str(), expression.values.first()) {
                labels.insert(expression.key.clone(), value.clone());
            }
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn selector(json: &str) -> LabelSelector {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn conditions_hold_as_in_kubernetes() {
        let release = labels(&[("release", "prometheus"), ("app", "x")]);
        for (json, with, without) in [
            ("{}", true, true),
            (r#"{"matchLabels":{"release":"prometheus"}}"#, true, false),
            (r#"{"matchLabels":{"release":"other"}}"#, false, false),
            (
                r#"{"matchExpressions":[{"key":"release","operator":"In","values":["a","prometheus"]}]}"#,
                true,
                false,
            ),
            (
                r#"{"matchExpressions":[{"key":"release","operator":"NotIn","values":["prometheus"]}]}"#,
                false,
                true,
            ),
            (
                r#"{"matchExpressions":[{"key":"release","operator":"Exists"}]}"#,
                true,
                false,
            ),
            (
                r#"{"matchExpressions":[{"key":"release","operator":"DoesNotExist"}]}"#,
                false,
                true,
            ),
            (
                r#"{"matchExpressions":[{"key":"release","operator":"Gt","values":["1"]}]}"#,
                false,
                false,
            ),
            (
                r#"{"matchLabels":{"app":"x"},"matchExpressions":[{"key":"release","operator":"DoesNotExist"}]}"#,
                false,
                false,
            ),
        ] {
            let selector = selector(json);
            assert_eq!(selector.matches(Some(&release)), with, "{json}");
            assert_eq!(selector.matches(None), without, "{json}");
        }
    }

    #[test]
    fn labels_that_satisfy() {
        let selector = selector(
            r#"{"matchLabels":{"a":"1"},"matchExpressions":[{"key":"release","operator":"In","values":["p","q"]}]}"#,
        );
        let found = selector.satisfying();
        assert_eq!(found, labels(&[("a", "1"), ("release", "p")]));
        assert!(selector.matches(Some(&found)));
    }
}
