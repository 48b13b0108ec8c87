//! Which nodes something is for.

use serde::Deserialize;

use super::null_as_default;

/// Nodes that satisfy one of the terms.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct NodeSelector {
    #[serde(deserialize_with = "null_as_default")]
    pub node_selector_terms: Vec<NodeSelectorTerm>,
}

/// Requirements that must all hold. Those of labels are not read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(missing_docs, reason = "as in the API")]
pub struct NodeSelectorTerm {
    #[serde(deserialize_with = "null_as_default")]
    pub match_fields: Vec<NodeSelectorRequirement>,
}

/// A requirement of a field.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in the API")]
pub struct NodeSelectorRequirement {
    pub key: String,
    pub operator: String,
    #[serde(deserialize_with = "null_as_default")]
    pub values: Vec<String>,
}

impl NodeSelector {
    /// The node, if the selector is for exactly one by its name.
    pub fn node(&self) -> Option<&str> {
        let [term] = self.node_selector_terms.as_slice() else {
            return None;
        };
        let field = term
            .match_fields
            .iter()
            .find(|field| field.key == "metadata.name" && field.operator == "In")?;
        match field.values.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }
}
